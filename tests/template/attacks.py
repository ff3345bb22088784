"""Templates that would run for ever or take all memory, and what runs them where they can do no harm.

    python -m tests.template.attacks GROUP

renders each template of a group in a process of its own, with little memory, and prints what became of it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator

MEMORY_BYTES = 3 << 29
"""How much address space a rendering may take; Python and jinja2 themselves take a tenth."""

SECONDS = 0.2
"""The limit of time that the renderings are given."""

_BIG = "{% set big = 'x' * 60000000 %}"
_DOUBLED = "{% set ns = namespace(x='x', n=3, d=0) %}{% for i in range(60) %}{% set ns.x = BODY %}{% endfor %}"


def _doubled(body: str, *, then: str = "") -> str:
    return _DOUBLED.replace("BODY", body) + then


def _block_doubled(body: str) -> str:
    return _DOUBLED.replace("{% set ns.x = BODY %}", "{% set ns.x %}" + body + "{% endset %}")


def _many(body: str) -> str:
    """Return a body in loops that end with the universe, after a namespace."""
    loops = "{% for i in range(100000) %}{% for j in range(100000) %}"
    return "{% set ns = namespace(x=()) %}" + loops + body + "{% endfor %}{% endfor %}"


ATTACKS: dict[str, dict[str, str]] = {
    "time": {
        "nested for": _many(""),
        "for over a long text": "{% for x in 'x' * 60000000 %}{% endfor %}",
        "filtered for": _BIG + "{% for x in range(100000) if 'xy' in big %}{% endfor %}",
        "filtered for over a text": _BIG + "{% for x in big if x == 'y' %}{% endfor %}",
        "endless macro": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "tree of macros": "{% macro m(n) %}{% if n %}{{ m(n-1) }}{{ m(n-1) }}{% endif %}{% endmacro %}{{ m(60) }}",
        "tree of calls": "{% macro m(n) %}{{ caller() }}{% if n %}{% call m(n-1) %}x{% endcall %}"
        "{% call m(n-1) %}x{% endcall %}{% endif %}{% endmacro %}{% call m(60) %}x{% endcall %}",
        "endless loop()": "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
        "tree of loop()": "{% for x in [1, 2] recursive %}{% if loop.depth < 60 %}{{ loop([1, 2]) }}{% endif %}"
        "{% endfor %}",
        "tree of blocks": "{% set ns = namespace(d=0) %}{% block a %}{% set ns.d = ns.d + 1 %}{% if ns.d < 60 %}"
        "{{ self.a() }}{{ self.a() }}{% endif %}{% set ns.d = ns.d - 1 %}{% endblock %}",
        "find in a loop": _BIG + _many("{% if big.find('xy') %}{% endif %}"),
        "in, without a loop": _BIG + "{{ 'xy' in big }}" * 3000,
        "count, without a loop": _BIG + "{{ big.count('xy') }}" * 3000,
        "select by a test": _BIG + "{{ range(100000)|map('string')|select('in', big)|list|length }}",
        "map by a filter": _BIG + "{{ big|map('upper')|list|length }}",
        "map by an attribute": _BIG + "{{ big|map(attribute='a')|list|length }}",
        "path of an attribute": "{{ range(100000)|map(attribute='real.' * 100000 ~ 'real')|list|length }}",
        "sum over a path": "{{ range(100000)|sum(attribute='real.' * 100000 ~ 'real') }}",
        "join over a path": "{{ range(100000)|join(attribute='real.' * 100000 ~ 'real')|length }}",
        "sort": _BIG + "{{ big|sort|length }}",
        "unique": _BIG + "{{ big|unique|list|length }}",
        "groupby": _BIG + "{{ big|groupby('a')|length }}",
        "title": "{{ ('x ' * 30000000)|title|length }}",
        "wordcount": "{{ ('x ' * 30000000)|wordcount }}",
        "wordwrap": "{{ ('x' * 3000000)|wordwrap(1)|length }}",
        "urlize": "{{ ('a@b.c ' * 10000000)|urlize|length }}",
        "striptags": "{{ ('<!---->' * 4000000)|striptags }}",
        "striptags of safe text": "{{ (('<!---->' * 4000000)|safe).striptags() }}",
        "strip": "{{ ('x' * 30000000).strip('y' * 30000000 ~ 'x')|length }}",
        "trim": "{{ ('x' * 30000000)|trim('y' * 30000000 ~ 'x')|length }}",
        "punycode": "{{ ('x' * 60000000).encode('punycode')|length }}",
        "idna": "{{ ('x' * 60000000).encode('idna')|length }}",
        "many fields": "{{ ('{0}' * 20000000).format('')|length }}",
        "sum of lists": "{{ (range(60000)|map('string')|map('list')|list)|sum(start=[])|length }}",
        "chain of filters": _many("{% set ns.x = ns.x|map('string') %}"),
    },
    "numbers": {
        "power": "{{ 2 ** (10 ** 9) }}",
        "power of a power": "{{ (2 ** 64) ** (64 ** 64) }}",
        "power of a float": "{{ 2.0 ** 1000000 }}",
        "squares": "{% set ns = namespace(n=3) %}{% for i in range(60) %}{% set ns.n = ns.n * ns.n %}{% endfor %}",
        "int": "{{ (('f' * 60000000)|int(base=16) // ('f' * 30000000)|int(base=16)) > 1 }}",
        "float": "{{ ('9' * 60000000)|float }}",
        "round": "{{ 1|round(1000000000, 'ceil') }}",
        "round by a variable": "{% set n = 1000000000 %}{{ 1|round(n, 'floor') }}",
        "to_bytes": "{{ (1).to_bytes(3000000000, 'big')|length }}",
        "range": "{{ range(1000000000)|list|length }}",
    },
    "text": {
        "*": "{{ 'x' * 300000000 }}",
        "* from the left": "{{ 300000000 * 'x' }}",
        "* of bytes": "{{ ('x'.encode() * 3000000000)|length }}",
        "+": _doubled("ns.x + ns.x"),
        "many +": "{% set b = 'x' * 60000000 %}{{ (" + " + ".join(["b"] * 100) + ")|length }}",
        "~": _doubled("ns.x ~ ns.x"),
        "~ with autoescape": "{% autoescape true %}" + _doubled("ns.x ~ ns.x") + "{% endautoescape %}",
        "set ... endset": _block_doubled("{{ ns.x }}{{ ns.x }}"),
        "set ... endset with autoescape": "{% autoescape true %}"
        + _block_doubled("{{ ns.x }}{{ ns.x }}")
        + "{% endautoescape %}",
        "filter block": _block_doubled("{% filter upper %}{{ ns.x }}{{ ns.x }}{% endfilter %}"),
        "macro": "{% macro m(x) %}{{ x }}{{ x }}{% endmacro %}" + _doubled("m(ns.x)"),
        "call": "{% macro m() %}{{ caller() }}{{ caller() }}{% endmacro %}"
        + _block_doubled("{% call m() %}{{ ns.x }}{% endcall %}"),
        "generation": _block_doubled("{% generation %}{{ ns.x }}{{ ns.x }}{% endgeneration %}"),
        "block": _BIG
        + "{% block a %}{% for i in range(1000) %}{{ big }}{% endfor %}{% endblock %}{% set x = self.a() %}",
        "output": "{% for i in range(100000) %}{{ 'x' * 60000 }}{% endfor %}",
        "lists in a macro": "{% set l = ['x' * 1000000] %}{% macro m() %}{% for i in range(100000) %}{{ l }}"
        "{% endfor %}"
        "{% endmacro %}{{ m() }}",
        "center": "{{ 'x'.center(300000000) }}",
        "center of safe text": "{{ ('x'|safe).center(300000000)|length }}",
        "center of bytes": "{{ 'x'.encode().center(3000000000)|length }}",
        "center by a variable": "{% set f = 'x'.center %}{{ f(300000000) }}",
        "ljust": "{{ 'x'.ljust(300000000) }}",
        "rjust": "{{ 'x'.rjust(300000000) }}",
        "zfill": "{{ 'x'.zfill(300000000) }}",
        "expandtabs": "{{ ('\\t' * 60000).expandtabs(60000)|length }}",
        "expandtabs by name": "{{ '\\t'.expandtabs(tabsize=300000000)|length }}",
        "replace": "{{ ('x' * 60000).replace('x', 'y' * 60000)|length }}",
        "replace of safe text": "{{ (('x' * 60000)|safe).replace('x', 'y' * 60000)|length }}",
        "join of a text": "{{ ('y' * 60000).join('x' * 60000)|length }}",
        "join of what is lazy": "{{ ('y' * 60000).join(range(60000)|map('string'))|length }}",
        "join of safe text": "{{ ('y' * 60000)|safe|join('x' * 60000)|length }}",
        "translate": "{{ ('x' * 60000).translate({120: 'y' * 60000})|length }}",
        "upper": "{{ ('ΐ' * 60000000).upper()|length }}",
        "split": "{{ ('aab' * 20000000).split('b')|length }}",
        "split at spaces": "{{ ('a ' * 30000000).split()|length }}",
        "splitlines": "{{ ('aa\\n' * 20000000).splitlines()|length }}",
        "strftime": "{{ strftime_now('%c' * 10000000)|length }}",
        "slices": _BIG + _many("{% set ns.x = namespace(a=big[i:], b=ns.x) %}"),
        "stripped": "{% set big = 'x' * 60000000 ~ ' ' %}" + _many("{% set ns.x = namespace(a=big.strip(), b=ns.x) %}"),
        "marked as safe": _BIG + _many("{% set ns.x = namespace(a=big|safe, b=ns.x) %}"),
        "heap": _many("{% set ns.x = namespace(a='x' * 4000, b=ns.x) %}"),
        "heap of wide characters": "{% set ns = namespace(x=[]) %}{% for i in range(200) %}"
        "{% set ns.x = ns.x + ['🍚' * 50000000] %}{% endfor %}",
    },
    "formats": {
        "width": "{{ '{:300000000}'.format(1) }}",
        "width from a field": "{{ '{:{}}'.format(1, 300000000) }}",
        "width from a name": "{{ '{:{w}}'.format(1, w='300000000') }}",
        "precision": "{{ '{:.300000000f}'.format(1.0) }}",
        "fields": "{{ ('{0}' * 60000).format('y' * 60000)|length }}",
        "fields of safe text": "{{ (('{0}' * 60000)|safe).format('y' * 60000)|length }}",
        "names": "{{ ('{a}' * 60000).format_map({'a': 'y' * 60000})|length }}",
        "doubled": _doubled("'{0}{0}'.format(ns.x)"),
        "% width": "{{ '%300000000d' % 1 }}",
        "% width to the left": "{{ '%-300000000d' % 1 }}",
        "% width from a value": "{{ '%*d' % (300000000, 1) }}",
        "% precision": "{{ '%.300000000f' % 1.0 }}",
        "% names": "{{ (('%(a)s' * 60000) % {'a': 'y' * 60000})|length }}",
        "% of safe text": "{{ (('%300000000d'|safe) % 1)|length }}",
        "% doubled": _doubled("'%s%s' % (ns.x, ns.x)"),
        "format filter": "{{ '%300000000d'|format(1) }}",
        "format filter with a value": "{{ '%*d'|format(300000000, 1) }}",
        "format filter with names": "{{ ('%(a)s' * 60000)|format(a='y' * 60000)|length }}",
    },
    "filters": {
        "center": "{{ 'x'|center(300000000) }}",
        "indent": "{{ ('x\\n' * 60000)|indent(60000)|length }}",
        "indent by name": "{{ ('x\\n' * 60000)|indent(width=60000)|length }}",
        "indent by a text": "{{ ('x\\n' * 60000)|indent('y' * 60000)|length }}",
        "wordwrap by a text": "{{ ('x ' * 30000)|wordwrap(1, wrapstring='y' * 60000)|length }}",
        "replace": "{{ ('x' * 60000)|replace('x', 'y' * 60000)|length }}",
        "replace nothing": "{{ ('x' * 60000)|replace('', 'y' * 60000)|length }}",
        "replace by name": "{{ ('x' * 60000)|replace(old='x', new='y' * 60000)|length }}",
        "map replace": "{% set b = 'y' * 60000 %}{{ range(60000)|map('string')|map('replace', '1', b)|list|length }}",
        "join": "{{ range(60000)|join('y' * 60000)|length }}",
        "join by name": "{{ range(60000)|join(d='y' * 60000)|length }}",
        "join of long texts": "{{ (['y' * 60000] * 60000)|join|length }}",
        "upper": "{{ ('ΐ' * 60000000)|upper|length }}",
        "escape": '{{ ("\'" * 60000000)|e|length }}',
        "forceescape": '{{ ("\'" * 60000000)|forceescape|length }}',
        "urlencode": "{{ ('あ' * 60000000)|urlencode|length }}",
        "xmlattr": "{{ {'a': \"'\" * 60000000}|xmlattr|length }}",
        "tojson with an indentation": "{{ (range(100000)|list)|tojson(indent=60000)|length }}",
        "tojson with separators": "{{ (range(100000)|list)|tojson(separators=('y' * 60000, ':'))|length }}",
        "tojson in ASCII": "{{ ('あ' * 60000000)|tojson(ensure_ascii=true)|length }}",
        "slice": "{{ 'x'|slice(60000000)|list|length }}",
        "batch": "{{ ('x' * 60000000)|batch(1)|list|length }}",
        "batch filled": "{{ 'x'|batch(60000000, 'y')|list|length }}",
        "batch filled by name": "{{ 'x'|batch(linecount=60000000, fill_with='y')|list|length }}",
        "list": "{{ ('あ' * 60000000)|list|length }}",
        "pprint": "{{ ('x ' * 3000000)|pprint|length }}",
        "sort of long texts": "{% set b = 'X' * 60000000 %}"
        "{{ range(1000)|map('string')|map('replace', '1', b)|sort|length }}",
        "folded when compiled": "{{ 'x'|center(60000000) }}" * 20,
    },
    "lists": {
        "*": "{{ ([0] * 300000000)|length }}",
        "* of a tuple": "{{ ((0, 1) * 300000000)|length }}",
        "list of itself twice": _doubled("[ns.x, ns.x]", then="{{ ns.x }}"),
        "tuple of itself twice": _doubled("(ns.x, ns.x)", then="{{ ns.x|string|length }}"),
        "mapping of itself twice": _doubled("{'a': ns.x, 'b': ns.x}", then="{{ ns.x|tojson|length }}"),
        "dict() of itself twice": _doubled("dict(a=ns.x, b=ns.x)", then="{{ ns.x|tojson|length }}"),
        "dict.fromkeys": _doubled("dict.fromkeys(range(10), ns.x)", then="{{ ns.x|tojson|length }}"),
        "{}.fromkeys": _doubled("{}.fromkeys(range(10), ns.x)", then="{{ ns.x|tojson|length }}"),
        "* of itself": _doubled("[ns.x] * 2", then="{{ ns.x|string|length }}"),
        "+ of itself": _doubled("[ns.x] + [ns.x]", then="{{ ns.x|string|length }}"),
        "default of itself": _doubled("[none, none]|map('default', ns.x, true)|list", then="{{ ns.x|string|length }}"),
        "varargs": "{% macro m(n) %}{% if n %}{{ m(n-1, varargs, varargs) }}{% else %}{{ varargs }}{% endif %}"
        "{% endmacro %}"
        "{{ m(60, 'x', 'y') }}",
        "kwargs": "{% macro m(n) %}{% if n %}{{ m(n-1, a=kwargs, b=kwargs) }}{% else %}{{ kwargs }}{% endif %}"
        "{% endmacro %}"
        "{{ m(60, a='x', b='y') }}",
        "compared": "{% set ns = namespace(a='x', b='x') %}{% for i in range(60) %}{% set ns.a = [ns.a, ns.a] %}"
        "{% set ns.b = [ns.b, ns.b] %}{% endfor %}{{ ns.a == ns.b }}",
        "hashed": _doubled("(ns.x, ns.x)", then="{{ ns.x in {} }}"),
        "deep": "{% set ns = namespace(x=()) %}{% for i in range(100000) %}{% set ns.x = (ns.x, 1) %}{% endfor %}"
        "{{ ns.x in {} }}",
        "chain of cyclers": _many("{% set ns.x = cycler(ns.x, 'x' * 4000) %}"),
        "many lists": "{% set ns = namespace(x=[]) %}{% for i in range(200) %}"
        "{% set ns.x = ns.x + ['x' * 50000000] %}"
        "{% endfor %}",
    },
}


def outcomes(group: str) -> Iterator[tuple[str, str]]:
    """Render the templates of a group; yield the name of each with the error it ended in, or with what it printed."""
    from finetooth.template import sandbox

    sandbox.MAX_SECONDS = SECONDS
    for name, source in ATTACKS[group].items():
        reader, writer = os.pipe()
        process = os.fork()
        if process == 0:
            os.write(writer, _outcome(source).encode())
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as stream:
            outcome = stream.read().decode()
        os.waitpid(process, 0)
        yield name, outcome or "the process died"


def _outcome(source: str) -> str:
    import resource

    from finetooth.errors import TemplateError
    from finetooth.template import ChatTemplate

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    try:
        return "printed " + ChatTemplate(source, name="attack").render([])[:60]
    except TemplateError as error:
        return f"TemplateError from {type(error.__cause__).__name__}"
    except BaseException as error:  # whatever comes out is what the test is about
        return f"{type(error).__name__}: {str(error)[:60]}"


if __name__ == "__main__":
    for line in outcomes(sys.argv[1]):
        print(json.dumps(line), flush=True)
