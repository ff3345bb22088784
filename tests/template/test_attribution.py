"""Attribution by marks, through templates that do to content what templates do."""

from __future__ import annotations

from typing import Any

import pytest

from finetooth.template.attribution import attribute, attribute_plainly
from finetooth.template.marks import Found, Mark, Marked
from finetooth.template.spans import conversation_text
from finetooth.types import Message
from tests.template.sources import CHATML, LLAMA2, PARTS, THINKING, call, record_of, template_of, turns

FIRST_PLANE, SECOND_PLANE = "\U00100000", "\U000f0000"


def marked(
    source: str, messages: list[Message], *, learned: list[bool] | None = None, **fields: Any
) -> tuple[str, Marked]:
    """Return the text and what the marks tell of it."""
    template, record = template_of(source), record_of(messages, **fields)
    text = conversation_text(template, record)
    flags = [message.get("role") == "assistant" for message in messages] if learned is None else learned
    found = attribute(template, messages, text, flags, tools=record.tools, variables=record.chat_template_kwargs)
    assert all(0 <= stretch.start < stretch.end <= len(text) for stretch in found.found)
    assert list(found.found) == sorted(found.found, key=lambda stretch: (stretch.start, stretch.end))
    return text, found


def stretches(source: str, messages: list[Message], **options: Any) -> list[tuple[int, str]]:
    """Return the message and the text of each stretch; nothing may have gone wrong."""
    text, result = marked(source, messages, **options)
    assert (result.unpaired, result.dropped, result.lost) == (frozenset(), frozenset(), frozenset())
    return [(found.message_index, text[found.start : found.end]) for found in result.found]


def of_content(expression: str, *, before: str = "", after: str = "") -> str:
    """Return a template that prints an expression of each message's content."""
    return (
        "{% for m in messages %}{% set content = m.content %}"
        + before
        + ("<|im_start|>{{ m.role }}\n{{ " + expression + " }}<|im_end|>\n" + after + "{% endfor %}")
    )


PLAIN = turns("Where is it?", "In Paris.")


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("content", ["  Where is it?\n", " In Paris. "]),
        ("content | trim", ["  Where is it?\n", " In Paris. "]),
        ("content | upper", ["WHERE IS IT?", "IN PARIS."]),
        ("content.strip() + '!'", ["Where is it?", "In Paris."]),
        ("content | e", ["Where is it?", "In Paris."]),
        ("content | tojson", ["Where is it?", "In Paris."]),
        ("content.replace('is', 'was')", ["Where was it?", "In Parwas."]),
        ("content.split() | join(' ')", ["Where is it?", "In Paris."]),
        ("content | indent(4)", ["Where is it?", "In Paris."]),
        ("'%s' % content", ["Where is it?", "In Paris."]),
        ("'{}'.format(content)", ["Where is it?", "In Paris."]),
        ("content ~ ''", ["Where is it?", "In Paris."]),
        ("content if 'it' in content else content", ["Where is it?", "In Paris."]),
        ("content if content else 'nothing'", ["Where is it?", "In Paris."]),
        ("content | replace('\\n', ' ')", ["Where is it?", "In Paris."]),
    ],
)
def test_templates_that_change_content(expression: str, words: list[str]) -> None:
    messages = turns("  Where is it?\n", " In Paris. ")
    assert stretches(of_content(expression), messages) == [(index, text.strip()) for index, text in enumerate(words)]


@pytest.mark.parametrize(
    "expression",
    [
        "content[:5]",
        "content[3:]",
        "content | length",
        "content | tojson(ensure_ascii=true)",
        "content[::-1]",
        "content | first",
        "content | urlencode",
        "content | list",
        "'yes' if content.startswith('Where') else content",
        "content if content | length < 13 else 'long'",
        "content if content == 'In Paris.' else 'other'",
        "content | truncate(4)",
        "content.split('a')[0]",
    ],
)
def test_where_marks_would_change_the_text_nothing_is_said_of_the_message(expression: str) -> None:
    text, result = marked(of_content(expression), PLAIN)
    assert all(text[found.start : found.end] == PLAIN[found.message_index]["content"] for found in result.found)
    told = result.lost | result.unpaired | result.dropped | {found.message_index for found in result.found}
    assert told == {0, 1}
    assert result.lost or result.unpaired or result.dropped


def test_only_the_messages_that_the_template_looks_at_are_lost() -> None:
    source = of_content("'a question' if content.startswith('Where') else content")
    messages = turns("When?", "Now.", "Where is it?", "In Paris.", "Who?", "You.")
    text, result = marked(source, messages)
    assert result.lost == {2}
    assert [text[found.start : found.end] for found in result.found] == ["When?", "Now.", "In Paris.", "Who?", "You."]
    assert text.count("a question") == 1


def test_a_template_that_looks_at_every_message_is_given_up_in_the_end() -> None:
    source = of_content("content | length")
    messages = turns(*(f"message {index}" for index in range(200)))
    text, result = marked(source, messages)
    assert result.found == () and result.lost == set(range(200))
    assert "9<|im_end|>" in text


def test_dropped_messages_are_told() -> None:
    source = CHATML.replace("in messages", "in messages if m.role != 'system'")
    text, result = marked(source, [{"role": "system", "content": "Be brief."}, *PLAIN])
    assert result.dropped == {0}
    assert [text[found.start : found.end] for found in result.found] == ["Where is it?", "In Paris."]


def test_half_a_message_is_told() -> None:
    text, result = marked(of_content("content.split('|')[0]"), turns("a|b", "c"))
    assert result.unpaired == {0}
    assert [text[found.start : found.end] for found in result.found] == ["c"]


def test_a_message_may_be_shown_twice() -> None:
    source = CHATML + "{{ messages[0].content }}"
    text, result = marked(source, PLAIN)
    assert [(found.message_index, found.number) for found in result.found] == [(0, 0), (1, 1), (0, 0)]
    assert [text[found.start : found.end] for found in result.found] == ["Where is it?", "In Paris.", "Where is it?"]


def test_messages_may_be_shown_in_another_order() -> None:
    source = CHATML.replace("in messages", "in messages | reverse")
    assert stretches(source, turns("a", "b", "c", "d")) == [(3, "d"), (2, "c"), (1, "b"), (0, "a")]


@pytest.mark.parametrize("content", ["", " ", "\n\n\t", "\u3000"])
def test_blank_content_is_in_no_stretch(content: str) -> None:
    assert stretches(CHATML, turns(content, "b")) == [(1, "b")]
    assert stretches(LLAMA2, turns("a", content)) == [(0, "a")]


def test_a_mark_does_not_make_blank_content_true() -> None:
    source = of_content("content or 'nothing'")
    assert stretches(source, turns("", "b")) == [(1, "b")]


@pytest.mark.parametrize("content", [None, 3, {"a": "b"}])
def test_content_that_is_no_text(content: Any) -> None:
    messages = [{"role": "user", "content": content}, {"role": "assistant", "content": "b"}]
    assert stretches(of_content("content"), messages) == [(1, "b")]


def test_a_message_without_content() -> None:
    assert stretches(of_content("content or ''"), [{"role": "user"}, {"role": "assistant", "content": "b"}]) == [
        (1, "b")
    ]


@pytest.mark.parametrize(
    "content",
    [
        "{{ x }}",
        "{% if %}",
        "{# note #}",
        "</s>",
        "<|im_end|>",
        "\\n",
        "'\"",
        "a\u0000b",
        "\ue000\uf8ff",
        f"icon {FIRST_PLANE} here",
        f"{FIRST_PLANE}\U00100001",
        f"{SECOND_PLANE}",
        f"{FIRST_PLANE}{SECOND_PLANE}",
        f"{FIRST_PLANE}\U0010fffd{SECOND_PLANE}\U000ffffd\U00108000",
        "🍚",
        "e\u0301",
        "\u200b",
    ],
)
def test_content_is_text_and_nothing_else(content: str) -> None:
    assert stretches(CHATML, turns(content, f"to {content}")) == [(0, content), (1, f"to {content}")]


def test_a_text_that_is_full_of_private_use_characters_leaves_few_marks() -> None:
    every_other = "".join(chr(code) for base in (0xF0000, 0x100000) for code in range(base, base + 0xFFFE, 2))
    text, result = marked(CHATML, turns(every_other, "b"))
    assert result.found == () and result.lost == {0, 1}
    assert every_other in text


def test_a_thousand_messages() -> None:
    messages = turns(*(f"message {index}" for index in range(1000)))
    assert stretches(CHATML, messages) == [(index, f"message {index}") for index in range(1000)]


def test_thinking_is_marked_apart_from_the_answer() -> None:
    messages = turns("a", "<think>\nhm\n</think>\n\nb", "c", "<think>\nso\n</think>\n\nd")
    assert stretches(THINKING, messages) == [(0, "a"), (1, "b"), (2, "c"), (3, "so"), (3, "d")]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("<think>\nhm\n</think>\n\nb", ["hm", "b"]),
        ("<think></think>b", ["b"]),
        ("<think>\n\n</think>\n\nb", ["b"]),
        ("hm\n</think>\n\nb", ["hm", "b"]),
        ("<think>hm</think>", ["hm"]),
        ("<think>only open", ["<think>only open"]),
        ("b <think>hm</think> c <think>so</think> d", ["b", "hm", "c", "so", "d"]),
        ("a</think>b</think>c", ["a", "b", "c"]),
        ("<think>", ["<think>"]),
        ("</think>", ["</think>"]),
        ("<think></think>", ["<think></think>"]),
    ],
)
def test_thinking_is_cut_at_its_tags(answer: str, words: list[str]) -> None:
    assert stretches(CHATML, turns("a", answer)) == [(0, "a"), *((1, text) for text in words)]


@pytest.mark.parametrize("blank", ["\n" * 50_000, "<think>" + " " * 50_000, "<a>" + "\n" * 50_000])
def test_long_white_space_takes_no_long_time(blank: str) -> None:
    source = of_content("content | length")  # every way of marking is tried
    _, result = marked(source, turns(f"a{blank}b", f"{blank}</think>c"))
    assert result.lost == {0, 1}


def test_thinking_under_a_key_of_its_own() -> None:
    thinking = "{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}"
    source = "{% for m in messages %}" + thinking + "{{ m.content }}{% endfor %}"
    for key in ("reasoning_content", "thinking", "reasoning"):
        assert stretches(source, turns("a", "b", **{key: "hm"})) == [(0, "a"), (1, "hm"), (1, "b")]


def test_tool_results_in_tags_are_marked_inside_them() -> None:
    """Qwen 3 takes a user's turn for a question unless it begins and ends with these tags."""
    source = of_content("content", before="{% if content.startswith('<tool_response>') %}(tool) {% endif %}")
    messages = turns("a", "b", "<tool_response>\nsunny\n</tool_response>", "d")
    assert stretches(source, messages) == [(0, "a"), (1, "b"), (2, "sunny"), (3, "d")]


CALLS = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content or '' }}{% for c in m.tool_calls or [] %}"
    "<call>{{ c.function.name }} ARGUMENTS</call>{% endfor %}</{{ m.role }}>{% endfor %}"
)


def calling(*calls: Any, content: Any = None) -> list[Message]:
    return [{"role": "user", "content": "a"}, {"role": "assistant", "content": content, "tool_calls": list(calls)}]


@pytest.mark.parametrize(
    ("printed", "arguments", "words"),
    [
        (
            "{{ c.function.arguments | tojson }}",
            {"city": "東京", "n": 3, "more": ["x", {"y": "z"}]},
            ["東京", "x", "z"],
        ),
        ("{{ c.function.arguments | tojson }}", {"n": 3}, []),
        ("{{ c.function.arguments | tojson }}", {}, []),
        ("{{ c.function.arguments }}", '{"city": "東京"}', ['{"city": "東京"}']),
        (
            "{{ c.function.arguments if c.function.arguments is string else c.function.arguments | tojson }}",
            '{"city": "東京"}',
            ['{"city": "東京"}'],
        ),
        (
            "{% for k, v in c.function.arguments.items() %}{{ k }}={{ v }};{% endfor %}",
            {"city": "東京", "n": 3},
            ["東京"],
        ),
        ("{{ c.function.arguments | tojson(indent=2) }}", {"city": "東京"}, ["東京"]),
        ("", {"city": "東京"}, []),
    ],
)
def test_tool_calls(printed: str, arguments: Any, words: list[str]) -> None:
    expected = [(0, "a"), *((1, text) for text in ["weather", *words])]
    assert stretches(CALLS.replace("ARGUMENTS", printed), calling(call(arguments=arguments))) == expected


def test_tool_calls_without_a_function_around_them() -> None:
    source = CALLS.replace("c.function.", "c.").replace("ARGUMENTS", "{{ c.arguments | tojson }}")
    flat = {"name": "weather", "arguments": {"city": "東京"}}
    assert stretches(source, calling(flat)) == [(0, "a"), (1, "weather"), (1, "東京")]


@pytest.mark.parametrize(
    "calls", [["text"], [None], [3], [{}], [{"function": None}], [{"function": {"arguments": None}}]]
)
def test_tool_calls_of_a_strange_kind_are_left_alone(calls: list[Any]) -> None:
    source = "{% for m in messages %}{{ m.content or '' }}{{ m.tool_calls or '' }}{% endfor %}"
    assert stretches(source, calling(*calls, content="b")) == [(0, "a"), (1, "b")]


def test_a_template_that_shows_no_tool_calls_is_told() -> None:
    _, result = marked(of_content("content or ''"), calling(call(), content="Let me look."))
    assert result.without_calls == {1} and not result.dropped
    _, result = marked(of_content("content or ''"), calling(call()))
    assert result.dropped == {1}


def test_parts_are_marked_one_by_one_where_the_template_takes_parts() -> None:
    parts = [{"type": "text", "text": "a "}, {"type": "image"}, {"type": "text", "text": "b", "weight": 0}]
    messages: list[Message] = [{"role": "user", "content": parts}, {"role": "assistant", "content": "c"}]
    text, result = marked(PARTS, messages, learned=[True, True])
    assert "a <image>b" in text
    assert [(text[f.start : f.end], f.mark.learned) for f in result.found] == [("a", True), ("b", False), ("c", True)]
    assert not result.lost


def test_parts_are_joined_where_the_template_takes_text() -> None:
    parts = [{"type": "text", "text": "a "}, {"type": "text", "text": "b", "weight": 0}, {"type": "text", "text": ""}]
    text, result = marked(CHATML, [{"role": "user", "content": parts}], learned=[True])
    assert [(text[f.start : f.end], f.mark.learned) for f in result.found] == [("a ", True), ("b", False)]


def test_empty_parts() -> None:
    messages: list[Message] = [
        {"role": "user", "content": []},
        {"role": "assistant", "content": [{"type": "text", "text": ""}]},
    ]
    for source in (CHATML, PARTS):
        assert stretches(source, messages) == []


def test_what_is_learned_in_part_is_marked_in_pieces_that_meet() -> None:
    detail = [
        {"begin_offset": 0, "end_offset": 5, "train": False},
        {"begin_offset": 9, "end_offset": 12, "train": False},
    ]
    messages = turns("a", "  hmm, so it is \n", train_detail=detail)
    text, result = marked(CHATML, messages)
    mine = [found for found in result.found if found.message_index == 1]
    assert [(text[f.start : f.end], f.mark.learned) for f in mine] == [
        ("hmm,", False),
        (" so", True),
        (" it ", False),
        ("is", True),
    ]
    assert [found.end for found in mine[:-1]] == [found.start for found in mine[1:]]
    assert (mine[0].mark.lead, mine[-1].mark.tail) == (2, 2)


def test_pieces_and_thinking_cut_one_another() -> None:
    answer = "<think>hm</think>b"
    detail = [{"begin_offset": 0, "end_offset": answer.index("hm"), "train": False}]
    text, result = marked(CHATML, turns("a", answer, train_detail=detail))
    mine = [(text[f.start : f.end], f.mark.learned) for f in result.found if f.message_index == 1]
    assert mine == [("h", False), ("m", True), ("b", True)]


@pytest.mark.parametrize(
    ("source", "messages"),
    [
        (CHATML, turns("a", "a")),
        (CHATML, turns("a", "ba")),
        (CHATML, turns("aa", "b aaa")),
        (CHATML, turns("user", "b")),
        (CHATML, turns("assistant", "b")),
        (CHATML, turns("im_start", "b")),
        (CHATML, turns("", "b")),
        (CHATML, turns("q", "b", name="x")),
        (CHATML, turns("q", "b", train_detail=[{"begin_offset": 0, "end_offset": 0}])),
        (CHATML, turns("q", "<think>hm</think>b")),
        (CHATML, [{"role": "user", "content": [{"type": "text", "text": "q"}]}]),
        (CHATML + "{{ messages[0].content }}", turns("q", "b")),
        (CHATML.replace("m.content", "m.content|upper"), turns("q", "b")),
        (CHATML.replace("in messages", "in messages[1:]"), turns("q", "b")),
        ("A line\nof its own: " + CHATML, turns("A line", "b")),
        ("{{ 'A line\\nof its own' }}" + CHATML, turns("line\nof", "b")),
        (CHATML, turns(*(f"<{index}>" for index in range(10)))),
    ],
)
def test_words_that_may_stand_elsewhere_are_not_looked_for(source: str, messages: list[Message]) -> None:
    template = template_of(source)
    text = conversation_text(template, record_of(messages))
    assert attribute_plainly(template, messages, text, [True] * len(messages)) is None


def test_words_that_stand_in_the_text_once_need_no_marks() -> None:
    messages = turns("  Where is it?\n", "In Paris. ", "Who?", "<b>You</b>", weight=1)
    text, expected = marked(CHATML, messages)
    template = template_of(CHATML)
    found = attribute_plainly(template, messages, text, [False, True, False, True])
    assert found is not None
    assert [(one.start, one.end, one.mark) for one in found.found] == [
        (one.start, one.end, one.mark) for one in expected.found
    ]


def test_marks_of_two_searches_are_put_together_in_order() -> None:
    def found(start: int, index: int) -> Found:
        return Found(start, start + 1, Mark(index, True, 0, 0), 0)

    left = Marked(found=(found(5, 0),), lost=frozenset({3}), dropped=frozenset({1}))
    right = Marked(found=(found(1, 1),), unpaired=frozenset({2}), without_calls=frozenset({4}))
    both = left + right
    assert [one.start for one in both.found] == [1, 5]
    assert [sorted(one) for one in (both.lost, both.dropped, both.unpaired, both.without_calls)] == [[3], [1], [2], [4]]


def test_the_template_may_fail_on_marks() -> None:
    source = (
        of_content("content") + "{% if messages[0].content|length > 5 %}{{ raise_exception('too long') }}{% endif %}"
    )
    _, result = marked(source, turns("12345", "b"))
    assert result.lost == {0} and [found.message_index for found in result.found] == [1]


def test_the_template_may_be_any_that_ignores_messages() -> None:
    text, result = marked("fixed", PLAIN)
    assert text == "fixed" and result.dropped == {0, 1}
