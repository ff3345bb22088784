"""Chat templates that the tests of this folder share, and short ways to records and renderers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from finetooth.template import ChatTemplate, Renderer, Stops
from finetooth.types import Message, Record, Rendered, Span

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

GLM = (
    "[gMASK]<sop>{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
"""Nothing ends a turn but the mark of the next, as in GLM-4."""

LLAMA2 = (
    "{% for m in messages %}{% if m.role == 'user' %}{{ bos_token + '[INST] ' + m.content|trim + ' [/INST]' }}"
    "{% elif m.role == 'assistant' %}{{ ' ' + m.content|trim + ' ' + eos_token }}{% endif %}{% endfor %}"
)

PARTS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for part in m.content %}{% if part.type == 'text' %}"
    "{{ part.text }}{% else %}<image>{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Content as a list of parts, as vision templates have it."""

THINKING = (
    "{% for m in messages %}{% set content = m.content or '' %}"
    "{% if m.role == 'assistant' and '</think>' in content and not loop.last %}"
    "{% set content = content.split('</think>')[-1].lstrip('\\n') %}{% endif %}"
    "{{ '<|im_start|>' + m.role + '\\n' + content + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""Thinking is dropped from all answers but the last, as in Qwen 3."""

SPECIAL_TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}

IM_END = Stops(literals=("<|im_end|>",))


def template_of(source: str, *, name: str = "test") -> ChatTemplate:
    return ChatTemplate(source, name=name, special_tokens=SPECIAL_TOKENS)


def turns(*words: str, start: str = "user", **keys: Any) -> list[Message]:
    """Return alternating turns of a user and an assistant; the keys are put on the last."""
    roles = ("user", "assistant") if start == "user" else ("assistant", "user")
    messages: list[Message] = [{"role": roles[index % 2], "content": text} for index, text in enumerate(words)]
    messages[-1].update(keys)
    return messages


def record_of(messages: list[Message], **fields: Any) -> Record:
    return Record(index=0, where="rows.jsonl:1", shape="messages", row={}, messages=messages, **fields)


def render(source: str, messages: list[Message], *, stops: Stops = IM_END, **options: Any) -> Rendered:
    """Render messages through a template; `roles` is handed on, other options are the renderer's."""
    roles = options.pop("roles", True)
    record = record_of(
        messages, **{key: options.pop(key) for key in ("tools", "num_prompt_messages") if key in options}
    )
    return Renderer(template=template_of(source), stops=stops, **options).render(record, roles=roles)


def shown(rendered: Rendered) -> list[tuple[str, bool, str]]:
    """Return the spans as (role, supervised, text)."""
    return [(span.role, span.supervised, rendered.text[span.start : span.end]) for span in rendered.spans]


def supervised(rendered: Rendered) -> list[str]:
    """Return the supervised texts."""
    return [text for _, is_supervised, text in shown(rendered) if is_supervised]


def supervised_characters(rendered: Rendered) -> set[int]:
    return {p for span in rendered.spans if span.supervised for p in range(span.start, span.end)}


def words_of(rendered: Rendered, message_index: int) -> str:
    """Return the texts of a message's spans, joined."""
    return "".join(rendered.text[s.start : s.end] for s in rendered.spans if s.message_index == message_index)


def assert_in_order(spans: tuple[Span, ...] | list[Span], text: str) -> None:
    """Spans are sorted, not empty, not overlapping, and inside the text."""
    position = 0
    for span in spans:
        assert position <= span.start < span.end <= len(text), spans
        position = span.end


TOOL: Mapping[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tell the weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string", "description": "A city"}}},
    },
}


def call(name: str = "weather", arguments: Any = None, **keys: Any) -> dict[str, Any]:
    arguments = {"city": "東京"} if arguments is None else arguments
    return {"type": "function", "function": {"name": name, "arguments": arguments}, **keys}
