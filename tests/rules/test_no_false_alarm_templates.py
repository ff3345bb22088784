"""Healthy conversations under every training template that TRL ships raise no alarm about the template."""

from __future__ import annotations

import importlib.util
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tokenizers import AddedToken

from finetooth.checking import check_records
from finetooth.config import LabelsConfig
from finetooth.errors import FinetoothError
from finetooth.labels import Setup
from finetooth.records import records_of
from finetooth.rules import select_rules
from finetooth.rules.facts import SetupFacts
from finetooth.rules.tpl006_open_generation_block import with_moved_tag
from finetooth.template import ChatTemplate
from finetooth.tokenizer import Tokenizer
from finetooth.types import Finding
from tests.small_tokenizers import byte_bpe, copy_of

SPEC = importlib.util.find_spec("trl")
FOLDER = Path(SPEC.origin).parent / "chat_templates" if SPEC is not None and SPEC.origin else None
NAMES = sorted(path.stem for path in FOLDER.glob("*_training.jinja")) if FOLDER is not None else []

pytestmark = pytest.mark.skipif(not NAMES, reason="TRL is not installed")

TERMINATORS = {
    "cohere": ["<|END_OF_TURN_TOKEN|>"],
    "deepseek": ["<｜end▁of▁sentence｜>"],
    "diffusion_gemma": ["<turn|>"],
    "gemma": ["<end_of_turn>"],
    "glm4moe": ["<|user|>", "<|observation|>", "<|endoftext|>"],
    "gptoss": ["<|return|>", "<|call|>"],
    "idefics3": ["<end_of_utterance>"],
    "llama3": ["<|eot_id|>"],
    "llava": ["</s>"],
    "muse": ["<|eot|>"],
    "phi3": ["<|end|>"],
    "smolvlm": ["<end_of_utterance>"],
}
"""The stop set of each family's generation_config.json; `<|im_end|>` for the rest."""

QUESTION, ANSWER = (
    {"role": "user", "content": "Where is it?"},
    {"role": "assistant", "content": "In Paris, 巴里ですわ。"},
)
EARLIER = [{"role": "user", "content": "1?"}, {"role": "assistant", "content": "Uno."}]
PLAIN: dict[str, list[dict[str, Any]]] = {
    "one turn": [QUESTION, ANSWER],
    "several turns": [*EARLIER, QUESTION, ANSWER],
    "the same twice": [QUESTION, ANSWER, QUESTION, ANSWER],
    "system": [{"role": "system", "content": "短く答えてください。"}, QUESTION, ANSWER],
    "code": [QUESTION, {"role": "assistant", "content": "So:\n```python\ndef f(x):\n    return {x}\n```\n\n\n\nDone."}],
}
ODD: dict[str, list[dict[str, Any]]] = {
    "outer white space": [
        {"role": "user", "content": "  Where is it?\n "},
        {"role": "assistant", "content": " \n In Paris.  \n"},
    ],
    "thinking last": [QUESTION, {"role": "assistant", "content": "<think>\nLet me see.\n</think>\n\nIn Paris."}],
    "thinking before": [
        QUESTION,
        {"role": "assistant", "content": "<think>\nSo.\n</think>\n\nUno."},
        {"role": "user", "content": "Sure?"},
        ANSWER,
    ],
    "thinking key": [QUESTION, {**ANSWER, "reasoning_content": "Let me see."}],
}


@cache
def tokenizer_of(name: str) -> Tokenizer:
    """Return a tokenizer that holds the special tokens of a template, and stops where its family does."""
    assert FOLDER is not None
    source = (FOLDER / f"{name}.jinja").read_text(encoding="utf-8")
    family = next((family for family in TERMINATORS if name.startswith(family)), None)
    stops = TERMINATORS[family] if family else ["<|im_end|>"]
    literals = re.findall(r"<\|[\w]+\|>|<｜[\w▁]+｜>|<(?:start|end)_of_\w+>", source)
    backend: tokenizers.Tokenizer = copy_of(byte_bpe())
    backend.add_special_tokens(
        [AddedToken(text, special=True, normalized=False) for text in dict.fromkeys([*literals, *stops])]
    )
    special = {"bos_token": "<s>", "eos_token": stops[0], "unk_token": "<unk>", "pad_token": "<pad>"}
    return Tokenizer(name=name, backend=backend, special_tokens=special, chat_templates={"default": source})


def findings_of(name: str, messages: list[dict[str, Any]]) -> tuple[Finding, ...]:
    """Return what the rules about templates and data find in one conversation."""
    tokenizer = tokenizer_of(name)
    template = tokenizer.chat_template()
    assert template is not None
    setup = Setup(tokenizer=tokenizer, template=template, labels=LabelsConfig(train_on="assistant"))
    try:
        report = check_records(records_of([{"messages": messages}]), [setup], select_rules(("TPL", "DAT", "SEQ")))
    except FinetoothError:
        pytest.skip("the template refuses this conversation")
    assert report.parts[0].not_run == ()
    return report.findings


@pytest.mark.parametrize("conversation", PLAIN)
@pytest.mark.parametrize("name", NAMES)
def test_a_healthy_conversation_is_left_alone(name: str, conversation: str) -> None:
    assert [(one.code, one.message) for one in findings_of(name, PLAIN[conversation])] == []


@pytest.mark.parametrize("conversation", ODD)
@pytest.mark.parametrize("name", NAMES)
def test_white_space_and_thinking_are_no_errors(name: str, conversation: str) -> None:
    found = findings_of(name, ODD[conversation])
    assert {one.code for one in found} <= {"TPL002", "TPL003"}
    assert [one.message for one in found if one.severity == "error"] == []
    if conversation == "outer white space":
        assert {one.severity for one in found} <= {"info"}


@pytest.mark.parametrize("name", NAMES)
def test_a_block_that_is_cut_short_is_found(name: str) -> None:
    """The same templates with every stop literal moved out of the blocks: TPL006 has to see it."""
    tokenizer = tokenizer_of(name)
    stops = tokenizer.stops.literals
    source = tokenizer.chat_templates["default"]
    stop = "|".join(map(re.escape, stops))
    # Simple templates alone: an answer's expression ends in the terminator, and the tag follows it.
    pattern = rf"\+ (['\"])((?:{stop})(?:\\n)?)\1\s*-?\}}\}}\s*(\{{%-?\s*endgeneration\s*-?%\}})"
    cut = re.sub(pattern, r"}}\3{{ \1\2\1 }}", source)
    if cut == source:
        pytest.skip("the terminator stands elsewhere in this template")
    template = ChatTemplate(cut, name=name, special_tokens=tokenizer.special_tokens)
    setup = Setup(tokenizer=tokenizer, template=template)
    report = check_records(records_of([{"messages": PLAIN["one turn"]}]), [setup], select_rules(("TPL006",)))
    (finding,) = report.findings
    assert finding.cause is not None
    assert (finding.code, finding.cause.code) == ("TPL006", "left-out")
    assert with_moved_tag(SetupFacts(setup)) is not None
