"""The built-in templates against the words of their sources: documents, TRL's templates, a tokenizer's own."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from jinja2 import TemplateError as JinjaTemplateError

from finetooth.templates import BUILTIN, TEMPLATES
from finetooth.types import Message
from tests.shared_data import SHARED, needs_shared
from tests.templates.conversations import ROWS, assistant, render, system, user

DOCS = Path(__file__).resolve().parents[2] / "docs" / "templates.md"
TALK = [user("knock knock"), assistant("who is there"), user("Gemma"), assistant("Gemma who?")]
WITH_PREAMBLE = ["alpaca", "ja-instruct", "vicuna"]
NO_SYSTEM = [row for row in ROWS if row[0]["role"] != "system"]
WITH_SYSTEM = [row for row in ROWS if row[0]["role"] == "system"]

CALCULATOR = {
    "type": "function",
    "function": {
        "name": "calculator",
        "description": "Performs mathematical calculations",
        "parameters": {"type": "object", "properties": {}, "required": []},
    },
}


def trl(name: str) -> str:
    """Return the source of a template that TRL ships."""
    spec = find_spec("trl")  # found, not imported: trl imports torch
    assert spec is not None and spec.origin is not None
    return (Path(spec.origin).parent / "chat_templates" / f"{name}.jinja").read_text(encoding="utf-8")


def calls(*names: str) -> list[dict[str, object]]:
    return [{"id": "VvvODy9mT", "function": {"name": name, "arguments": {"operation": "2+2"}}} for name in names]


# --- documents


def test_llama2_is_as_meta_documents_it() -> None:
    # llama.com, "Meta Llama 2": the system block closes with <</SYS>>, answers with a space and </s>. The page breaks
    # the line between exchanges to be read; llama/generation.py encodes them apart and joins the ids.
    messages = [system("S"), user("U1"), assistant("A1"), user("U2")]
    expected = "<s>[INST] <<SYS>>\nS\n<</SYS>>\n\nU1 [/INST] A1 </s><s>[INST] U2 [/INST]"
    assert render("llama2", messages, prompt=True) == expected


def test_vicuna_is_as_fastchat_joins_it() -> None:
    # fastchat/conversation.py: SeparatorStyle.ADD_COLON_TWO with the separators " " and "</s>".
    text = render("vicuna", [user("Hello!"), assistant("Hello!"), user("How are you?")], prompt=True)
    assert text == (
        "<s>A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "
        "detailed, and polite answers to the user's questions. USER: Hello! ASSISTANT: Hello!</s>"
        "USER: How are you? ASSISTANT:"
    )


def test_alpaca_is_as_stanford_documents_it() -> None:
    assert render("alpaca", [user("I"), assistant("O")]) == (
        "<s>Below is an instruction that describes a task. Write a response that appropriately completes the request."
        "\n\n### Instruction:\nI\n\n### Response:\nO</s>"
    )


def test_ja_instruct_is_as_llm_jp_documents_it() -> None:
    text = render("ja-instruct", [user("自然言語処理とは何か"), assistant("答え"), user("次")], prompt=True)
    assert text == (
        "<s>以下は、タスクを説明する指示です。要求を適切に満たす応答を書きなさい。\n\n### 指示:\n自然言語処理とは何か"
        "\n\n### 応答:\n答え</s>\n\n### 指示:\n次\n\n### 応答:\n"
    )


@pytest.mark.parametrize("name", WITH_PREAMBLE)
def test_a_system_message_takes_the_place_of_the_preamble(name: str) -> None:
    assert render(name, [system("S"), user("U")]).startswith("<s>S" + (" " if name == "vicuna" else "\n\n"))


def test_gemma_is_as_google_documents_it() -> None:
    text = render("gemma", TALK)
    assert text == (
        "<s><start_of_turn>user\nknock knock<end_of_turn>\n<start_of_turn>model\nwho is there<end_of_turn>\n"
        "<start_of_turn>user\nGemma<end_of_turn>\n<start_of_turn>model\nGemma who?<end_of_turn>\n"
    )
    pirate = render("gemma", [system("Only reply like a pirate."), user("What?")], prompt=True)
    assert pirate == ("<s><start_of_turn>user\nOnly reply like a pirate.\n\nWhat?<end_of_turn>\n<start_of_turn>model\n")


def test_phi4_is_as_its_tokenizer_spells_it() -> None:
    text = render("phi4", [system("S"), user("U")], prompt=True)
    assert text == (
        "<|im_start|>system<|im_sep|>S<|im_end|><|im_start|>user<|im_sep|>U<|im_end|><|im_start|>assistant<|im_sep|>"
    )


def test_mistral_is_as_its_cookbook_documents_it() -> None:
    # concept-deep-dive/tokenization/templates.md and tool_calling.md, "Tokenizer V3".
    text = render("mistral", [user("Hello, how are you?"), assistant("Fine, and you?"), user("I'm doing great!")])
    assert text == "<s>[INST] Hello, how are you?[/INST] Fine, and you?</s>[INST] I'm doing great![/INST]"
    messages: list[Message] = [
        user("What's 2+2?"),
        {"role": "assistant", "tool_calls": calls("calculator")},
        {"role": "tool", "content": 4, "tool_call_id": "VvvODy9mT"},
        assistant("2+2=4"),
    ]
    assert render("mistral", messages, tools=[CALCULATOR]) == (
        '<s>[AVAILABLE_TOOLS] [{"type": "function", "function": {"name": "calculator", "description": "Performs '
        'mathematical calculations", "parameters": {"type": "object", "properties": {}, "required": []}}}]'
        "[/AVAILABLE_TOOLS][INST] What's 2+2?[/INST]"
        '[TOOL_CALLS] [{"name": "calculator", "arguments": {"operation": "2+2"}, "id": "VvvODy9mT"}]</s>'
        '[TOOL_RESULTS] {"content": 4, "call_id": "VvvODy9mT"}[/TOOL_RESULTS] 2+2=4</s>'
    )


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        ('{"t": 22}', '{"t": 22}'),
        ({"t": 22}, '{"t": 22}'),
        ("22 [C]", '"22 [C]"'),
        ([{"type": "text", "text": "x"}], '"x"'),
    ],
)
def test_mistral_results_are_json_in_json(content: object, shown: str) -> None:
    result = {"role": "tool", "content": content, "tool_call_id": "VvvODy9mT"}
    text = render("mistral", [user("q"), {"role": "assistant", "tool_calls": calls("f")}, result])
    assert text.endswith(f'[TOOL_RESULTS] {{"content": {shown}, "call_id": "VvvODy9mT"}}[/TOOL_RESULTS]')


def test_chatml_is_as_openai_and_hermes_document_it() -> None:
    messages: list[Message] = [
        user("How are you"),
        assistant("Let me see.", tool_calls=calls("f", "g")),
        {"role": "tool", "content": {"ok": True}},
    ]
    assert render("chatml", messages, prompt=True) == (
        "<s><|im_start|>user\nHow are you<|im_end|>\n"
        "<|im_start|>assistant\nLet me see."
        '\n<tool_call>\n{"name": "f", "arguments": {"operation": "2+2"}}\n</tool_call>'
        '\n<tool_call>\n{"name": "g", "arguments": {"operation": "2+2"}}\n</tool_call><|im_end|>\n'
        '<|im_start|>tool\n<tool_response>\n{"ok": true}\n</tool_response>\n<|im_end|>\n<|im_start|>assistant\n'
    )


# --- TRL 1.16's templates


@pytest.mark.parametrize("prompt", [False, True])
@pytest.mark.parametrize(("name", "theirs", "rows"), [("llama3", "llama3", ROWS), ("gemma", "gemma3", ROWS)])
def test_same_text_as_trl(name: str, theirs: str, rows: list[list[Message]], prompt: bool) -> None:
    source = trl(theirs)
    for row in rows:
        messages = row[:-1] if prompt else row
        assert render(name, messages, prompt=prompt) == render(source, messages, prompt=prompt)


def test_gemma_shows_the_system_message_that_trl_refuses() -> None:
    source = trl("gemma")
    assert [render("gemma", row) for row in NO_SYSTEM] == [render(source, row) for row in NO_SYSTEM]
    with pytest.raises(JinjaTemplateError, match="System role not supported"):
        render(source, WITH_SYSTEM[0])


@pytest.mark.parametrize("theirs", ["phi3", "phi3_5"])
def test_phi_leaves_out_the_eos_after_a_finished_conversation(theirs: str) -> None:
    source = trl(theirs)
    for row in ROWS:
        assert render("phi", row) + "</s>" == render(source, row)
        assert render("phi", row[:-1], prompt=True) == render(source, row[:-1], prompt=True)


def test_qwen_leaves_out_the_system_prompt_of_qwen2_5() -> None:
    source = trl("qwen2_5")
    made_up = "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
    for row in WITH_SYSTEM:
        assert render("qwen", row) == render(source, row)
    for row in NO_SYSTEM:
        assert made_up + render("qwen", row) == render(source, row)


def test_qwen_leaves_out_the_empty_thinking_of_qwen3() -> None:
    source, empty = trl("qwen3"), "<think>\n\n</think>\n\n"
    for row in ROWS:
        theirs = render(source, row)
        assert theirs.count(empty) == 1
        assert render("qwen", row) == theirs.replace(empty, "")
        assert render("qwen", row[:-1], prompt=True) == render(source, row[:-1], prompt=True)


@pytest.mark.parametrize("theirs", ["qwen3_instruct_2507", "qwen3"])
@pytest.mark.parametrize("opening", [[], [system("S")]])
def test_qwen_tool_calls_are_those_of_trl(theirs: str, opening: list[Message]) -> None:
    messages: list[Message] = [
        *opening,
        user("2+2, 3+3?"),
        assistant("Let me see.", tool_calls=calls("f", "g")),
        {"role": "tool", "content": "4"},
        {"role": "tool", "content": "6"},
        assistant(None, tool_calls=calls("h")),
        {"role": "tool", "content": "8"},
    ]
    ours = render("qwen", messages, prompt=True, tools=[CALCULATOR])
    assert ours == render(trl(theirs), messages, prompt=True, tools=[CALCULATOR])


def test_llama3_tool_calls_are_those_of_trl_but_for_its_system_block() -> None:
    # TRL's copy of Meta's template always writes a system block with a knowledge cutoff and a fixed date, has no space
    # after the sentence on the format (Meta's page has one), and writes a result as a JSON string.
    messages: list[Message] = [
        system("S"),
        user("2+2?"),
        {"role": "assistant", "tool_calls": calls("f")},
        {"role": "tool", "content": {"result": 4}},
        assistant("4"),
    ]
    ours = render("llama3", messages, tools=[CALCULATOR])
    theirs = render(trl("llama3_1"), messages, tools=[CALCULATOR])
    theirs = theirs.replace(
        "Environment: ipython\nCutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n", ""
    )
    assert ours == theirs.replace("its value}.Do not", "its value}. Do not")


# --- a tokenizer's own template


@needs_shared
def test_llama2_is_the_template_of_a_real_tokenizer() -> None:
    source = (SHARED / "data/tokenizers/llama2-pad-is-unk/chat_template.jinja").read_text(encoding="utf-8")
    for row in ROWS:
        assert render("llama2", row) == render(source, row)
        assert render("llama2", row[:-1], prompt=True) == render(source, row[:-1], prompt=True)


# --- our own documentation


def documented_forms() -> dict[str, str]:
    """Return the form that docs/templates.md shows under each template's heading."""
    found = re.findall(r"^### `([\w-]+)`\n.*?^```text\n(.*?)\n```$", DOCS.read_text(encoding="utf-8"), re.DOTALL | re.M)
    return dict(found)


@pytest.mark.parametrize("name", BUILTIN)
def test_the_form_in_the_documentation_is_what_is_rendered(name: str) -> None:
    opening = [] if name in WITH_PREAMBLE else [system("{system}")]
    text = render(name, [*opening, user("{user}"), assistant("{assistant}")])
    bos = {"gemma": "<bos>", "llama3": "<|begin_of_text|>"}.get(name, "<s>")
    assert documented_forms()[name] == text.replace("<s>", bos).removesuffix("\n")


@pytest.mark.parametrize("name", BUILTIN)
def test_the_table_in_the_documentation_gives_the_facts(name: str) -> None:
    facts = TEMPLATES[name]
    rows = [line for line in DOCS.read_text(encoding="utf-8").splitlines() if line.startswith(f"| `{name}` |")]
    assert len(rows) == 1
    row = rows[0].replace("\\|", "|")
    assert facts.title in row
    assert f"({facts.source})" in row
    assert f"`{facts.terminator or 'eos_token'}`" in row
    assert ("| yes |" in row) == facts.has_tools
