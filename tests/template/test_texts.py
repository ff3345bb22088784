"""The turns of whole texts, found by the template's own marks or by those that are given."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetooth.template import Renderer, Stops, text_spans
from finetooth.template.texts import TextMarks, marks_of
from finetooth.types import Rendered, Span
from tests.template.sources import CHATML, GLM, IM_END, LLAMA2, THINKING, assert_in_order, shown, template_of

EOS = Stops(literals=("</s>",))


def spans_of(
    text: str, response: str, instruction: str = "", stops: Stops = EOS, **options: Any
) -> list[tuple[str, str]]:
    spans = text_spans(text, response, instruction, stops, **options)
    assert_in_order(spans, text)
    assert all(span.supervised is (span.role == "assistant") for span in spans)
    assert all(span.message_index is None for span in spans)
    return [(span.role, text[span.start : span.end]) for span in spans]


def test_one_answer() -> None:
    assert spans_of("Q: a A: b</s>", "A:", "Q:") == [("user", "Q: a "), ("assistant", " b</s>")]


def test_what_follows_the_stop_is_nobodys() -> None:
    assert spans_of("Q: a A: b</s>\nmore", "A:") == [("user", "Q: a "), ("assistant", " b</s>")]


def test_several_answers() -> None:
    text = "Q: a A: b</s>Q: c A: d</s>"
    expected = [("user", "Q: a "), ("assistant", " b</s>"), ("user", "Q: c "), ("assistant", " d</s>")]
    assert spans_of(text, "A:", "Q:") == expected
    assert spans_of(text, "A:") == expected


def test_an_answer_without_a_stop_ends_before_the_next_question() -> None:
    expected = [("user", "Q: a\n"), ("assistant", " b"), ("user", "\n\nQ: c\n"), ("assistant", " d\n")]
    assert spans_of("Q: a\nA: b\n\nQ: c\nA: d\n", "A:", "Q:", Stops(literals=())) == expected


def test_where_nothing_tells_the_answer_from_the_next_question_it_is_not_learned() -> None:
    expected = [("user", "Q: a\n"), ("unknown", " b\n\nQ: c"), ("user", "\n"), ("assistant", " d")]
    assert spans_of("Q: a\nA: b\n\nQ: c\nA: d", "A:", "", Stops(literals=())) == expected


def test_the_white_space_of_a_mark_is_taken_where_the_text_has_it() -> None:
    response = " [/INST] "
    assert spans_of("[INST] a [/INST] b</s>", response) == [("user", "[INST] a "), ("assistant", "b</s>")]
    assert spans_of("[INST]a[/INST]b</s>", response) == [("user", "[INST]a"), ("assistant", "b</s>")]
    assert spans_of("[INST]a[/INST] b</s>", response) == [("user", "[INST]a"), ("assistant", " b</s>")]
    assert spans_of("[/INST] b</s>", response) == [("assistant", " b</s>")]


def test_what_inference_supplies_beyond_the_mark_is_not_learned() -> None:
    text = "<A>\n<think>\nhm</think>b</s><A>\nc</s>"
    found = spans_of(text, "<A>\n", header="<A>\n<think>\n")
    assert found == [("assistant", "hm</think>b</s>"), ("assistant", "c</s>")]


@pytest.mark.parametrize("text", ["", "no mark", "Q: a", "a: b"])
def test_without_an_answer_there_are_no_spans(text: str) -> None:
    assert spans_of(text, "A:", "Q:") == []


@pytest.mark.parametrize("response", ["", " ", "\n"])
def test_a_blank_mark_finds_nothing(response: str) -> None:
    assert spans_of("a\nb\nc", response) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Q: a A:", [("user", "Q: a ")]),
        ("A:", []),
        ("A: ", [("assistant", " ")]),
        ("A:A:", []),
        ("A:</s>A:", [("assistant", "</s>")]),
        ("A:Q:A: b", [("user", "Q:"), ("assistant", " b")]),
    ],
)
def test_empty_answers(text: str, expected: list[tuple[str, str]]) -> None:
    assert spans_of(text, "A:", "Q:") == expected


@given(st.lists(st.sampled_from(["A:", "Q:", "</s>", " ", "\n", "x", "y z", "<|e|>"]), max_size=12).map("".join))
def test_spans_of_any_text_are_in_order_and_end_where_they_should(text: str) -> None:
    for instruction in ("", "Q:"):
        spans = text_spans(text, "A:", instruction, EOS)
        assert_in_order(spans, text)
        for span in spans:
            if span.role == "assistant":
                words = text[span.start : span.end]
                assert "A:" not in words
                assert "</s>" not in words.removesuffix("</s>")
                assert text[: span.start].rstrip().endswith("A:")
                assert not instruction or instruction not in words


# The template's own marks.


@pytest.mark.parametrize(
    ("source", "stops", "marks"),
    [
        (
            CHATML,
            IM_END,
            TextMarks(
                response="<|im_end|>\n<|im_start|>assistant\n",
                instruction="\n<|im_start|>user\n",
                header="<|im_end|>\n<|im_start|>assistant\n",
            ),
        ),
        (LLAMA2, EOS, TextMarks(response=" [/INST]", instruction="<s>[INST] ", header=" [/INST]")),
        (
            GLM,
            Stops(literals=("<|user|>",)),
            TextMarks(response="<|assistant|>\n", instruction="\n", header="<|assistant|>\n"),
        ),
    ],
)
def test_marks_of_templates(source: str, stops: Stops, marks: TextMarks) -> None:
    assert marks_of(template_of(source), stops, response=None, instruction=None) == marks


def test_marks_that_are_given_win() -> None:
    marks = marks_of(template_of(CHATML), IM_END, response="A:", instruction="Q:")
    assert marks == TextMarks(response="A:", instruction="Q:")
    assert marks_of(None, EOS, response="A:", instruction=None) == TextMarks(response="A:", instruction="")
    assert marks_of(None, EOS, response=None, instruction=None) == TextMarks(response="", instruction="")


def test_a_template_that_ignores_the_generation_prompt_has_no_mark_of_answers() -> None:
    """All that follows a question is its end, which ends answers as well."""
    source = CHATML.partition("{% if add_generation_prompt")[0]
    assert marks_of(template_of(source), IM_END, response=None, instruction=None).response == ""


def test_a_template_that_opens_thinking_at_inference() -> None:
    source = CHATML.replace("assistant\\n' }}{% endif %}", "assistant\\n<think>\\n' }}{% endif %}")
    marks = marks_of(template_of(source), IM_END, response=None, instruction=None)
    assert marks.response == "<|im_end|>\n<|im_start|>assistant\n"
    assert marks.header == "<|im_end|>\n<|im_start|>assistant\n<think>\n"


# Whole rows.


def render_text(text: str, source: str | None = CHATML, *, stops: Stops = IM_END, **options: Any) -> Rendered:
    template = None if source is None else template_of(source)
    rendered = Renderer(template=template, stops=stops, **options).render_text(text)
    assert rendered.text == text
    assert_in_order(rendered.spans, text)
    return rendered


CONVERSATION = (
    "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n1?<|im_end|>\n<|im_start|>assistant\nUno.<|im_end|>\n"
    "<|im_start|>user\n2?<|im_end|>\n<|im_start|>assistant\nDos.<|im_end|>\n"
)


def test_a_rendered_conversation_is_found_again() -> None:
    assert shown(render_text(CONVERSATION)) == [
        ("user", False, "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n1?"),
        ("assistant", True, "Uno.<|im_end|>"),
        ("user", False, "\n<|im_start|>user\n2?"),
        ("assistant", True, "Dos.<|im_end|>"),
    ]


@pytest.mark.parametrize("train_on", ["completion", "assistant"])
def test_every_answer_is_learned(train_on: Any) -> None:
    assert [words for _, learned, words in shown(render_text(CONVERSATION, train_on=train_on)) if learned] == [
        "Uno.<|im_end|>",
        "Dos.<|im_end|>",
    ]


def test_the_last_answer_is_learned() -> None:
    rendered = render_text(CONVERSATION, train_on="last")
    assert [words for _, learned, words in shown(rendered) if learned] == ["Dos.<|im_end|>"]


def test_everything_is_learned() -> None:
    rendered = render_text(CONVERSATION, train_on="all")
    assert all(span.supervised for span in rendered.spans)
    assert "".join(words for _, _, words in shown(rendered)) == CONVERSATION
    assert {role for role, _, _ in shown(rendered)} == {"user", "assistant", "template"}


@pytest.mark.parametrize("train_on", ["completion", "assistant", "last", "all"])
@pytest.mark.parametrize("text", ["Just some words.", "<|im_start|>user\n1?<|im_end|>\n", " "])
def test_text_without_marks_is_unknown_and_learned(text: str, train_on: Any) -> None:
    assert shown(render_text(text, train_on=train_on)) == [("unknown", True, text)]
    assert shown(render_text(text, None, train_on=train_on)) == [("unknown", True, text)]


@pytest.mark.parametrize("train_on", ["completion", "assistant", "last", "all"])
def test_a_text_that_ends_at_the_mark_has_no_answer(train_on: Any) -> None:
    text = "<|im_start|>user\n1?<|im_end|>\n<|im_start|>assistant\n"
    rendered = render_text(text, train_on=train_on)
    assert {role for role, _, _ in shown(rendered)} <= {"user", "template"}
    assert all(learned is (train_on == "all") for _, learned, _ in shown(rendered))


def test_an_empty_text() -> None:
    rendered = Renderer(template=None, stops=EOS).render_text("")
    assert rendered.spans == (Span(start=0, end=0, role="unknown", message_index=None, supervised=True),)


def test_given_marks() -> None:
    options: dict[str, Any] = {
        "response_template": "### A:",
        "instruction_template": "### Q:",
        "stops": Stops(literals=()),
    }
    rendered = render_text("### Q: a\n### A: b\n### Q: c\n### A: d", None, **options)
    assert [words for _, learned, words in shown(rendered) if learned] == [" b", " d"]
    assert rendered.notes == ()


def test_an_answer_whose_end_is_unknown_is_told() -> None:
    rendered = render_text("A: b\nQ: c\nA: d", None, response_template="A:", stops=Stops(literals=()))
    assert [words for _, learned, words in shown(rendered) if learned] == [" d"]
    assert rendered.notes == (
        "where the answer at character 2 ends is unknown, so it is not supervised; "
        "name the mark before questions with --instruction-template",
    )


@pytest.mark.parametrize(
    ("text", "bos_token", "expected"),
    [("<s>a", "<s>", False), ("a<s>", "<s>", True), ("a", None, True), ("<s>a", None, True), ("", "<s>", True)],
)
def test_special_tokens_are_added_unless_the_text_spells_the_first(
    text: str, bos_token: str | None, expected: bool
) -> None:
    renderer = Renderer(template=None, stops=EOS, bos_token=bos_token)
    assert renderer.render_text(text).add_special_tokens is expected
    assert renderer.render_pair(text, "b").add_special_tokens is expected


def test_thinking_in_a_text_belongs_to_the_answer() -> None:
    text = "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n<think>\nhm\n</think>\n\nb<|im_end|>\n"
    assert shown(render_text(text, THINKING))[-1] == ("assistant", True, "<think>\nhm\n</think>\n\nb<|im_end|>")


def test_glm_ends_an_answer_with_the_mark_of_the_next_turn() -> None:
    text = "[gMASK]<sop><|user|>\na<|assistant|>\nb<|user|>\nc<|assistant|>\nd<|user|>"
    rendered = render_text(text, GLM, stops=Stops(literals=("<|user|>",)))
    assert [words for _, learned, words in shown(rendered) if learned] == ["b<|user|>", "d<|user|>"]


# Pairs.


@pytest.mark.parametrize("train_on", ["completion", "assistant", "last"])
def test_pairs(train_on: Any) -> None:
    rendered = Renderer(template=None, stops=EOS, train_on=train_on).render_pair("a ", "b")
    assert shown(rendered) == [("user", False, "a "), ("assistant", True, "b")]
    assert rendered.append_eos


def test_pairs_of_which_everything_is_learned() -> None:
    rendered = Renderer(template=None, stops=EOS, train_on="all").render_pair("a ", "b")
    assert shown(rendered) == [("user", True, "a "), ("assistant", True, "b")]


def test_a_pair_without_a_prompt() -> None:
    assert shown(Renderer(template=None, stops=EOS).render_pair("", "b")) == [("assistant", True, "b")]
