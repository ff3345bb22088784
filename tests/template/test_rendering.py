"""Where supervised spans begin and end, one thing at a time."""

from __future__ import annotations

from typing import Any

import pytest

from finetooth.config import TrainOn
from finetooth.errors import LabelsError, TemplateError
from finetooth.template import Renderer, Stops
from finetooth.types import Message, Record
from tests.template.sources import (
    CHATML,
    GLM,
    IM_END,
    THINKING,
    TOOL,
    assert_in_order,
    call,
    record_of,
    render,
    shown,
    supervised,
    template_of,
    turns,
    words_of,
)


def test_the_answer_begins_where_the_prompt_ends_and_ends_with_its_stop_literal() -> None:
    rendered = render(CHATML, [{"role": "system", "content": "S"}, *turns("Q", "A")])
    assert shown(rendered) == [("system", False, "S"), ("user", False, "Q"), ("assistant", True, "A<|im_end|>")]
    assert [span.message_index for span in rendered.spans] == [0, 1, 2]
    assert not rendered.add_special_tokens and not rendered.append_eos and rendered.notes == ()


@pytest.mark.parametrize("answer", ["", " ", "\n"])
def test_an_empty_answer_is_its_stop_literal(answer: str) -> None:
    assert supervised(render(CHATML, turns("Q", answer))) == [f"{answer}<|im_end|>"]


def test_an_assistant_that_speaks_first_or_twice() -> None:
    messages = [
        *turns("a", "q", start="assistant"),
        *turns("b", "r", start="assistant"),
        *turns("c", start="assistant"),
    ]
    messages.append({"role": "assistant", "content": "d"})
    assert supervised(render(CHATML, messages)) == [f"{word}<|im_end|>" for word in "abcd"]


def test_an_assistant_that_is_called_model() -> None:
    """Gemma's name; where inference supplies another header, the model has to write its own."""
    named = CHATML.replace("m.role +", "('assistant' if m.role == 'model' else m.role) +")
    messages = [*turns("q"), {"role": "model", "content": "a"}]
    for roles in (True, False):
        rendered = render(named, messages, roles=roles)
        assert shown(rendered)[-1] == ("model", True, "a<|im_end|>")
        assert supervised(render(CHATML, messages, roles=roles)) == ["model\na<|im_end|>"]


def test_a_template_that_refuses_prompts_still_has_answers() -> None:
    """The answer's own place tells then where the model takes over, with what the template writes before it."""
    source = CHATML + "{{ raise_exception('no prompts') if add_generation_prompt }}"
    assert supervised(render(source, turns("q", "  a\n"))) == ["  a\n<|im_end|>"]


def test_prompts_that_are_no_prefix() -> None:
    """Thinking is dropped from history, so that the text of a later turn is not the prompt's."""
    messages = turns("1", "<think>\nhm\n</think>\n\nUno", "2", "<think>\nso\n</think>\n\nDos")
    rendered = render(THINKING, messages)
    assert supervised(rendered) == ["Uno<|im_end|>", "<think>\nso\n</think>\n\nDos<|im_end|>"]
    assert rendered.notes == ()


def test_a_prompt_that_opens_thinking_which_the_text_has_not() -> None:
    """What the two have in common by chance (`<t`) belongs to the answer."""
    source = CHATML.replace("assistant\\n' }}{% endif %}", "assistant\\n<think>\\n' }}{% endif %}")
    assert supervised(render(source, turns("q", "<table>"))) == ["<table><|im_end|>"]
    assert supervised(render(source, turns("q", ""))) == ["<|im_end|>"]
    assert supervised(render(source, turns("q", "<think>\nhm</think>a"))) == ["hm</think>a<|im_end|>"]


CALLING = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content or '' }}{% for c in m.tool_calls or [] %}"
    "<tool_call>{{ c.function | tojson }}</tool_call>{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tool_talk(content: str | None = None) -> list[Message]:
    return [
        {"role": "user", "content": "Rain?"},
        {"role": "assistant", "content": content, "tool_calls": [call()]},
        {"role": "tool", "content": "sunny"},
        {"role": "assistant", "content": "No."},
    ]


@pytest.mark.parametrize("content", [None, "", "Let me look."])
def test_tool_turns(content: str | None) -> None:
    rendered = render(CALLING, tool_talk(content))
    written = '<tool_call>{"name": "weather", "arguments": {"city": "東京"}}</tool_call><|im_end|>'
    assert supervised(rendered) == [(content or "") + written, "No.<|im_end|>"]
    assert [role for role, *_ in shown(rendered)] == ["user", "assistant", "tool", "assistant"]


def test_a_prompt_that_opens_thinking_before_a_tool_call() -> None:
    source = CALLING.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")
    assert supervised(render(source, tool_talk()))[0].startswith("<tool_call>")


INSIDE = (
    "{% for m in messages if m.role != 'tool' %}<|im_start|>{{ m.role }}\n{% for c in m.tool_calls or [] %}"
    "<call>{{ c.function.name }}</call><result>{{ messages[2].content }}</result>{% endfor %}"
    "{{ m.content or '' }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def test_a_tools_answer_inside_the_assistants_turn_is_not_learned() -> None:
    """As Gemma 4 shows it: call, result and words in one turn."""
    rendered = render(INSIDE, tool_talk("It is."), stops=Stops(literals=("<|im_end|>", "<result>")))
    assert shown(rendered)[:4] == [
        ("user", False, "Rain?"),
        ("assistant", True, "<call>weather</call><result>"),
        ("tool", False, "sunny"),
        ("assistant", True, "It is.<|im_end|>"),
    ]
    assert rendered.notes == ()


@pytest.mark.parametrize("stops", [Stops(literals=()), Stops(literals=("</s>",)), Stops(literals=("</s>", "<|user|>"))])
def test_no_stop_literal_after_the_answer(stops: Stops) -> None:
    """The first control literal ends a turn then, and without one the words and their own white space."""
    assert supervised(render(CHATML, turns("q", "a"), stops=stops)) == ["a<|im_end|>"]
    bare = CHATML.replace("'<|im_end|>' + ", "")
    assert supervised(render(bare, turns("q", "a \n", "r", "b"), stops=stops)) == ["a \n", "b"]
    assert supervised(render(bare, turns("q", "a"), stops=stops)) == ["a"]


def test_a_stop_literal_in_an_answer_does_not_end_it() -> None:
    assert supervised(render(CHATML, turns("q", "a <|im_end|> b"))) == ["a <|im_end|> b<|im_end|>"]


def test_a_stop_literal_in_an_answer_that_cannot_be_marked() -> None:
    """Where the words are in another form, what ends them is not what is in them: no span, and a note."""
    source = CHATML.replace("m.content", "(m.content | urlencode if m.role == 'assistant' else m.content)")
    kept = render(source.replace("urlencode", "replace('a', 'ä')"), turns("q", "a<|im_end|>b"))
    assert supervised(kept) == ["ä<|im_end|>b<|im_end|>"]
    looked_at = CHATML.replace("m.content", "(m.content[::-1] if m.role == 'assistant' else m.content)")
    assert supervised(render(looked_at, turns("q", "abc"))) == ["cba<|im_end|>"]
    lost = render(looked_at, turns("q", "a<|im_end|>b"))
    assert supervised(lost) == []
    assert len(lost.notes) == 1


def test_consecutive_answers_of_which_nothing_tells_the_end() -> None:
    messages = [*turns("q", "a"), {"role": "assistant", "content": "b"}, *turns("r", "c")]
    rendered = render(GLM, messages, stops=Stops(literals=("<|user|>",)))
    assert supervised(rendered) == ["a", "b<|user|>", "c"]


@pytest.mark.parametrize("key", ["weight", "train", "loss"])
def test_keys_of_turns(key: str) -> None:
    messages = turns("q", "a", "r", "b")
    messages[0][key], messages[1][key], messages[2][key] = 1, 0, None
    rendered = render(CHATML, messages)
    assert supervised(rendered) == ["q<|im_end|>", "b<|im_end|>"]
    assert ("assistant", False, "a<|im_end|>") in shown(rendered)


def test_a_question_that_is_learned_has_its_white_space_inside() -> None:
    messages = turns("  q\n", "a")
    messages[0]["weight"] = 1
    assert supervised(render(CHATML, messages)) == ["  q\n<|im_end|>", "a<|im_end|>"]


def test_wrong_keys_are_errors() -> None:
    with pytest.raises(LabelsError, match="neither a boolean nor a number"):
        render(CHATML, turns("q", "a", weight="0"))
    with pytest.raises(LabelsError, match="neither a boolean nor a number"):
        render(CHATML, turns("q", "a", weight="0"), roles=False)


@pytest.mark.parametrize(
    ("train_on", "num_prompt_messages", "expected"),
    [
        ("completion", None, ["a<|im_end|>", "b<|im_end|>"]),
        ("completion", 3, ["b<|im_end|>"]),
        ("completion", 4, []),
        ("assistant", 3, ["a<|im_end|>", "b<|im_end|>"]),
        ("last", None, ["b<|im_end|>"]),
    ],
)
@pytest.mark.parametrize("roles", [True, False])
def test_train_on(train_on: TrainOn, num_prompt_messages: int | None, expected: list[str], roles: bool) -> None:
    options: dict[str, Any] = {"train_on": train_on, "num_prompt_messages": num_prompt_messages, "roles": roles}
    assert supervised(render(CHATML, turns("q", "a", "r", "b"), **options)) == expected


def test_the_answer_of_a_prompt_is_not_learned_the_short_way_either() -> None:
    for roles in (True, False):
        assert supervised(render(CHATML, turns("q", "a"), num_prompt_messages=2, roles=roles)) == []


def test_train_on_all_covers_the_text() -> None:
    rendered = render(CHATML, [{"role": "system", "content": "S"}, *turns("q", "a")], train_on="all")
    assert "".join(words for *_, words in shown(rendered)) == rendered.text
    assert all(span.supervised for span in rendered.spans)
    assert {span.role for span in rendered.spans} == {"system", "user", "assistant", "template"}


def test_keys_overrule_train_on_all() -> None:
    messages = turns("q", "a", "r", "b")
    messages[0]["weight"] = messages[1]["train"] = 0
    rendered = render(CHATML, messages, train_on="all")
    assert [words for _, learned, words in shown(rendered) if not learned] == ["q", "a<|im_end|>"]
    assert "".join(words for *_, words in shown(rendered)) == rendered.text


def test_what_cannot_be_found_and_is_not_to_be_learned_is_not_learned_by_train_on_all() -> None:
    source = CHATML.replace("m.content", "m.content[::-1]")
    messages = turns("abc", "b", "def", "d")
    messages[0]["weight"] = 0
    rendered = render(source, messages, train_on="all")
    assert "cba" not in "".join(supervised(rendered))
    assert "fed" in "".join(supervised(rendered))
    assert "message 0 (user)" in rendered.notes[0]


# What the template does to the conversation.


def test_a_message_that_is_shown_again_is_learned_once() -> None:
    source = CHATML + "{% if not add_generation_prompt %}(again: {{ messages[1].content }}){% endif %}"
    rendered = render(source, turns("q", "a", "r", "b"))
    assert supervised(rendered) == ["a<|im_end|>", "b<|im_end|>"]
    assert shown(rendered)[-1] == ("assistant", False, "a")


def test_words_of_a_call_that_a_tools_turn_repeats_are_not_learned_there() -> None:
    """As gpt-oss heads a tool's answer with the function's name."""
    source = CALLING.replace(
        "{{ m.role }}", "{{ m.role if m.role != 'tool' else 'functions.' + messages[1].tool_calls[0].function.name }}"
    )
    rendered = render(source, tool_talk())
    assert supervised(rendered) == [
        '<tool_call>{"name": "weather", "arguments": {"city": "東京"}}</tool_call><|im_end|>',
        "No.<|im_end|>",
    ]


def test_messages_in_another_order_have_their_own_spans() -> None:
    source = CHATML.replace("in messages", "in messages|sort(attribute='content')")
    rendered = render(source, [{"role": "user", "content": "z"}, {"role": "assistant", "content": "a"}])
    assert words_of(rendered, 0) == "z" and words_of(rendered, 1).strip().startswith("a")
    assert_in_order(rendered.spans, rendered.text)


def test_a_dropped_message_is_told_and_an_answer_after_it_is_learned() -> None:
    source = CHATML.replace("in messages", "in messages if m.role != 'system'")
    rendered = render(source, [{"role": "system", "content": "S"}, *turns("q", "a")])
    assert rendered.notes == ("the template shows nothing of message 0 (system)",)
    assert supervised(rendered) == ["a<|im_end|>"]


def test_a_dropped_answer_is_not_learned_in_another_place() -> None:
    source = CHATML.replace("in messages", "in messages if m.content not in ('', 'drop')")
    assert supervised(render(source, turns("q", "", "r", "b"))) == ["b<|im_end|>"]
    rendered = render(source, turns("q", "drop", "r", "b"))
    assert supervised(rendered) == ["b<|im_end|>"]
    assert len(rendered.notes) == 1


def test_dropped_tool_calls_are_told() -> None:
    rendered = render(CHATML, [*turns("q"), {"role": "assistant", "content": "Hm.", "tool_calls": [call()]}])
    assert rendered.notes == ("the template shows nothing of the tool calls of message 1 (assistant)",)
    assert supervised(rendered) == ["Hm.<|im_end|>"]


def test_half_a_message_is_told() -> None:
    source = CHATML.replace("m.content", "m.content.split('|')[0]")
    rendered = render(source, turns("q|r", "a"))
    assert rendered.notes == ("the template kept only part of message 0 (user)",)
    assert supervised(rendered) == ["a<|im_end|>"]


def test_an_answer_that_the_template_looks_at_is_still_learned_whole() -> None:
    source = CHATML.replace("m.content", "(m.content if m.content|length < 4 else 'long')")
    for words in ("abc", "abcd"):
        rendered = render(source, turns("q", words))
        assert supervised(rendered) == [f"{words if len(words) < 4 else 'long'}<|im_end|>"]


def test_the_answers_first_letters_may_be_those_of_the_templates_own_words() -> None:
    """`<` is found at the start of `<think>` as well."""
    source = CHATML.replace("m.content", "('<think></think>' if m.role == 'assistant' else '') + m.content")
    for roles in (True, False):
        assert supervised(render(source, turns("q", "<"), roles=roles)) == ["<think></think><<|im_end|>"]


def test_a_thousand_messages() -> None:
    messages = turns(*(f"message {index}" for index in range(1000)))
    rendered = render(CHATML, messages)
    assert supervised(rendered) == [f"message {index}<|im_end|>" for index in range(1, 1000, 2)]
    assert len(rendered.spans) == 1000


def test_tools_and_variables_reach_the_template() -> None:
    source = "{{ tools|length if tools }}{{ mood }}" + CHATML
    record = record_of(turns("q", "a"), tools=[TOOL], chat_template_kwargs={"mood": "calm"})
    for roles in (True, False):
        rendered = Renderer(template=template_of(source), stops=IM_END).render(record, roles=roles)
        assert rendered.text.startswith("1calm<|im_start|>user")
        assert supervised(rendered) == ["a<|im_end|>"]


# Rows of every shape.


def row(**fields: Any) -> Record:
    return Record(index=0, where="x:1", shape="text", row={}, **fields)


def test_the_shape_of_a_record_decides_how_it_is_rendered() -> None:
    renderer = Renderer(template=template_of(CHATML), stops=IM_END)
    assert renderer.render(row(messages=turns("q", "a"), text="t", prompt="p")).text.startswith("<|im_start|>")
    assert renderer.render(row(text="t", prompt="p")).text == "t"
    assert renderer.render(row(prompt="p", completion="c")).text == "pc"
    assert renderer.render(row(prompt="p")).text == "p"


def test_conversations_need_a_template() -> None:
    with pytest.raises(TemplateError) as caught:
        Renderer(template=None, stops=IM_END).render(record_of(turns("q", "a")))
    assert caught.value.what == "there is no chat template, and the rows are conversations"
    assert caught.value.help and "--template" in caught.value.help


@pytest.mark.parametrize("roles", [True, False])
def test_a_template_that_refuses_the_conversation(roles: bool) -> None:
    with pytest.raises(TemplateError, match="no tools here"):
        render("{{ raise_exception('no tools here') }}", turns("q", "a"), roles=roles)


def test_an_empty_conversation() -> None:
    rendered = render(CHATML, [])
    assert (rendered.text, rendered.spans, rendered.notes) == ("", (), ())
    assert render(CHATML, [], roles=False).spans == ()
    assert render(CHATML, [], train_on="all").spans == ()
