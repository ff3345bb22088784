"""What finetooth finds supervised by rendering is what the built-in templates' generation blocks hold."""

from __future__ import annotations

from typing import Any

import pytest

from finetooth.template import ChatTemplate, Renderer, Stops
from finetooth.templates import BUILTIN, TEMPLATES, builtin_template
from finetooth.types import Message, Record
from tests.templates.conversations import ROWS
from tests.templates.test_templates import TOOL_TALK, WEATHER, WITH_TOOLS

ROWS_AND_TOOLS: list[tuple[list[Message], list[Any] | None]] = [(row, None) for row in ROWS]


@pytest.mark.parametrize("name", BUILTIN)
def test_supervised_spans_are_the_generation_blocks(name: str) -> None:
    special_tokens = {"bos_token": "<s>", "eos_token": "</s>"}
    template = ChatTemplate(builtin_template(name), name=name, special_tokens=special_tokens)
    renderer = Renderer(template=template, stops=Stops(literals=(TEMPLATES[name].terminator or "</s>",)))
    for row, tools in [*ROWS_AND_TOOLS, *([(TOOL_TALK, [WEATHER])] if name in WITH_TOOLS else [])]:
        rendered = renderer.render(Record(index=0, where="x:1", shape="messages", row={}, messages=row, tools=tools))
        text, blocks = template.render_with_generation(row, tools=tools)
        assert rendered.text == text
        assert [(span.start, span.end) for span in rendered.spans if span.supervised] == blocks
