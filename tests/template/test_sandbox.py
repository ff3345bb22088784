"""The sandbox: what templates may do, what they may not, and what ends those that would never end."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from finetooth.errors import TemplateError
from finetooth.template import ChatTemplate
from finetooth.types import Message

MESSAGES: list[Message] = [
    {"role": "system", "content": "Be brief & <kind>."},
    {"role": "user", "content": "  Où est la gare?\n"},
    {
        "role": "assistant",
        "content": "「あちら」ですわ。",
        "tags": ["b", "A", "c", "A"],
        "n": 3,
        "map": {"b": 1, "a": None},
    },
]


def render(source: str, **variables: Any) -> str:
    return ChatTemplate(source, name="t.jinja").render(copy.deepcopy(MESSAGES), variables=variables)


def error_of(source: str, **variables: Any) -> TemplateError:
    with pytest.raises(TemplateError) as caught:
        render(source, **variables)
    return caught.value


# What transformers allows, and what comes out of it.

ALLOWED = {
    "break": "{% for i in range(9) %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}",
    "continue": "{% for i in range(9) %}{% if i is odd %}{% continue %}{% endif %}{{ i }}{% endfor %}",
    "for else": "{% for i in [] %}{{ i }}{% else %}none{% endfor %}",
    "for if": "{% for m in messages if m.role != 'user' %}{{ loop.index }}{{ m.role }}{% endfor %}",
    "for recursive": "{% for x in [1, [2, [3]]] recursive %}{{ loop(x) if x is iterable else x }}{% endfor %}",
    "loop": "{% for m in messages %}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}"
    "{{ loop.cycle('a', 'b') }}{{ loop.changed(m.role) }}{{ loop.previtem.role if loop.previtem }}{% endfor %}",
    "macro": "{% macro m(a, b='x', c=none) %}{{ a ~ b ~ c }}{% endmacro %}{{ m(1) }}{{ m(1, c=2) }}{{ m('a', 'b') }}",
    "varargs": "{% macro m(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, [3], x='y') }}",
    "a variable called kwargs": "{% set kwargs = 3 %}{{ kwargs }}{{ varargs is defined }}",
    "call": "{% macro m() %}<{{ caller('x') }}>{% endmacro %}{% call(y) m() %}{{ y }}!{% endcall %}",
    "set block": "{% set x %}a {{ messages[0].content }}{% endset %}{{ x|upper }}{{ x|length }}",
    "set block with filter": "{% set x | upper %}a{{ messages[0].role }}{% endset %}{{ x }}",
    "filter block": "{% filter trim | upper %}  {{ messages[1].content }}  {% endfilter %}",
    "with": "{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a is defined }}",
    "block": "{% block a %}x{{ messages|length }}{% endblock %}{{ self.a() }}",
    "autoescape": "{% autoescape true %}{{ messages[0].content }}{{ messages[0].content ~ ('>'|safe) }}"
    "{% endautoescape %}{{ '<' }}",
    "namespace": "{% set ns = namespace(a=1, self=2) %}{% for i in range(3) %}{% set ns.a = ns.a + i %}{% endfor %}"
    "{{ ns.a }}{{ ns.self }}{{ ns.b is defined }}{{ ns['a'] }}",
    "namespace of a mapping": "{% set ns = namespace({'items': 1}, get=2) %}{{ ns.items }}{{ ns.get }}",
    "dict": "{{ dict(a=1, b='x') }}{{ dict([('a', 2)]) }}{{ dict.fromkeys(['a', 'b'], 0) }}{{ dict() }}",
    "cycler": "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}",
    "joiner": "{% set j = joiner(', ') %}{% for i in range(3) %}{{ j() }}{{ i }}{% endfor %}",
    "strftime_now": "{{ strftime_now('%Y') }}{{ strftime_now('%d %b') }}{{ strftime_now('') }}",
    "arithmetic": "{{ 1 + 2 * 3 - 4 }} {{ 7 // 2 }} {{ 7 / 2 }} {{ 7 % 4 }} {{ 2 ** 10 }} {{ -2 ** 2 }}"
    " {{ 1.5 + 1 }} {{ +3 }}",
    "true is a number": "{{ true + 1 }}{{ 'a' * true }}{{ 3 * false }}",
    "negative power": "{{ 2 ** -1 }} {{ (-8) ** 3 }}",
    "text": "{{ 'a' + 'b' + 'c' }}{{ 'a' ~ 1 ~ none ~ [2] ~ 1.5 }}{{ 'ab' * 3 }}{{ 2 * 'ab' }}{{ 'ab' * -1 }}",
    "safe text": "{{ ('<'|safe) + '<' }}{{ '<' + ('>'|safe) }}{{ ('<%s>'|safe) % '<' }}{{ ('<{}>'|safe).format('<') }}",
    "lists": "{{ [1] + [2, 3] }}{{ (1,) + (2,) }}{{ [0] * 3 }}{{ messages[1:]|length }}{{ messages[::-1][0].role }}"
    "{{ ([1] + [2])[-1] }}",
    "slices": "{{ 'abcdef'[1:4] }}{{ 'abcdef'[::-2] }}{{ messages[0].content[:5] }}{{ messages[-1]['tags'][1:] }}",
    "comparison": "{{ 1 < 2 <= 2 }}{{ 'a' in 'abc' }}{{ 'b' not in ['a'] }}{{ messages[0] == messages[0] }}" * 20,
    "tests": "{{ x is defined }}{{ none is none }}{{ 3 is odd }}{{ 'a' is string }}{{ [] is iterable }}"
    "{{ {} is mapping }}"
    "{{ 4 is divisibleby 2 }}{{ 1 is eq 1 }}{{ 'a' is in 'abc' }}{{ messages[0] is sameas messages[0] }}" * 10,
    "conditions": "{{ 'a' if messages else 'b' }}{{ '' or 'x' }}{{ not none }}{{ messages and 1 }}",
    "unpacking": "{% for a, b in [(1, 2), (3, 4)] %}{{ a }}{{ b }}{% endfor %}{% set c, d = 5, 6 %}{{ c }}{{ d }}",
    "mapping": "{% for k, v in messages[2].map.items() %}{{ k }}{{ v }}{% endfor %}{{ messages[2].map.get('b') }}"
    "{{ messages[2].map.keys()|list }}{{ messages[2].map.values()|list }}{{ messages[2].nothing is defined }}",
    "keys named like methods": "{{ {'items': 3}['items'] }}{{ {'items': 3}.items() | list }}{{ {'get': 1, 'x': 2}.x }}",
    "methods": "{{ ' a b '.strip() }}{{ 'a,b'.split(',') }}{{ 'a b  c'.split() }}{{ 'a,b,c'.rsplit(',', 1) }}"
    "{{ 'a,b,c'.split(sep=',', maxsplit=1) }}{{ 'aXbX'.replace('X', '-') }}{{ 'aXbX'.replace('X', '-', 1) }}"
    "{{ 'ab'.replace('', '-') }}{{ ','.join(['a', 'b']) }}{{ '-'.join('abc') }}{{ 'a\\nb'.splitlines() }}"
    "{{ 'xxaxx'.strip('x') }}{{ 'Ab'.upper() }}{{ 'Ab'.swapcase() }}{{ 'a'.center(5, '.') }}{{ '7'.zfill(3) }}"
    "{{ 'a'.ljust(3) }}|{{ 'a\\tb'.expandtabs(4) }}{{ 'a\\tb'.expandtabs(tabsize=2) }}{{ 'abc'.find('c') }}"
    "{{ 'abc'.partition('b') }}{{ 'abc'.startswith('a') }}{{ 'abc'.startswith(('x', 'a')) }}{{ 'abc'.count('b') }}"
    "{{ 'abc'.removeprefix('a') }}{{ 'abc'.translate({97: 'X', 98: none}) }}{{ 'a'.isalpha() }}"
    "{{ 'é'.encode('utf-8') }}",
    "formats": "{{ '{} {1}'.replace('{1}', '{}').format('a', 2) }}{{ '{a:>5}|{b:.2f}'.format(a='x', b=1.5) }}"
    "{{ '{0[0]}{1.real}'.format(['q'], 3) }}{{ '{a}'.format_map({'a': 1}) }}{{ '{{}}{!r}'.format('x') }}"
    "{{ '{:{}}'.format('x', 4) }}|{{ '%s-%d-%05.1f-%%' % ('a', 2, 3) }}{{ '%(a)s' % {'a': 1} }}{{ '%s' % 'x' }}"
    "{{ '%*d' % (5, 3) }}{{ '%s %s'|format('a', 'b') }}{{ '%(k)s'|format(k=1) }}",
    "json": "{{ messages[2]|tojson }}{{ messages[2]|tojson(indent=2) }}{{ messages[2]|tojson(ensure_ascii=true) }}"
    "{{ messages[2].map|tojson(separators=(',', ':'), sort_keys=true) }}{{ '<&>\\'' | tojson }}"
    "{{ [1, none, true]|tojson }}"
    "{{ messages[2].map|tojson(indent='--') }}{{ [] | tojson(indent=4) }}{{ messages[2].map|tojson(indent=0) }}",
    "filters on text": "{{ ' a '|trim }}{{ 'xax'|trim('x') }}{{ 'aB'|upper }}{{ 'aB'|lower }}{{ 'aB c'|title }}"
    "{{ 'aB'|capitalize }}"
    "{{ 'aXb'|replace('X', '-') }}{{ 'aXbX'|replace('X', '-', 1) }}{{ 1|replace(1, 2) }}{{ 'a\\nb'|indent }}"
    "{{ 'a\\nb'|indent(2, true) }}"
    "{{ 'a\\n\\nb'|indent('> ', blank=true) }}{{ 'a'|center(5) }}|{{ '<a>'|e }}{{ '<a>'|escape|e }}"
    "{{ '<a>'|safe|forceescape }}"
    "{{ 'a b c'|wordcount }}{{ 'a b c d'|wordwrap(3) }}{{ 'long words here'|truncate(9) }}{{ '<b>x</b>'|striptags }}"
    "{{ 'a b&c'|urlencode }}{{ {'a': 'b c'}|urlencode }}{{ {'a': '<'}|xmlattr }}{{ 'see http://x.org'|urlize }}"
    "{{ 3|string }}{{ 'abc'|reverse }}{{ 'abc'|length }}{{ 'abc'|first }}{{ 'abc'|last }}{{ 'abc'|list }}"
    "{{ 'abc'|count }}",
    "filters on numbers": "{{ '12'|int }}{{ 'x'|int }}{{ 'x'|int(5) }}{{ 'ff'|int(base=16) }}{{ '1.5'|float }}"
    "{{ 3.7|int }}{{ -3|abs }}"
    "{{ 3.14159|round(2) }}{{ 2.5|round(0, 'ceil') }}{{ 1234567|filesizeformat }}{{ none|int }}"
    "{{ 2.1|round(method='floor') }}",
    "filters on lists": "{{ [3, 1, 2]|sort }}{{ messages[2].tags|sort }}"
    "{{ messages[2].tags|sort(case_sensitive=true) }}"
    "{{ messages|sort(attribute='role', reverse=true)|map(attribute='role')|list }}{{ messages[2].tags|unique|list }}"
    "{{ [1, 2, 3]|sum }}{{ messages|sum(attribute='n') if false }}{{ [[1], [2]]|sum(start=[]) }}"
    "{{ [1, 2]|sum(start=0.5) }}"
    "{{ [1, 2, 3]|max }}{{ ['b', 'A']|min }}{{ [1, 2, 3]|batch(2)|list }}{{ [1, 2, 3]|batch(2, 'x')|list }}"
    "{{ [1, 2, 3]|slice(2)|list }}"
    "{{ [1, 2, 3]|slice(2, 'x')|list }}{{ [1, 2]|join }}{{ [1, 2]|join(', ') }}"
    "{{ messages|join(' ', attribute='role') }}"
    "{{ ['<', '>'|safe]|join('&') }}{{ [1, none]|join(d='-') }}{{ [1, 2]|reverse|list }}",
    "selection": "{{ messages|selectattr('role', 'equalto', 'user')|list|length }}"
    "{{ messages|rejectattr('n')|list|length }}"
    "{{ messages|selectattr('n', 'defined')|map(attribute='role')|first }}{{ [1, 2, 3]|select('odd')|list }}"
    "{{ [0, 1]|reject|list }}"
    "{{ messages|map(attribute='n', default='?')|list }}{{ ['a ', 'b']|map('trim')|map('upper')|join('+') }}"
    "{{ ['a', 'b']|map('replace', 'a', 'x')|list }}{{ [1, 2]|select('in', [2])|list }}"
    "{{ []|select|first is defined }}",
    "groups": "{% for r, ms in messages|groupby('role') %}{{ r }}{{ ms|length }}{% endfor %}"
    "{{ messages[2].map|dictsort }}"
    "{{ messages[2].map|items|list }}{% for k, v in {'a': 1}|items %}{{ k }}{{ v }}{% endfor %}"
    "{{ nothing|items|list }}",
    "defaults": "{{ nothing|default('x') }}{{ ''|default('x', true) }}{{ ''|d('x') }}{{ messages[0]|attr('role') }}",
    "pprint": "{{ messages[2].map|pprint }}",
    "undefined prints nothing": "<{{ nothing }}{{ messages[0].nothing }}{{ messages[9] }}>",
    "white space": "a\n{% if true %}\n  b\n  {%- if true %} c {% endif -%}\n{% endif %}"
    "\n{# note #}\nd\n  {{- 'e' }}\n\n",
    "line statements are text": "# for x in y\n## note",
    "raw": "{% raw %}{{ x }}{% endraw %}",
    "private-use and astral characters": "{{ '\U00100000🍚'|tojson }}{{ '🍚'|upper }}{{ '𠮷'|length }}",
}


@pytest.mark.parametrize("name", ALLOWED)
def test_templates_give_what_transformers_gives(name: str) -> None:
    chat_template_utils = pytest.importorskip("transformers.utils.chat_template_utils")
    expected, _ = chat_template_utils.render_jinja_template([copy.deepcopy(MESSAGES)], chat_template=ALLOWED[name])
    assert render(ALLOWED[name]) == expected[0]


REFUSED = {
    "undefined attribute": "{{ nothing.attribute }}",
    "undefined function": "{{ nothing() }}",
    "text and number": "{{ 'a' + 1 }}",
    "text and number in a row": "{{ 'a' + 'b' + 1 + 'c' }}",
    "text and undefined": "{{ 'a' + nothing }}",
    "text and list": "{{ 'a' + [1] }}",
    "list and text": "{{ [1] + 'a' }}",
    "number and none": "{{ 1 * none }}",
    "division by zero": "{{ 1 // 0 }}{{ 1 % 0 }}",
    "none of a percent": "{{ '%d' % 'x' }}",
    "too few values": "{{ '%s %s' % ('a',) }}",
    "too few fields": "{{ '{} {}'.format('a') }}",
    "mixed fields": "{{ '{} {0}'.format('a') }}",
    "format_map without a mapping": "{{ '{a}'.format_map() }}",
    "no such filter": "{{ 'a'|nothing }}",
    "no such test": "{{ 'a' is nothing }}",
    "not JSON": "{{ nothing|tojson }}",
    "wrong arguments": "{{ 'a'|tojson(nothing=1) }}",
    "truncate": "{{ 'abc'|truncate(1) }}",
    "too few arguments": "{% macro m(a) %}{{ a.b.c }}{% endmacro %}{{ m() }}",
    "loop() outside": "{% for x in [1] %}{{ loop([1]) }}{% endfor %}",
    "empty cycler": "{{ cycler() }}",
    "include": "{% include 'other' %}",
    "import": "{% import 'other' as o %}",
    "extends": "{% extends 'other' %}",
    "raise_exception": "{{ raise_exception('only these roles') }}",
    "raise_exception without a message": "{{ raise_exception() }}",
    "raise_exception of a mapping": "{{ raise_exception({'a': 1}) }}",
    "private name of a namespace": "{% set ns = namespace(_a=1) %}",
    "private name set on a namespace": "{% set ns = namespace() %}{% set ns._a = 1 %}",
    "assignment to a message": "{% set messages.x = 1 %}",
    "sum of texts": "{{ ['a', 'b']|sum }}",
    "sorting what has no order": "{{ [1, 'a']|sort }}",
    "not iterable": "{% for x in 3 %}{% endfor %}",
    "key that cannot be hashed": "{{ {[1]: 2} }}",
    "index": "{{ [1][3].x }}",
    "do": "{% do messages.append(1) %}",
    "unknown tag": "{% nothing %}",
    "not closed": "{% if true %}",
    "break outside a loop": "{% break %}",
    "continue outside a loop": "{% continue %}",
    "an argument twice": "{% macro m(a, a) %}{% endmacro %}",
    "a keyword twice": "{{ dict(a=1, a=2) }}",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_transformers_refuses_is_an_error_with_a_remedy(name: str) -> None:
    chat_template_utils = pytest.importorskip("transformers.utils.chat_template_utils")
    # Whatever it is that theirs raises; a SyntaxError of Python's among them.
    with pytest.raises(Exception):  # noqa: B017
        chat_template_utils.render_jinja_template([copy.deepcopy(MESSAGES)], chat_template=REFUSED[name])
    error = error_of(REFUSED[name])
    assert error.help
    assert "\n" not in error.what


GENERATION = {
    "plain": "{% for m in messages %}{{ m.role }}: {% generation %}{{ m.content }}{% endgeneration %}\n{% endfor %}",
    "white space": "a \n{%- generation -%}\n b {{ messages[0].content }} \n{%- endgeneration -%}\n c",
    "trimmed lines": "a\n    {% generation %}\n  b\n    {% endgeneration %}\n  c",
    "in a condition": "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}!"
    "{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}",
    "nested": "a{% generation %}b{% generation %}{{ messages[2].content }}{% endgeneration %}d{% endgeneration %}e",
    "in a macro": "{% macro m(x) %}<{% generation %}{{ x.content }}{% endgeneration %}>{% endmacro %}"
    "{% for x in messages %}{{ m(x) }}{% endfor %}",
    "in a set block": "a{% set x %}b{% generation %}c{% endgeneration %}{% endset %}{{ x }}",
    "empty": "a{% generation %}{% endgeneration %}b{% generation %}{{ '' }}{% endgeneration %}",
    "with a loop inside": "x{% generation %}{% for m in messages %}{{ loop.index }}{{ m.role }}{% endfor %}"
    "{% endgeneration %}",
    "with variables": "{% set x = 1 %}{% generation %}{% set y = 2 %}{{ x + y }}{% endgeneration %}{{ y is defined }}",
    "beside output that is not text": "{{ [1, 2] }}{{ 3.5 }}{% generation %}{{ none }}{{ 4 }}{% endgeneration %}",
}


@pytest.mark.parametrize("name", GENERATION)
def test_generation_blocks_stand_where_transformers_says(name: str) -> None:
    chat_template_utils = pytest.importorskip("transformers.utils.chat_template_utils")
    texts, blocks = chat_template_utils.render_jinja_template(
        [copy.deepcopy(MESSAGES)], chat_template=GENERATION[name], return_assistant_tokens_mask=True
    )
    template = ChatTemplate(GENERATION[name], name=name)
    assert template.has_generation_blocks
    assert template.render_with_generation(copy.deepcopy(MESSAGES)) == (texts[0], blocks[0])


def test_generation_blocks_of_one_rendering_are_not_those_of_the_next() -> None:
    template = ChatTemplate(GENERATION["plain"], name="t")
    first = template.render_with_generation(MESSAGES[:1])
    assert first == ("system: Be brief & <kind>.", [(8, 26)])
    assert template.render_with_generation(MESSAGES[:1]) == first


# What it forbids.

INTERNALS = {
    "class": "{{ ''.__class__.__mro__ }}",
    "class by index": "{{ ''['__class__'] }}{{ ''['__class__']['__mro__'] }}",
    "class by attr": "{{ (''|attr('__class__')).__mro__ }}",
    "class by map": "{{ (['']|map(attribute='__class__')|list)[0].__mro__ }}",
    "class by sort": "{{ ['', '']|sort(attribute='__class__.__mro__') }}",
    "class of a message": "{{ messages[0].__class__.x }}",
    "format": "{{ '{0.__class__.__mro__}'.format('') }}",
    "format_map": "{{ '{a.__class__.__mro__}'.format_map({'a': ''}) }}",
    "format of safe text": "{{ ('{0.__class__.__mro__}'|safe).format('') }}",
    "format by a variable": "{% set f = '{0.__class__.__mro__}'.format %}{{ f('') }}",
    "format by attr": "{{ ('{0.__class__.__mro__}'|attr('format'))('') }}",
    "globals of a function": "{{ raise_exception.__globals__.x }}",
    "globals of a macro": "{% macro m() %}{% endmacro %}{{ m._func.__globals__.x }}",
    "globals of a method": "{{ dict.fromkeys.__func__.__globals__.x }}",
    "environment of a macro": "{% macro m() %}{% endmacro %}{{ m._environment.x }}",
    "context of self": "{% block a %}{% endblock %}{{ self._TemplateReference__context.x }}",
    "subclasses": "{{ dict.__class__.__subclasses__() }}",
    "mro of a class": "{{ namespace.mro() }}",
    "frame of a generator": "{{ (messages|map('upper')).gi_frame.f_back }}",
    "namespace's own": "{{ namespace(a=1)._Namespace__attrs.x }}",
    "bytes": "{{ 'a'.encode().hex() }}",
    "escape of safe text": "{{ ('a'|safe).escape('<') }}",
}


@pytest.mark.parametrize("name", INTERNALS)
def test_pythons_internals_cannot_be_reached(name: str) -> None:
    error = error_of(INTERNALS[name])
    assert isinstance(error.__cause__, Exception)
    assert (
        "unsafe" in str(error.__cause__)
        or "undefined" in str(error.__cause__)
        or "no attribute" in str(error.__cause__)
    )


MUTATIONS = [
    "{{ messages.append(1) }}",
    "{{ messages.pop() }}",
    "{{ messages.clear() }}",
    "{{ messages.reverse() }}",
    "{{ messages.sort() }}",
    "{{ messages.insert(0, 1) }}",
    "{{ messages.extend([1]) }}",
    "{{ messages.remove(messages[0]) }}",
    "{{ messages[0].update(role='x') }}",
    "{{ messages[0].pop('role') }}",
    "{{ messages[0].popitem() }}",
    "{{ messages[0].setdefault('x', 1) }}",
    "{{ messages[0].clear() }}",
    "{{ (messages|attr('append'))(1) }}",
    "{{ messages['append'](1) }}",
    "{{ messages[0].__setitem__('role', 'x') }}",
    "{% set messages[0].role = 'x' %}",
    "{% for messages[0].role in ['x'] %}{% endfor %}",
]


@pytest.mark.parametrize("source", MUTATIONS)
def test_messages_cannot_be_changed(source: str) -> None:
    given = copy.deepcopy(MESSAGES)
    with pytest.raises(TemplateError):
        ChatTemplate(source, name="t").render(given)
    assert given == MESSAGES


def test_a_namespace_of_a_message_is_a_copy() -> None:
    given = copy.deepcopy(MESSAGES)
    source = "{% set ns = namespace(messages[0]) %}{% set ns.role = 'x' %}{{ ns.role }}{{ messages[0].role }}"
    assert ChatTemplate(source, name="t").render(given) == "xsystem"
    assert given == MESSAGES


def test_a_namespace_does_not_print_what_it_holds() -> None:
    assert render("{{ namespace(secret=1) }}") == "<Namespace>"


# What it says.


@pytest.mark.parametrize(
    ("source", "what", "where"),
    [
        ("a\n{% if x %}\nb", "the template is not valid jinja: Unexpected end of template.", "t.jinja:3"),
        ("a\nb\n{{ 'x' | nothing }}", "the template is not valid jinja: No filter named 'nothing'.", "t.jinja:3"),
        ("{{ 'x }}", "the template is not valid jinja: unexpected char", "t.jinja:1"),
        ("{% break %}", "the template is not valid jinja: 'break' outside loop", "t.jinja"),
        ("{% macro m(a, a) %}{% endmacro %}", "the template is not valid jinja: duplicate argument", "t.jinja"),
        ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "calls itself too deep", "t.jinja"),
        ("x" * 300_000, "the template is longer than 262,144 characters", "t.jinja"),
    ],
)
def test_a_template_that_cannot_be_compiled_says_where(source: str, what: str, where: str) -> None:
    error = error_of(source)
    assert what in error.what
    assert error.where == where
    assert error.help and "--template" in error.help


def test_what_a_template_says_is_shown_in_short_on_one_line() -> None:
    error = error_of("{{ raise_exception('only\\n  these ' ~ 'x' * 1000000) }}")
    assert error.what.startswith("the template t.jinja refuses this conversation: only these xxx")
    assert error.what.endswith("x…")
    assert len(error.what) < 400


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("{{ raise_exception('no system role') }}", "the template t.jinja refuses this conversation: no system role"),
        ("{{ nothing.x }}", "the template t.jinja refuses this conversation: 'nothing' is undefined"),
        ("{{ 1 // 0 }}", "the template t.jinja fails on this conversation: ZeroDivisionError: "),
        ("{{ cycler() }}", "the template t.jinja fails on this conversation: RuntimeError: "),
        ("{{ range(1000000) }}", "the template t.jinja fails on this conversation: OverflowError: Range too big."),
    ],
)
def test_an_error_of_a_rendering_leaves_its_place_to_the_row(source: str, what: str) -> None:
    error = error_of(source)
    assert error.what.startswith(what)
    assert error.where is None
    assert error.help and "--skip-broken" in error.help
