"""Texts and spans for every template that TRL ships, against transformers' rendering and its generation masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from finetooth.template import ChatTemplate, Renderer, Stops
from finetooth.types import Record

pytestmark = pytest.mark.filterwarnings("ignore")

trl = pytest.importorskip("trl", reason="TRL is not installed")
FOLDER = Path(trl.__file__).parent / "chat_templates"
TEMPLATES = sorted(path.stem for path in FOLDER.glob("*.jinja"))
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}

TERMINATORS = {
    "cohere": "<|END_OF_TURN_TOKEN|>",
    "deepseek": "<｜end▁of▁sentence｜>",
    "diffusion_gemma": "<turn|>",
    "gemma": "<end_of_turn>",
    "glm4moe": "<|user|>",
    "gptoss": "<|return|>",
    "idefics3": "<end_of_utterance>",
    "llama3": "<|eot_id|>",
    "muse": "<|eot|>",
    "phi3": "<|end|>",
    "smolvlm": "<end_of_utterance>",
}
"""The stop literal of each family's generation_config.json; `<|im_end|>` for the rest."""


def turns(*pairs: tuple[str, str]) -> list[dict[str, Any]]:
    return [{"role": role, "content": content} for role, content in pairs]


QUESTION, ANSWER = ("user", "Where is it?"), ("assistant", "In Paris, 巴里ですわ。")
CONVERSATIONS = {
    "plain": turns(QUESTION, ANSWER),
    "outer white space": turns(("user", "  Where is it?\n "), ("assistant", " \n In Paris.  \n")),
    "several turns": turns(
        ("user", "1?"), ("assistant", "Uno."), ("user", "2?"), ("assistant", "Dos."), QUESTION, ANSWER
    ),
    "system": turns(("system", "短く答えてください。"), QUESTION, ANSWER),
    "thinking last": turns(
        ("user", "1?"), ("assistant", "Uno."), QUESTION, ("assistant", "<think>\nLet me see.\n</think>\n\nIn Paris.")
    ),
    "thinking before": turns(("user", "1?"), ("assistant", "<think>\nSo.\n</think>\n\nUno."), QUESTION, ANSWER),
    "thinking key": [*turns(QUESTION), {**turns(ANSWER)[0], "reasoning_content": "Let me see."}],
}


def theirs(source: str, messages: list[dict[str, Any]], **options: Any) -> tuple[str, list[tuple[int, int]]]:
    from transformers.utils import chat_template_utils

    texts, blocks = chat_template_utils.render_jinja_template([messages], chat_template=source, **SPECIAL, **options)
    return texts[0], [tuple(block) for block in blocks[0]] if blocks else []


def load(name: str) -> ChatTemplate:
    source = (FOLDER / f"{name}.jinja").read_text(encoding="utf-8")
    return ChatTemplate(source, name=name, special_tokens=SPECIAL)


def renderer_of(template: ChatTemplate) -> Renderer:
    family = next((family for family in TERMINATORS if template.name.startswith(family)), None)
    stop = TERMINATORS[family] if family else "<|im_end|>"
    return Renderer(template=template, stops=Stops(literals=(stop,)), train_on="assistant")


def record_of(messages: list[dict[str, Any]]) -> Record:
    return Record(index=0, where="memory[0]", shape="messages", row={"messages": messages}, messages=messages)


def rendered_by_transformers(template: ChatTemplate, messages: list[dict[str, Any]], **options: Any) -> Any:
    given = [template.in_content_form(message) for message in messages]
    try:
        return theirs(template.source, given, **options)
    except Exception as error:  # whatever their rendering raises, ours has to refuse too
        return error


def words(message: dict[str, Any]) -> str:
    return str(message["content"]).split("</think>")[-1].strip()


@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("name", TEMPLATES)
def test_text_and_roles(name: str, conversation: str) -> None:
    template, messages = load(name), CONVERSATIONS[conversation]
    expected = rendered_by_transformers(template, messages)
    if isinstance(expected, Exception):
        with pytest.raises(Exception, match=r"refuses|fails"):
            renderer_of(template).render(record_of(messages))
        return
    rendered = renderer_of(template).render(record_of(messages))
    assert rendered.text == expected[0]
    assert rendered.notes == ()
    ends = [0, *(span.end for span in rendered.spans)]
    assert all(end <= span.start for end, span in zip(ends, rendered.spans, strict=False)), "spans overlap"
    for index, message in enumerate(messages):
        spans = [span for span in rendered.spans if span.message_index == index]
        said = "".join(rendered.text[span.start : span.end] for span in spans)
        assert {span.role for span in spans} == {message["role"]}
        if message["role"] == "assistant":
            assert words(message) in said
        else:
            assert said == words(message)


@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("name", [name for name in TEMPLATES if name.endswith("_training")])
def test_supervised_spans_are_the_generation_blocks_without_what_inference_supplies(
    name: str, conversation: str
) -> None:
    template, messages = load(name), CONVERSATIONS[conversation]
    expected = rendered_by_transformers(template, messages, return_assistant_tokens_mask=True)
    if isinstance(expected, Exception):
        pytest.skip("the template refuses this conversation")
    text, blocks = expected
    assert template.render_with_generation([template.in_content_form(m) for m in messages]) == (text, blocks)

    marked = {position for start, end in blocks for position in range(start, end)}
    for index, message in enumerate(messages):
        if message["role"] == "assistant":
            prompt = rendered_by_transformers(template, messages[:index], add_generation_prompt=True)[0]
            assert text.startswith(prompt[: prompt.rindex(words(messages[index - 1]))])
            length = next((i for i, (a, b) in enumerate(zip(text, prompt, strict=False)) if a != b), len(prompt))
            marked -= set(range(_words_start(text, messages, index - 1), length))
    rendered = renderer_of(template).render(record_of(messages))
    supervised = {p for span in rendered.spans if span.supervised for p in range(span.start, span.end)}
    assert supervised <= marked
    # A template's newline after the terminator is in its block; the model stops before it.
    assert {p for p in marked - supervised if not text[p].isspace()} <= _end_of_text(template, text)


def _words_start(text: str, messages: list[dict[str, Any]], index: int) -> int:
    """Return where the words of a message stand in the text."""
    position = 0
    for message in messages[: index + 1]:
        position = text.index(words(message), position)
    return position


def _end_of_text(template: ChatTemplate, text: str) -> set[int]:
    """Phi-3 ends every text with its EOS, which its masks hold and inference, stopped at `<|end|>`, never reaches."""
    if template.name.startswith("phi3"):
        return set(range(len(text) - len("</s>"), len(text)))
    return set()
