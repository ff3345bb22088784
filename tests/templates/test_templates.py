"""The registry, and what every built-in template has to keep to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import pytest
from jinja2 import TemplateError as JinjaTemplateError

from finetooth.errors import TemplateError
from finetooth.messages import set_language
from finetooth.templates import BUILTIN, TEMPLATES, builtin_template
from finetooth.types import Message
from tests.templates.conversations import (
    ROWS,
    answer_indices,
    assistant,
    render,
    render_with_blocks,
    system,
    user,
)

WITH_TOOLS = [name for name in BUILTIN if TEMPLATES[name].has_tools]
WITHOUT_TOOLS = [name for name in BUILTIN if not TEMPLATES[name].has_tools]
SYSTEM_ANYWHERE = ["chatml", "llama3", "phi", "phi4", "qwen"]
STRICT_TURNS = ["llama2", "mistral"]
TRIMMING = ["gemma", "llama2", "llama3"]

WEATHER = {
    "type": "function",
    "function": {"name": "weather", "description": "天気", "parameters": {"type": "object", "properties": {}}},
}
CALL = {"id": "abcdef123", "type": "function", "function": {"name": "weather", "arguments": {"city": "東京"}}}
TOOL_TALK: list[Message] = [
    user("東京の天気は？"),
    {"role": "assistant", "tool_calls": [CALL]},
    {"role": "tool", "name": "weather", "tool_call_id": "abcdef123", "content": "晴れ"},
    assistant("晴れですわ。"),
]


@pytest.fixture
def in_japanese() -> Iterator[None]:
    set_language("ja")
    yield
    set_language(None)


def bare(block: str, name: str) -> str:
    """Return what a generation block holds but its terminator."""
    terminator = TEMPLATES[name].terminator or "</s>"
    assert block.endswith(terminator)
    return block.removesuffix(terminator)


def test_every_file_is_registered_under_its_name() -> None:
    folder = files("finetooth.templates")
    stems = sorted(entry.name.removesuffix(".jinja") for entry in folder.iterdir() if entry.name.endswith(".jinja"))
    assert list(BUILTIN) == stems == sorted(TEMPLATES)
    assert [TEMPLATES[name].name for name in BUILTIN] == stems
    assert len(BUILTIN) >= 10


@pytest.mark.parametrize("name", BUILTIN)
def test_a_file_begins_by_naming_its_source(name: str) -> None:
    comment = re.match(r"\{#-(.*?)-#\}", builtin_template(name), re.DOTALL)
    assert comment is not None
    host_and_owner = "/".join(TEMPLATES[name].source.split("/")[:4])
    assert "Source:" in comment[1]
    assert host_and_owner in comment[1]


@pytest.mark.parametrize("name", BUILTIN)
def test_control_literals_stand_whole_in_the_source(name: str) -> None:
    # transformers finds the control tokens of a template among its string literals; one that is built from pieces
    # would be missed (utils/chat_template_utils.py, `_get_template_literal_text`).
    facts = TEMPLATES[name]
    source = re.sub(r"\{#-.*?-#\}", "", builtin_template(name), flags=re.DOTALL)
    assert [text for text in facts.needs_tokens if text not in source] == []
    assert facts.terminator is None or facts.terminator in facts.needs_tokens
    literals = set(re.findall(r"<\|\w+\|>|<(?:start|end)_of_turn>|\[/?[A-Z_]{4,}\]", source))
    spelled = set(facts.needs_tokens) | ({"[INST]", "[/INST]"} if name == "llama2" else set())
    assert literals == spelled


@pytest.mark.parametrize(("typed", "meant"), [("llama-3", "llama3"), ("Qwen", "qwen"), ("chat-ml", "chatml")])
def test_a_mistyped_name_gets_the_near_one(typed: str, meant: str) -> None:
    with pytest.raises(TemplateError) as caught:
        builtin_template(typed)
    assert typed in caught.value.what
    assert caught.value.help == f"did you mean `{meant}`?"


def test_a_far_name_gets_all_names() -> None:
    with pytest.raises(TemplateError) as caught:
        builtin_template("zzz")
    assert caught.value.help is not None
    assert all(name in caught.value.help for name in BUILTIN)


@pytest.mark.usefixtures("in_japanese")
def test_errors_speak_japanese() -> None:
    with pytest.raises(TemplateError) as caught:
        builtin_template("llama-3")
    assert caught.value.what == "組み込みテンプレート `llama-3` はありません"
    assert caught.value.help == "もしかして `llama3` ですか"


@pytest.mark.parametrize("name", BUILTIN)
def test_each_inference_prompt_is_a_prefix_and_each_block_is_the_rest(name: str) -> None:
    for row in ROWS:
        text, blocks, starts = render_with_blocks(name, row)
        answers = answer_indices(row)
        prompts = [render(name, row[:index], prompt=True) for index in answers]
        assert [text.startswith(prompt) for prompt in prompts] == [True, True]
        assert starts == [len(prompt) for prompt in prompts]
        assert [bare(block, name).strip(" ") for block in blocks] == [row[index]["content"] for index in answers]
        # The next turn's prompt begins with this turn's block: nothing that the model writes is left out.
        assert prompts[1].startswith(prompts[0] + blocks[0])
        assert text[starts[-1] + len(blocks[-1]) :] in ("", "\n")


@pytest.mark.parametrize("name", BUILTIN)
def test_no_prompt_ends_on_a_space(name: str) -> None:
    prompt = render(name, [user("q")], prompt=True)
    assert not prompt.endswith((" ", "\u3000", "\t"))
    leading = render_with_blocks(name, [user("q"), assistant("a")])[1][0]
    assert leading.startswith(" a" if name in ("llama2", "mistral", "vicuna") else "a")


@pytest.mark.parametrize("name", BUILTIN)
def test_only_llama2_has_a_space_before_its_terminator(name: str) -> None:
    block = render_with_blocks(name, [user("q"), assistant("a")])[1][0]
    assert bare(block, name).endswith(" ") == (name == "llama2")


@pytest.mark.parametrize("name", BUILTIN)
def test_a_system_message_is_shown_once(name: str) -> None:
    text = render(name, [system("«sys»"), user("«u1»"), assistant("«a1»"), user("«u2»"), assistant("«a2»")])
    assert [text.count(mark) for mark in ("«sys»", "«u1»", "«a1»", "«u2»", "«a2»")] == [1] * 5
    assert text.index("«sys»") < text.index("«u1»")


@pytest.mark.parametrize("name", BUILTIN)
@pytest.mark.parametrize("role", ["developer", "function", "User", ""])
def test_an_unknown_role_is_refused(name: str, role: str) -> None:
    with pytest.raises(JinjaTemplateError, match=f"{name}: unknown role {role}"):
        render(name, [user("q"), {"role": role, "content": "c"}])


@pytest.mark.parametrize("name", BUILTIN)
def test_content_is_never_read_as_jinja(name: str) -> None:
    trap = "{{ 7 * 7 }}{% if x %}{# no #}<b>&amp;"
    text = render(name, [system(trap), user(trap), assistant(trap)])
    assert text.count(trap) == 3
    assert "49" not in text


@pytest.mark.parametrize("name", BUILTIN)
def test_text_parts_are_joined_and_other_parts_refused(name: str) -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert render(name, [user(parts), assistant(parts)]) == render(name, [user("ab"), assistant("ab")])
    with pytest.raises(JinjaTemplateError, match=f"{name}: a content part is no text"):
        render(name, [user([{"type": "image"}])])
    with pytest.raises(JinjaTemplateError, match=f"{name}: the content is neither text nor a list of parts"):
        render(name, [user(42)])


@pytest.mark.parametrize("name", BUILTIN)
def test_white_space_is_kept_but_where_the_reference_trims(name: str) -> None:
    text = render(name, [user("q"), assistant("    return x\n")])
    assert ("    return x\n" in text) == (name not in TRIMMING)


@pytest.mark.parametrize("name", [name for name in BUILTIN if TEMPLATES[name].terminator is None])
def test_an_answer_needs_an_eos_token(name: str) -> None:
    from transformers.utils.chat_template_utils import render_jinja_template

    with pytest.raises(JinjaTemplateError, match=f"{name}: an answer ends with eos_token"):
        render_jinja_template([[user("q"), assistant("a")]], chat_template=builtin_template(name))


@pytest.mark.parametrize("name", SYSTEM_ANYWHERE)
def test_a_system_message_may_come_later(name: str) -> None:
    text = render(name, [user("u"), assistant("a"), system("«later»"), user("v")], prompt=True)
    assert "«later»" in text


@pytest.mark.parametrize("name", sorted(set(BUILTIN) - set(SYSTEM_ANYWHERE)))
def test_a_later_system_message_is_refused_where_the_format_has_no_place_for_it(name: str) -> None:
    with pytest.raises(JinjaTemplateError, match=f"{name}: a system message"):
        render(name, [user("u"), assistant("a"), system("s"), user("v")])


@pytest.mark.parametrize("name", sorted(set(BUILTIN) - set(STRICT_TURNS)))
def test_turns_need_not_alternate(name: str) -> None:
    messages = [assistant("«hello»"), user("«u1»"), user("«u2»"), assistant("«a1»"), assistant("«a2»")]
    text, blocks, starts = render_with_blocks(name, messages)
    assert [bare(block, name).strip() for block in blocks] == ["«hello»", "«a1»", "«a2»"]
    # transformers renders no prompt for an empty conversation, hence not the first.
    assert [text[:start] for start in starts[1:]] == [render(name, messages[:end], prompt=True) for end in (3, 4)]


@pytest.mark.parametrize("name", STRICT_TURNS)
@pytest.mark.parametrize(
    "messages",
    [
        [assistant("a")],
        [user("u"), user("v")],
        [user("u"), assistant("a"), assistant("b")],
        [system("s"), assistant("a")],
    ],
)
def test_turns_must_alternate_where_an_answer_has_no_heading(name: str, messages: list[Message]) -> None:
    with pytest.raises(JinjaTemplateError, match=f"{name}: "):
        render(name, messages)


@pytest.mark.parametrize("name", WITHOUT_TOOLS)
@pytest.mark.parametrize("messages", [TOOL_TALK[:2], [user("u"), {"role": "tool", "content": "c"}]])
def test_tool_calls_are_refused_where_the_format_has_none(name: str, messages: list[Message]) -> None:
    with pytest.raises(JinjaTemplateError, match=f"{name}: this form has no tool calls"):
        render(name, messages)
    with pytest.raises(JinjaTemplateError, match=f"{name}: this form has no tool calls"):
        render(name, [user("u")], tools=[WEATHER])


@pytest.mark.parametrize("name", WITH_TOOLS)
def test_tool_calls_keep_prompts_and_blocks(name: str) -> None:
    text, blocks, starts = render_with_blocks(name, TOOL_TALK, tools=[WEATHER])
    prompts = [render(name, TOOL_TALK[:index], prompt=True, tools=[WEATHER]) for index in answer_indices(TOOL_TALK)]
    assert [text[:start] for start in starts] == prompts
    assert '"city": "東京"' in bare(blocks[0], name)
    assert bare(blocks[1], name).strip() == "晴れですわ。"
    assert text.count("天気") == 2 and text.index("天気") < starts[0]
    assert "晴れ" in text[starts[0] + len(blocks[0]) : starts[1]]


@pytest.mark.parametrize("name", WITH_TOOLS)
@pytest.mark.parametrize("content", [None, ""])
def test_arguments_may_be_json_text_and_content_null(name: str, content: str | None) -> None:
    as_text = {**CALL, "function": {"name": "weather", "arguments": '{"city": "東京"}'}}
    messages = [TOOL_TALK[0], {"role": "assistant", "content": content, "tool_calls": [as_text]}, *TOOL_TALK[2:]]
    assert render(name, messages) == render(name, TOOL_TALK)


def test_llama3_refuses_tools_without_a_user_message() -> None:
    with pytest.raises(JinjaTemplateError, match="llama3: tools are shown"):
        render("llama3", [system("s"), assistant("a")], tools=[WEATHER])


@pytest.mark.parametrize(("name", "num_calls"), [("llama3", 1), ("llama3", 2), ("mistral", 1)])
def test_a_call_that_the_format_cannot_show_is_refused(name: str, num_calls: int) -> None:
    content: Any = "Let me look." if num_calls == 1 else None
    with pytest.raises(JinjaTemplateError, match=f"{name}: an assistant message holds"):
        render(name, [user("u"), assistant(content, tool_calls=[CALL] * num_calls)])


def test_mistral_needs_the_id_of_a_call() -> None:
    without = [*TOOL_TALK[:2], {"role": "tool", "content": "晴れ"}]
    with pytest.raises(JinjaTemplateError, match="mistral: a tool message must"):
        render("mistral", without)
