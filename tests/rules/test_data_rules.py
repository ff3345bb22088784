"""What fixtures of single rows cannot show: marks under other templates, tallies in parts, tags that are moved."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from finetooth.checking import check_records
from finetooth.config import LabelsConfig
from finetooth.labels import Setup
from finetooth.labels.setup import make_setup
from finetooth.records import records_of
from finetooth.rules import select_rules
from finetooth.rules.facts import SetupFacts
from finetooth.rules.tpl006_open_generation_block import with_moved_tag
from finetooth.template import ChatTemplate
from finetooth.tokenizer import Tokenizer
from finetooth.types import Finding
from tests.shared_data import SHARED, needs_shared
from tests.small_tokenizers import byte_bpe, save_model

SPECIAL = {"bos_token": "<s>", "eos_token": "<|im_end|>", "unk_token": "<unk>", "pad_token": "<pad>"}
TURN = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
OPENS_THINKING = TURN + "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"


def setup_of(source: str, **labels: Any) -> Setup:
    tokenizer = Tokenizer(name="small", backend=byte_bpe(), special_tokens=SPECIAL)
    template = ChatTemplate(source, name="small", special_tokens=SPECIAL)
    return Setup(tokenizer=tokenizer, template=template, labels=LabelsConfig(**labels))


def check(rows: list[dict[str, Any]], setup: Setup, *codes: str) -> tuple[Finding, ...]:
    return check_records(records_of(rows), [setup], select_rules(codes)).findings


def chat(*contents: str) -> dict[str, Any]:
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[index % 2], "content": content} for index, content in enumerate(contents)]}


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ("Let me see.\n</think>\n\nIn Paris.", None),
        ("<think>\nLet me see.\n</think>\n\nIn Paris.", None),
        ("<think>\nLet me see. In Paris.", "not-closed"),
        ("<think>\n<think>\nLet me see.\n</think>\n</think>\n\nIn Paris.", "opened-twice"),
        ("The <think> tag opens a thought.", None),
        ("Write `</think>` there.", None),
    ],
)
def test_thinking_that_the_prompt_opens(answer: str, fault: str | None) -> None:
    found = check([chat("Where is it?", answer)], setup_of(OPENS_THINKING), "TPL007")
    assert [one.cause.evidence["fault"] for one in found if one.cause] == ([fault] if fault else [])


def test_thinking_that_nobody_opens() -> None:
    found = check([chat("Where is it?", "Let me see.\n</think>\n\nIn Paris.")], setup_of(TURN), "TPL007")
    assert [one.cause.evidence["fault"] for one in found if one.cause] == ["not-opened"]


def test_words_of_users_are_no_marks() -> None:
    assert check([chat("[INST] <<SYS>> <think>", "What?")], setup_of(TURN), "TPL007") == ()


BLOCK = "{%% for m in messages %%}<|im_start|>{{ m.role }}\n%s{%% endfor %%}"
MOVABLE = "{% generation %}{{ m.content }}{% endgeneration %}{{ '<|im_end|>' }}\n"
RAW = "{%- generation -%}{{ m.content }}{%- endgeneration -%}<|im_end|>\n"
AFTER_BRANCH = "{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}{% else %}"
AFTER_BRANCH += "{{ m.content }}{% endif %}<|im_end|>\n"


@pytest.mark.parametrize(("body", "is_movable"), [(MOVABLE, True), (RAW, True), (AFTER_BRANCH, False)])
def test_the_tag_is_moved_where_the_text_stays_the_same(body: str, is_movable: bool) -> None:
    setup = setup_of(BLOCK % body)
    (found,) = check([chat("Where is it?", "In Paris.")], setup, "TPL006")
    assert not found.fixable, "the template is in no file of the model"
    moved = with_moved_tag(SetupFacts(setup))
    assert (moved is not None) is is_movable
    if moved is not None:
        assert check([chat("Where is it?", "In Paris.")], setup_of(moved), "TPL006") == ()


@pytest.mark.parametrize("is_movable", [True, False])
def test_a_template_of_the_models_own_is_fixable(is_movable: bool, tmp_path: Path) -> None:
    directory = save_model(tmp_path / "model", byte_bpe(), **SPECIAL)
    source = BLOCK % (MOVABLE if is_movable else AFTER_BRANCH)
    (directory / "chat_template.jinja").write_text(source, encoding="utf-8")
    (found,) = check([chat("Where is it?", "In Paris.")], make_setup(str(directory)), "TPL006")
    assert found.fixable is is_movable


def test_a_special_token_that_does_not_stop_is_no_terminator() -> None:
    body = "{% generation %}{{ m.content }}<pad>{% endgeneration %}<|im_end|>\n"
    (found,) = check([chat("Where is it?", "In Paris.")], setup_of(BLOCK % body), "TPL006")
    assert found.cause is not None
    assert found.cause.evidence["text_after_block"] == "<|im_end|>"


def test_cut_completions_are_counted_over_parts() -> None:
    (rule,) = select_rules(("SEQ001",))
    setup = setup_of(TURN + "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}", max_length=40)
    facts = SetupFacts(setup)
    from finetooth.labels import make_labeller
    from finetooth.rules.row import Row

    rows = [chat("Where is it?", "In Paris, " * 40), chat("Where is it?", "In Paris.")] * 3
    records = list(records_of(rows))
    encoded = make_labeller(setup)(records)
    parts = []
    for start in (0, 2, 4):
        tally = rule.run()
        for record, one in zip(records[start : start + 2], encoded[start : start + 2], strict=True):
            tally.add(Row(facts, record, one))
        parts.append(pickle.loads(pickle.dumps(tally)))
    whole = parts[0]
    for part in parts[1:]:
        whole.merge(part)
    (hit,) = whole.hits(facts)
    assert hit.values["count"] == 3
    assert [place.record for place in hit.values["places"]] == [0, 2, 4]
    evidence = hit.because.evidence
    assert evidence["rows_that_lose_a_part"] == 3
    length = len(setup.tokenizer.encode([encoded[0].text], add_special_tokens=False)[0].ids)
    assert evidence["longest_row"] == length
    # Of the row's end the template's newline is no answer.
    assert evidence["answer_tokens_lost"] == 3 * (length - 40 - 1)


def test_a_few_cut_completions_are_a_warning_and_many_an_error() -> None:
    setup = setup_of(TURN + "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}", max_length=60)
    long, short = chat("Where is it?", "In Paris, " * 40), chat("Where is it?", "In Paris.")
    assert [one.severity for one in check([long, *[short] * 30], setup, "SEQ001")] == ["warning"]
    assert [one.severity for one in check([long, *[short] * 19], setup, "SEQ001")] == ["error"]


def test_an_appended_eos_that_is_cut_away_is_a_loss() -> None:
    row = {"prompt": "Where is it?", "completion": " In Paris."}
    setup = setup_of(TURN)
    length = len(setup.tokenizer.encode([row["prompt"] + row["completion"]], add_special_tokens=False)[0].ids)
    (found,) = check([row], setup_of(TURN, max_length=length), "SEQ001")
    assert found.cause is not None
    assert found.cause.evidence["answer_tokens_lost"] == 1
    assert check([row], setup_of(TURN, max_length=length + 1), "SEQ001") == ()


@needs_shared
def test_the_report_example() -> None:
    """The system block that is opened twice, and the slot for facts that was left blank."""
    import json

    from finetooth.config import Config

    path = SHARED / "data/report-example/text.jsonl"
    row = json.loads(path.read_text(encoding="utf-8").splitlines()[0])
    labels = LabelsConfig(way="completion-collator", response_template="[/INST] ")
    setup = make_setup(str(SHARED / "data/tokenizers/llama2-eos-normalized"), Config(labels=labels))
    found = {one.code: one for one in check([row], setup, "TPL", "DAT", "SEQ")}
    assert set(found) == {"TPL007", "DAT005"}
    sys_block, blank = found["TPL007"], found["DAT005"]
    assert sys_block.cause is not None and blank.cause is not None
    assert (sys_block.cause.code, blank.cause.code) == ("sys", "blank-lines")
    text = row["text"]
    assert text[sys_block.places[0].start : sys_block.places[0].end] == "<<SYS>>"
    assert text[blank.places[0].start : blank.places[0].end] == "\n\n\n\n"
    assert text[blank.places[0].end or 0 :].startswith("こんにちは")
