"""The rules that read weights: on models that transformers wrote, on broken files, and in several processes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from finetooth import checking
from finetooth.checking import SetupReport, check_records
from finetooth.config import Config, TokenizerConfig
from finetooth.demo import tokenizer_path
from finetooth.labels import Setup, Trained, make_setup
from finetooth.records import records_of
from finetooth.rules import select_rules
from finetooth.types import Finding
from tests.weights import matrix, write_model, write_raw

ROWS = [
    {"messages": [{"role": "user", "content": "ごきげんよう。"}, {"role": "assistant", "content": f"はい、{number}。"}]}
    for number in range(8)
]
LORA: dict[str, Any] = {"method": "lora", "target_modules": ("all-linear",)}


def part_of(setup: Setup, processes: int = 1) -> SetupReport:
    rules = select_rules(("RUN004", "RUN005"))
    return check_records(records_of(ROWS), [setup], rules, processes=processes).parts[0]


def setup_of(model: Path, **trained: Any) -> Setup:
    setup = make_setup(str(model), Config(tokenizer=TokenizerConfig(loader="tokenizers")))
    return replace(setup, trained=Trained(directory=model, **trained)) if trained else setup


def causes(part: SetupReport) -> dict[str, str]:
    return {finding.cause.code: finding.severity for finding in part.findings if finding.cause is not None}


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """Return a toy Llama with the demo's tokenizer, as transformers writes it."""
    pytest.importorskip("torch")
    from tests.training.recipes import save_model

    return save_model(tmp_path / "toy")


def rewrite(directory: Path, change: Any, **saving: Any) -> None:
    """Load a model with transformers, change it, and write it again in BF16."""
    import torch
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    with torch.no_grad():
        change(model)
    model.to(torch.bfloat16)
    for path in directory.glob("model*.safetensors*"):
        path.unlink()
    model.save_pretrained(directory, **saving)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("saving", [{}, {"max_shard_size": "100KB"}], ids=["one file", "shards"])
def test_a_model_of_transformers(toy: Path, saving: dict[str, Any]) -> None:
    assert causes(part_of(setup_of(toy, **LORA))) == {}

    def change(model: Any) -> None:
        model.get_input_embeddings().weight[2] = 1e-23  # `</s>`, as in Llama 3
        model.get_output_embeddings().weight[2] = 0

    rewrite(toy, change, **saving)
    assert (toy / "model.safetensors.index.json").is_file() == bool(saving)
    assert causes(part_of(setup_of(toy, **LORA))) == {"norm-near-zero": "error"}
    assert causes(part_of(setup_of(toy))) == {"norm-near-zero": "warning"}
    assert causes(part_of(setup_of(toy, method="full"))) == {}


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_vocabulary_that_transformers_enlarged(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from tokenizers import AddedToken, Tokenizer

    from tests.training.recipes import save_model

    tokenizer = Tokenizer.from_file(str(tokenizer_path("supervised") / "tokenizer.json"))
    toy = save_model(tmp_path / "toy", vocab_size=tokenizer.get_vocab_size())
    tokenizer.add_tokens([AddedToken(text, special=True, normalized=False) for text in ("<|im_start|>", "<|im_end|>")])
    path = toy / "tokenizer.json"
    path.chmod(0o644)
    tokenizer.save(str(path))
    chatml = Config(tokenizer=TokenizerConfig(loader="tokenizers", template="chatml"))

    def report() -> SetupReport:
        return part_of(replace(make_setup(str(toy), chatml), trained=Trained(directory=toy, **LORA)))

    assert causes(report()) == {"no-row": "error"}
    rewrite(toy, lambda model: model.resize_token_embeddings(tokenizer.get_vocab_size()))
    part = report()
    assert causes(part) == {"mean-row": "error"}
    (finding,) = part.findings
    assert finding.cause is not None
    assert finding.cause.evidence["pieces"] == ["<|im_end|>", "<|im_start|>"]
    assert finding.cause.evidence["tensors"] == ["model.embed_tokens.weight", "lm_head.weight"]
    assert finding.count == len(ROWS)


def broken(directory: Path) -> None:
    (directory / "model.safetensors").write_bytes(b"\xff" * 16)


def quantized(directory: Path) -> None:
    entry = {"dtype": "U8", "shape": [4, 4], "data_offsets": [0, 16]}
    write_raw(directory / "model.safetensors", {"model.embed_tokens.weight": entry}, bytes(16))


def config_is_no_json(directory: Path) -> None:
    write_model(directory, {"model.embed_tokens.weight": matrix(2048, 4)})
    (directory / "config.json").write_text("{", encoding="utf-8")


def demo_model(directory: Path) -> Path:
    directory.mkdir()
    for path in tokenizer_path("supervised").iterdir():
        (directory / path.name).write_bytes(path.read_bytes())
    return directory


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [(broken, "no safetensors file"), (quantized, "U8"), (config_is_no_json, "config.json")],
)
def test_weights_that_cannot_be_read_are_told_of(spoil: Any, reason: str, tmp_path: Path) -> None:
    setup = setup_of(demo_model(tmp_path / "model"), **LORA)
    spoil(tmp_path / "model")
    part = part_of(setup)
    assert part.findings == ()
    assert [code for code, _ in part.not_run] == ["RUN004", "RUN005"]
    assert all(reason in text for _, text in part.not_run)


def test_a_directory_without_weights_is_passed_over(tmp_path: Path) -> None:
    for trained in ({}, LORA):
        part = part_of(setup_of(demo_model(tmp_path / f"model{len(trained)}"), **trained))
        assert (part.findings, part.not_run) == ((), ())


def test_weights_without_embeddings_are_passed_over(tmp_path: Path) -> None:
    model = demo_model(tmp_path / "model")
    write_model(model, {"vision.patches.weight": matrix(4, 4)})
    part = part_of(setup_of(model))
    assert (part.findings, part.not_run) == ((), ())


def test_weights_of_zeros_are_passed_over(tmp_path: Path) -> None:
    model = demo_model(tmp_path / "model")
    write_model(model, {"model.embed_tokens.weight": [[0.0] * 4 for _ in range(2048)]})
    assert part_of(setup_of(model)).findings == ()


def test_several_processes_find_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = demo_model(tmp_path / "model")
    rows = matrix(2048, 8)
    rows[2] = rows[1]
    write_model(model, {"model.embed_tokens.weight": rows})
    setup = setup_of(model, **LORA)
    monkeypatch.setattr(checking, "FEW", 4)
    monkeypatch.setattr(checking, "_BATCH", 2)
    one, several = part_of(setup), part_of(setup, processes=2)
    assert one.findings == several.findings
    assert [finding.code for finding in one.findings] == ["RUN004"]


def test_a_mixture_of_precisions_is_compared(tmp_path: Path) -> None:
    """A matrix that is kept twice, once in less precision, is one still."""
    from tests.weights import encode

    model = demo_model(tmp_path / "model")
    config = json.loads((model / "config.json").read_text(encoding="utf-8")) | {"tie_word_embeddings": True}
    (model / "config.json").write_text(json.dumps(config), encoding="utf-8")

    def found(other: float) -> tuple[Finding, ...]:
        rows = matrix(2048, 4)
        whole, half = encode(rows, "F32"), encode([[value * other for value in row] for row in rows], "BF16")
        header = {
            "model.embed_tokens.weight": {"dtype": "F32", "shape": [2048, 4], "data_offsets": [0, len(whole)]},
            "lm_head.weight": {"dtype": "BF16", "shape": [2048, 4], "data_offsets": [len(whole), len(whole + half)]},
        }
        write_raw(model / "model.safetensors", header, whole + half)
        return part_of(setup_of(model)).findings

    assert found(1.0) == ()
    assert [finding.code for finding in found(1.1)] == ["RUN005"]
