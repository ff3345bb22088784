"""`--labels trl` gives the ids and labels that SFTTrainer of the installed TRL prepares."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetooth.config import Config, LabelsConfig, TokenizerConfig
from finetooth.errors import LabelsError
from finetooth.labels import encode_records, make_setup
from finetooth.records import records_of
from finetooth.tokenizer import from_transformers
from tests.differential.sft_trainer import prepared_by_trl, tokenizer_of
from tests.shared_data import SHARED, needs_shared

pytestmark = [pytest.mark.filterwarnings("ignore"), needs_shared]

TOKENIZERS = ("llama2-eos-normalized", "llama2-pad-is-eos", "llama2-pad-is-unk")
GENERATION_TEMPLATE = (
    "{% for m in messages %}{{ '<|' + m.role + '|>' }}{% if m.role == 'assistant' %}"
    "{% generation %}{{ m.content + eos_token }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}\n"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def dialogues() -> list[list[dict[str, Any]]]:
    path = SHARED / "data/ojousama/ojousamatalkscript200_gpt-3.5-1106ver.jsonl"
    return [json.loads(line)["messages"] for line in path.read_text(encoding="utf-8").splitlines()]


def plain_pairs() -> list[dict[str, Any]]:
    path = SHARED / "data/ojousama/ojousamatalkscript200.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def as_text() -> list[dict[str, Any]]:
    return [{"text": row["prompt"] + row["completion"].rstrip()} for row in plain_pairs()]


def as_message_pairs() -> list[dict[str, Any]]:
    return [{"prompt": turns[:-1], "completion": turns[-1:]} for turns in dialogues()]


def as_messages() -> list[dict[str, Any]]:
    return [{"messages": turns} for turns in dialogues()]


def as_conversations() -> list[dict[str, Any]]:
    return [{"conversations": [{"from": t["role"], "value": t["content"]} for t in turns]} for turns in dialogues()]


def longer_dialogues() -> list[dict[str, Any]]:
    """Several turns a row, from several dialogues."""
    turns = dialogues()
    return [{"messages": [*turns[i], *turns[i + 1][1:], *turns[i + 2][1:]]} for i in range(0, len(turns) - 2, 3)]


def with_template_variables() -> list[dict[str, Any]]:
    rows = as_messages()
    return [{**row, "chat_template_kwargs": {"mood": "calm" if i % 2 else "glad"}} for i, row in enumerate(rows)]


def assert_equal(
    rows: list[dict[str, Any]],
    tokenizer: str | Path,
    output_dir: Path,
    *,
    template: str | None = None,
    labels: dict[str, Any] | None = None,
    **options: Any,
) -> None:
    directory = SHARED / "data/tokenizers" / tokenizer if isinstance(tokenizer, str) else tokenizer
    theirs_tokenizer = tokenizer_of(directory)
    config = Config(labels=LabelsConfig(way="trl", **(labels or {})))
    if template is not None:
        theirs_tokenizer.chat_template = template
        path = output_dir / "template.jinja"
        path.write_text(template, encoding="utf-8")
        config = Config(labels=config.labels, tokenizer=TokenizerConfig(template=str(path)))
    setup = make_setup(str(directory), config)
    ours = [
        {"input_ids": one.input_ids, "labels": one.labels}
        for one in encode_records(setup, records_of(rows))
        if one.dropped is None
    ]
    theirs = prepared_by_trl(rows, theirs_tokenizer, output_dir, **options)
    assert len(ours) == len(theirs)
    for our, their in zip(ours, theirs, strict=True):
        assert our == their


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@pytest.mark.parametrize("rows", [as_text, plain_pairs, as_message_pairs, as_messages, as_conversations])
def test_every_shape(rows: Callable[[], list[dict[str, Any]]], tokenizer: str, tmp_path: Path) -> None:
    assert_equal(rows(), tokenizer, tmp_path)


@pytest.mark.parametrize("completion_only_loss", [True, False])
def test_completion_only_loss(completion_only_loss: bool, tmp_path: Path) -> None:
    options: dict[str, Any] = {"completion_only_loss": completion_only_loss}
    assert_equal(as_message_pairs(), "llama2-pad-is-unk", tmp_path, labels=options, **options)
    assert_equal(plain_pairs(), "llama2-eos-normalized", tmp_path, labels=options, **options)


@pytest.mark.parametrize("mode", ["keep_start", "keep_end"])
@pytest.mark.parametrize("max_length", [None, 24, 80])
def test_truncation_and_dropping(mode: str, max_length: int | None, tmp_path: Path) -> None:
    labels = {"max_length": max_length or "none", "truncation_mode": mode}
    assert_equal(
        as_message_pairs(),
        "llama2-pad-is-unk",
        tmp_path,
        labels=labels,
        max_length=max_length,
        truncation_mode=mode,
    )


def test_default_truncation_is_1024(tmp_path: Path) -> None:
    long = [
        {"prompt": "長い文章です。" * 400, "completion": "はい。"},
        {"prompt": "短い文章", "completion": "です。" * 900},
    ]
    assert_equal(long + plain_pairs()[:3], "llama2-pad-is-unk", tmp_path)


@pytest.mark.parametrize("rows", [as_messages, as_message_pairs, longer_dialogues])
def test_assistant_only_loss(rows: Callable[[], list[dict[str, Any]]], tmp_path: Path) -> None:
    options: dict[str, Any] = {"assistant_only_loss": True}
    assert_equal(rows(), "llama2-pad-is-unk", tmp_path, template=GENERATION_TEMPLATE, labels=options, **options)


def test_assistant_only_loss_with_the_masks_own_faults(tmp_path: Path) -> None:
    """transformers drops the tail tokens of a last multi-token character; users train on that."""
    template = GENERATION_TEMPLATE.replace("m.content + eos_token", "m.content")
    rows = [{"messages": [{"role": "user", "content": "嬉しい"}, {"role": "assistant", "content": "嬉🦜"}]}]
    options: dict[str, Any] = {"assistant_only_loss": True}
    assert_equal(rows, "llama2-pad-is-unk", tmp_path, template=template, labels=options, **options)


@pytest.mark.parametrize("name", ["qwen3", "qwen2_5", "llama3", "phi3", "glm4moe", "deepseekv3"])
def test_training_template_is_swapped_in(name: str, tmp_path: Path) -> None:
    import trl

    template = (Path(trl.__file__).parent / "chat_templates" / f"{name}.jinja").read_text(encoding="utf-8")
    options: dict[str, Any] = {"assistant_only_loss": True}
    assert_equal(longer_dialogues(), "llama2-pad-is-unk", tmp_path, template=template, labels=options, **options)


def test_tools_and_template_variables(tmp_path: Path) -> None:
    import trl

    template = (Path(trl.__file__).parent / "chat_templates/qwen3.jinja").read_text(encoding="utf-8")
    tool = {"type": "function", "function": {"name": "look_up", "description": "調べる", "parameters": {}}}
    rows = [{**row, "tools": json.dumps([tool], ensure_ascii=False)} for row in as_messages()]
    assert_equal(rows, "llama2-pad-is-unk", tmp_path, template=template)
    mood = "{% for m in messages %}{{ m.role + ':' + m.content + '\n' }}{% endfor %}{{ mood }}"
    assert_equal(with_template_variables(), "llama2-pad-is-unk", tmp_path, template=mood)


def test_a_row_without_assistant_tokens_is_refused_by_both(tmp_path: Path) -> None:
    rows = [{"messages": [{"role": "user", "content": "はい"}]}]
    options: dict[str, Any] = {"assistant_only_loss": True}
    with pytest.raises(LabelsError, match="SFTTrainer raises"):
        assert_equal(rows, "llama2-pad-is-unk", tmp_path, template=GENERATION_TEMPLATE, labels=options, **options)
    tokenizer = tokenizer_of(SHARED / "data/tokenizers/llama2-pad-is-unk")
    tokenizer.chat_template = GENERATION_TEMPLATE
    with pytest.raises(RuntimeError, match="no assistant tokens"):
        prepared_by_trl(rows, tokenizer, tmp_path, **options)


def test_a_live_tokenizer_gives_the_same(tmp_path: Path) -> None:
    tokenizer = tokenizer_of(SHARED / "data/tokenizers/llama2-eos-normalized")
    setup = make_setup(from_transformers(tokenizer), Config(labels=LabelsConfig(way="trl")))
    rows = plain_pairs()
    ours = [{"input_ids": one.input_ids, "labels": one.labels} for one in encode_records(setup, records_of(rows))]
    assert ours == prepared_by_trl(rows, tokenizer, tmp_path)
    assert all(one["labels"][-3:] == [829, 29879, 29958] for one in ours)
