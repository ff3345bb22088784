"""The short way of finding what is supervised against the long one, in every template that TRL ships and in our own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetooth.config import TrainOn
from finetooth.errors import TemplateError
from finetooth.template import ChatTemplate, Renderer, Stops, learned_turns, prompt_text
from finetooth.template.attribution import attribute, attribute_plainly
from finetooth.templates import BUILTIN, TEMPLATES, builtin_template
from finetooth.types import Message
from tests.template.sources import (
    SPECIAL_TOKENS,
    assert_in_order,
    record_of,
    supervised,
    supervised_characters,
    turns,
)
from tests.template.strategies import FLAGS, WORDS

TERMINATORS = {
    "cohere": "<|END_OF_TURN_TOKEN|>",
    "deepseek": "<｜end▁of▁sentence｜>",
    "diffusion_gemma": "<turn|>",
    "gemma4": "<turn|>",
    "gemma": "<end_of_turn>",
    "glm4moe": "<|user|>",
    "gptoss": "<|return|>",
    "idefics3": "<end_of_utterance>",
    "llama3": "<|eot_id|>",
    "muse": "<|eot|>",
    "phi3": "<|end|>",
    "smolvlm": "<end_of_utterance>",
}


def shipped_by_trl() -> dict[str, str]:
    from importlib.util import find_spec

    spec = find_spec("trl")
    folder = Path(spec.origin).parent / "chat_templates" if spec is not None and spec.origin else Path("nowhere")
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.jinja"))}


SOURCES: dict[str, tuple[str, str]] = {
    **{
        f"trl/{name}": (source, next((t for family, t in TERMINATORS.items() if name.startswith(family)), "<|im_end|>"))
        for name, source in shipped_by_trl().items()
    },
    **{name: (builtin_template(name), TEMPLATES[name].terminator or "</s>") for name in BUILTIN},
}
COMPILED: dict[str, ChatTemplate] = {}


def compiled(name: str) -> ChatTemplate:
    if name not in COMPILED:
        COMPILED[name] = ChatTemplate(SOURCES[name][0], name=name, special_tokens=SPECIAL_TOKENS)
    return COMPILED[name]


@st.composite
def usual_conversations(draw: st.DrawFn) -> list[Message]:
    """Draw a system message or none, and turns of a user and an assistant, now and then with thinking or a key."""
    messages: list[Message] = []
    if draw(st.booleans()):
        messages.append({"role": "system", "content": draw(WORDS)})
    for _ in range(draw(st.integers(1, 3))):
        messages += [{"role": "user", "content": draw(WORDS)}, {"role": "assistant", "content": draw(WORDS)}]
    if draw(st.integers(0, 5)) == 0:
        messages[-1]["reasoning_content"] = draw(WORDS)
    if draw(st.integers(0, 5)) == 0:
        draw(st.sampled_from(messages))["weight"] = draw(FLAGS)
    return messages


@pytest.mark.parametrize("name", SOURCES)
@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    messages=usual_conversations(),
    train_on=st.sampled_from(["completion", "assistant", "last"]),
    more=st.integers(0, 5),
)
def test_the_short_way_supervises_what_the_long_way_does(
    name: str, messages: list[Message], train_on: TrainOn, more: int
) -> None:
    template = compiled(name)
    stops = Stops(literals=(SOURCES[name][1],), specials=tuple(SPECIAL_TOKENS.values()))
    renderer = Renderer(template=template, stops=stops, train_on=train_on)
    record = record_of(messages, num_prompt_messages=len(messages) - 1 + more if more < 2 else None)
    try:
        whole = renderer.render(record)
    except TemplateError:
        with pytest.raises(TemplateError):
            renderer.render(record, roles=False)
        return
    short = renderer.render(record, roles=False)
    assert short.text == whole.text
    assert supervised_characters(short) == supervised_characters(whole)
    assert_in_order(whole.spans, whole.text)
    learned = learned_turns(messages, record.num_prompt_messages, train_on)
    plain = attribute_plainly(template, messages, whole.text, learned)
    if plain is not None:
        marked = attribute(template, messages, whole.text, learned, tools=None, variables={})
        told = [[(one.start, one.end, one.mark) for one in way.found] for way in (plain, marked)]
        assert told[0] == told[1] or marked.lost or marked.unpaired
    for index, message in enumerate(messages):
        spans = [span for span in whole.spans if span.message_index == index]
        assert {span.role for span in spans} <= {message["role"]}
        prompt = prompt_text(template, record, index) if message["role"] == "assistant" else None
        if prompt is not None and whole.text.startswith(prompt) and spans:
            assert spans[0].start == len(prompt)


@pytest.mark.parametrize("name", SOURCES)
def test_the_short_way_is_taken_by_every_template_that_is_plain(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or rows would be prepared five times slower, and nobody would notice."""
    by_marks = {"trl/gptoss", "trl/gptoss_training", "trl/muse_glimmer", "trl/muse_glimmer_training"}
    renderer = Renderer(template=compiled(name), stops=Stops(literals=(SOURCES[name][1],)))
    record = record_of(turns("Where is it?", " In Paris.\n"))
    long_way = renderer.render(record)

    class LongWayError(Exception):
        pass

    def long_way_is_taken(*_: Any) -> None:
        raise LongWayError

    monkeypatch.setattr("finetooth.template.rendering.learned_turns", long_way_is_taken)
    prompt = prompt_text(compiled(name), record, 1)
    if name in by_marks or prompt is None or not long_way.text.startswith(prompt):
        with pytest.raises(LongWayError):
            renderer.render(record, roles=False)
    else:
        assert supervised(renderer.render(record, roles=False)) == supervised(long_way)


@pytest.mark.parametrize("name", BUILTIN)
def test_built_in_templates_leave_no_notes(name: str) -> None:
    renderer = Renderer(template=compiled(name), stops=Stops(literals=(TEMPLATES[name].terminator or "</s>",)))
    rendered = renderer.render(record_of(turns("1?", "Uno.", "2?", "Dos.")))
    assert rendered.notes == ()
    assert len(supervised(rendered)) == 2
