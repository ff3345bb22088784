"""`ChatTemplate`: a compiled chat template with the variables that a tokenizer gives it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from finetooth.errors import TemplateError
from finetooth.messages import say
from finetooth.template.sandbox import compile_source, run
from finetooth.types import Message

REASONING_KEYS = ("reasoning_content", "thinking", "reasoning")
"""The names under which messages carry their thinking; templates read the first two (transformers 5.23)."""

_PROBE = "finetooth probe"


class ChatTemplate:
    """A chat template, compiled, with the special tokens of the tokenizer that it belongs to.

    Args:
        source: The jinja source.
        name: What errors call it: a path, or a built-in template's name.
        special_tokens: `bos_token`, `eos_token` and so on, as texts; the template sees them as variables.
    """

    def __init__(self, source: str, *, name: str, special_tokens: Mapping[str, str] | None = None) -> None:
        self.source = source
        self.name = name
        self.special_tokens = dict(special_tokens or {})
        self._compiled = compile_source(source, name=name)

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Any] | None = None,
        add_generation_prompt: bool = False,
        variables: Mapping[str, Any] | None = None,
    ) -> str:
        """Return the text of a conversation, as `apply_chat_template(..., tokenize=False)` gives it.

        Raises:
            TemplateError: The template raises, or goes past a limit of time or size.
        """
        return self.render_with_generation(
            messages, tools=tools, add_generation_prompt=add_generation_prompt, variables=variables
        )[0]

    def render_with_generation(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Any] | None = None,
        add_generation_prompt: bool = False,
        variables: Mapping[str, Any] | None = None,
    ) -> tuple[str, list[tuple[int, int]]]:
        """Return the text, and the character ranges of its `{% generation %}` blocks."""
        values: dict[str, Any] = {
            **self.special_tokens,
            **(variables or {}),
            "messages": [as_templates_see_it(message) for message in messages],
            "tools": list(tools) if tools else None,
            "documents": (variables or {}).get("documents"),
            "add_generation_prompt": add_generation_prompt,
        }
        return run(self._compiled, values, name=self.name)

    @cached_property
    def has_generation_blocks(self) -> bool:
        """Whether the template marks what the model writes."""
        return re.search(r"\{%-?\s*generation\s*-?%\}", self.source) is not None

    @cached_property
    def content_form(self) -> Literal["string", "parts"]:
        """Whether the template wants content as a string, or as a list of parts (vision templates)."""
        parts: list[Any] = [{"type": "text", "text": _PROBE}]
        forms: tuple[tuple[Literal["string", "parts"], Any], ...] = (("string", _PROBE), ("parts", parts))
        for form, content in forms:
            try:
                text = self.render([{"role": "user", "content": content}])
                # A template that loops over a string's characters prints them apart, or nothing; one that takes a
                # string prints a list as Python writes it.
                if _PROBE in text and f"'{_PROBE}'" not in text:
                    return form
            except TemplateError:
                continue
        return "string"

    @cached_property
    def generation_prompt_header(self) -> str:
        """The text between the user's last word and the model's first, such as ` [/INST]`; empty where unknown."""
        try:
            text = self.render([self.message("user", _PROBE)], add_generation_prompt=True)
        except TemplateError:
            return ""
        return text.rpartition(_PROBE)[2] if _PROBE in text else ""

    @cached_property
    def answer_header(self) -> str:
        """The text between the user's last word and an answer's first, as in training; empty where unknown."""
        answer = f"{_PROBE} answer"
        try:
            text = self.render([self.message("user", _PROBE), self.message("assistant", answer)])
        except TemplateError:
            return ""
        before, found, _ = text.partition(answer)
        return before.rpartition(_PROBE)[2] if found and _PROBE in before else ""

    @cached_property
    def user_header(self) -> str:
        """The text before a user's first word where no system message goes before it; empty where unknown."""
        try:
            text = self.render([self.message("user", _PROBE)])
        except TemplateError:
            return ""
        return text.partition(_PROBE)[0] if _PROBE in text else ""

    @cached_property
    def next_user_header(self) -> str:
        """The text between an answer and the next user's first word (terminator included); empty where unknown."""
        answer, question = f"{_PROBE} answer", f"{_PROBE} question"
        turns = [("user", _PROBE), ("assistant", answer), ("user", question)]
        try:
            text = self.render([self.message(role, content) for role, content in turns])
        except TemplateError:
            return ""
        before, found, _ = text.partition(question)
        return before.rpartition(answer)[2] if found and answer in before else ""

    def message(self, role: str, content: str) -> Message:
        """Return a message whose content has the form that this template takes."""
        return {
            "role": role,
            "content": content if self.content_form == "string" else [{"type": "text", "text": content}],
        }

    def in_content_form(self, message: Message) -> Message:
        """Return the message with its content in the form that this template takes; the same object where it is."""
        content = message.get("content")
        if self.content_form == "string":
            if isinstance(content, list):
                return {**message, "content": "".join(part_text(part) for part in content)}
        elif isinstance(content, str):
            return {**message, "content": [{"type": "text", "text": content}]}
        return message


def as_templates_see_it(message: Message) -> Message:
    """Return a message as transformers passes it on: no null keys, and thinking under both of its names."""
    if len(message) == 2 and isinstance(message.get("content"), str) and "role" in message:
        return message
    message = {key: value for key, value in message.items() if value is not None}
    reasoning = next((message[key] for key in REASONING_KEYS if key in message), None)
    if reasoning is not None:
        return {"thinking": reasoning, **message, "reasoning_content": reasoning}
    return message


def part_text(part: Any) -> str:
    """Return the text of a content part, a string or `{"type": "text", "text": ...}`."""
    if isinstance(part, str):
        return part
    if isinstance(part, Mapping):
        text = part.get("text", part.get("value"))
        if isinstance(text, str):
            return text
    raise TemplateError(say("template.part", part=repr(part)[:60]), help=say("template.part_help"))


def read_template(path: Path) -> str:
    """Return the source of a .jinja file.

    Raises:
        TemplateError: The file cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise TemplateError(say("template.unreadable", reason=error.strerror or ""), where=str(path)) from error
    except UnicodeDecodeError as error:
        raise TemplateError(
            say("template.encoding", offset=error.start), where=str(path), help=say("template.encoding_help")
        ) from error
