"""Every character that the model must generate is supervised, and no other: against formats written down once more."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from finetooth.config import TrainOn
from finetooth.template import Stops
from finetooth.types import Message, Rendered
from tests.template.sources import (
    CHATML,
    GLM,
    LLAMA2,
    assert_in_order,
    render,
    supervised_characters,
    turns,
)
from tests.template.strategies import FLAGS, WORDS

ROLES = ("system", "user", "assistant", "tool")


@st.composite
def conversations(draw: st.DrawFn, roles: tuple[str, ...] = ROLES, most: int = 6) -> list[Message]:
    """Draw turns in any order, some with keys that say whether they are learned."""
    messages: list[Message] = []
    for role in draw(st.lists(st.sampled_from(roles), min_size=1, max_size=most)):
        message: Message = {"role": role, "content": draw(WORDS)}
        flag = draw(FLAGS)
        if flag is not None or draw(st.integers(0, 9)) == 0:
            message[draw(st.sampled_from(["weight", "train"]))] = flag
        messages.append(message)
    return messages


def is_learned(messages: list[Message], index: int, train_on: TrainOn, num_prompt_messages: int | None) -> bool:
    message = messages[index]
    for key in ("train", "weight"):
        if message.get(key) is not None:
            return bool(message[key])
    if train_on == "all":
        return True
    if message["role"] != "assistant":
        return False
    if train_on == "last":
        return all(later["role"] != "assistant" for later in messages[index + 1 :])
    return train_on == "assistant" or index >= (num_prompt_messages or 0)


class Reference:
    """Put a text together from pieces that are to be generated, or not."""

    def __init__(self) -> None:
        self.text = ""
        self.generated: set[int] = set()

    def add(self, text: str, generated: bool = False) -> None:
        if generated:
            self.generated.update(range(len(self.text), len(self.text) + len(text)))
        self.text += text


def chatml(messages: list[Message], train_on: TrainOn, num_prompt_messages: int | None) -> Reference:
    reference = Reference()
    for index, message in enumerate(messages):
        learned = is_learned(messages, index, train_on, num_prompt_messages)
        reference.add(f"<|im_start|>{message['role']}\n")
        reference.add(message["content"] + "<|im_end|>", learned)
        reference.add("\n")
    return reference


def glm(messages: list[Message], train_on: TrainOn, num_prompt_messages: int | None) -> Reference:
    """A turn ends with the mark of a question or of a tool's answer, which is in the stop set; or with nothing."""
    reference = Reference()
    reference.add("[gMASK]<sop>")
    ended = False
    for index, message in enumerate(messages):
        learned = is_learned(messages, index, train_on, num_prompt_messages)
        reference.add(f"<|{message['role']}|>", ended and message["role"] in ("user", "tool"))
        reference.add("\n")
        reference.add(message["content"], learned)
        ended = learned
    return reference


def llama2(messages: list[Message], train_on: TrainOn, num_prompt_messages: int | None) -> Reference:
    reference = Reference()
    for index, message in enumerate(messages):
        learned = is_learned(messages, index, train_on, num_prompt_messages)
        if message["role"] == "user":
            reference.add(f"<s>[INST] {message['content'].strip()} [/INST]")
        elif message["role"] == "assistant":
            reference.add(f" {message['content'].strip()} </s>", learned)
    return reference


def check(reference: Reference, rendered: Rendered, messages: list[Message], train_on: TrainOn) -> None:
    assert rendered.text == reference.text
    assert_in_order(rendered.spans, rendered.text)
    expected = (
        reference.generated if train_on != "all" else set(range(len(reference.text))) - _not_learned(rendered, messages)
    )
    assert supervised_characters(rendered) == expected


def _not_learned(rendered: Rendered, messages: list[Message]) -> set[int]:
    """Under `all`, everything is learned but the spans of the turns whose keys say otherwise."""
    return {
        position
        for span in rendered.spans
        if span.message_index is not None and not is_learned(messages, span.message_index, "all", None)
        for position in range(span.start, span.end)
    }


TRAIN_ON: Any = st.sampled_from(["completion", "assistant", "last", "all"])


@settings(max_examples=300, deadline=None)
@given(
    messages=conversations(), train_on=TRAIN_ON, num_prompt_messages=st.none() | st.integers(0, 6), roles=st.booleans()
)
@example(messages=turns("", ""), train_on="completion", num_prompt_messages=None, roles=True)
@example(messages=turns("a", "b", start="assistant"), train_on="completion", num_prompt_messages=None, roles=True)
@example(messages=turns("a", "<|im_end|>"), train_on="completion", num_prompt_messages=None, roles=False)
@example(messages=turns("a", "b"), train_on="completion", num_prompt_messages=2, roles=False)
def test_chatml_is_supervised_where_the_model_must_generate(
    messages: list[Message], train_on: TrainOn, num_prompt_messages: int | None, roles: bool
) -> None:
    rendered = render(CHATML, messages, train_on=train_on, num_prompt_messages=num_prompt_messages, roles=roles)
    check(chatml(messages, train_on, num_prompt_messages), rendered, messages, train_on)


@settings(max_examples=300, deadline=None)
@given(messages=conversations(roles=("user", "assistant", "tool")), train_on=st.sampled_from(["completion", "last"]))
@example(messages=turns("a", "b", "c", "d"), train_on="completion")
@example(messages=[*turns("a", "b"), {"role": "assistant", "content": "c"}], train_on="completion")
@example(messages=turns("a", "<|user|>", "", ""), train_on="completion")
def test_glm_is_supervised_where_the_model_must_generate(messages: list[Message], train_on: TrainOn) -> None:
    rendered = render(GLM, messages, train_on=train_on, stops=Stops(literals=("<|user|>", "<|tool|>")))
    check(glm(messages, train_on, None), rendered, messages, train_on)


@settings(max_examples=300, deadline=None)
@given(
    messages=conversations(roles=("user", "assistant", "assistant")), train_on=st.sampled_from(["completion", "last"])
)
@example(messages=turns("a", "", "b", ""), train_on="completion")
def test_llama2_is_supervised_where_the_model_must_generate(messages: list[Message], train_on: TrainOn) -> None:
    for message in messages:
        if message["role"] == "user":
            # A question that is learned has no header of its own to begin after; the other formats try it.
            message.pop("weight", None), message.pop("train", None)
    rendered = render(LLAMA2, messages, train_on=train_on, stops=Stops(literals=("</s>",)))
    check(llama2(messages, train_on, None), rendered, messages, train_on)


@settings(max_examples=150, deadline=None)
@given(words=st.text("ab <\n", min_size=1, max_size=8), flags=st.lists(st.booleans(), min_size=8, max_size=8))
def test_every_character_is_learned_as_its_detail_says(words: str, flags: list[bool]) -> None:
    """Inside the words; the white space around them goes with the words beside it, and the stop with the last."""
    detail = [{"begin_offset": i, "end_offset": i, "train": flags[i]} for i in range(len(words))]
    rendered = render(CHATML, turns("q", words, train_detail=detail))
    start = rendered.text.rindex("assistant\n") + len("assistant\n")
    learned = [position in supervised_characters(rendered) for position in range(start, start + len(words))]
    first, last = len(words) - len(words.lstrip()), len(words.rstrip())
    if words.strip():
        assert learned[first:last] == flags[first:last]
        assert set(learned[:first]) <= {flags[first]} and set(learned[last:]) <= {flags[last - 1]}
    assert_in_order(rendered.spans, rendered.text)
