"""A merged model is opened and let write, and what is wrong with it is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import finetooth
from finetooth.merging import trial as trial_module
from finetooth.merging.trial import Trial, available_bytes
from finetooth.messages import say
from tests.merging.test_checks import with_tokenizers
from tests.merging.test_merge import settings
from tests.merging.test_vocabulary import root as vocabularies  # noqa: F401
from tests.merging.toys import read_weights


def merged(
    config: dict[str, Any], output: Path, *, change: Callable[[Path], None] = lambda directory: None, **more: Any
) -> Trial:
    """Merge, change what came out, and try it."""
    found: list[Trial] = []

    def on_merged(try_out: Callable[[], Trial]) -> None:
        change(output)
        found.append(try_out())

    finetooth.merge(config, output, on_merged=on_merged, **more)
    return found[0]


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_tokenizers(tmp_path_factory.mktemp("healthy"))


def test_a_healthy_merge(healthy: Path, tmp_path: Path) -> None:
    one = merged(settings(healthy, "ties", out_dtype="bfloat16"), tmp_path / "merged")
    assert one.faults == ()
    assert (one.model_class, one.skipped, one.is_finite) == ("LlamaForCausalLM", None, True)
    assert 1 <= one.num_tokens <= trial_module.TOKENS
    (trip,) = one.round_trips
    assert trip.is_owner and trip.num_same == trip.num_probes > 50
    sentences = list(one.sentences())
    assert say("merging.trial_tokenizer", model=str(healthy / "base"), total=trip.num_probes) in sentences
    assert any("LlamaForCausalLM" in sentence for sentence in sentences)


def test_without_a_tokenizer_ids_are_written(models: Path, tmp_path: Path) -> None:
    one = merged(settings(models, "linear"), tmp_path / "merged", force=True)
    assert one.round_trips == ()
    assert one.faults == ()
    assert [int(word) for word in one.text.split()]
    assert say("merging.trial_not_scanned") in list(one.sentences())


def test_a_tokenizer_that_was_written_otherwise(healthy: Path, tmp_path: Path) -> None:
    def change(directory: Path) -> None:
        path = directory / "tokenizer.json"
        value = json.loads(path.read_text())
        value["normalizer"] = None
        path.write_text(json.dumps(value))

    one = merged(settings(healthy, "linear"), tmp_path / "merged", change=change)
    assert len(one.faults) == 1
    assert str(healthy / "a") in one.faults[0]


def test_a_union_keeps_the_pieces_of_all(vocabularies: Path, tmp_path: Path) -> None:  # noqa: F811
    config = {
        "merge_method": "linear",
        "models": [{"model": str(vocabularies / name)} for name in ("base", "a", "b")],
        "base_model": str(vocabularies / "base"),
        "parameters": {"weight": 1.0},
        "tokenizer_source": "union",
    }
    one = merged(config, tmp_path / "merged")
    assert one.faults == ()
    trips = {Path(trip.model).name: trip for trip in one.round_trips}
    assert {name: trip.is_owner for name, trip in trips.items()} == {"base": True, "a": False, "b": False}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("lm_head.weight", None, "`lm_head.weight`"),
        ("model.norm.weight", float("nan"), "no numbers"),
        ("model.norm.weight", "wide", "cannot run"),
    ],
)
def test_faults(name: str, value: float | str | None, message: str, healthy: Path, tmp_path: Path) -> None:
    def change(directory: Path) -> None:
        tensors = read_weights(directory)
        before = tensors.pop(name)
        if value is not None:
            tensors[name] = torch.ones(7) if value == "wide" else torch.full_like(before, float(value))
        save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})

    one = merged(settings(healthy, "linear"), tmp_path / "merged", change=change)
    assert len(one.faults) == 1
    assert message in one.faults[0]


def test_what_transformers_does_not_know_is_skipped(healthy: Path, tmp_path: Path) -> None:
    def change(directory: Path) -> None:
        (directory / "config.json").write_text('{"model_type": "never-heard-of"}')

    one = merged(settings(healthy, "linear"), tmp_path / "merged", change=change)
    assert (one.model_class, one.faults) == (None, ())
    assert one.skipped is not None and "never-heard-of" in one.skipped
    assert one.skipped in list(one.sentences())


def test_what_does_not_fit_into_memory_is_skipped(
    healthy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = available_bytes()
    assert free is None or free > 0
    monkeypatch.setattr(trial_module, "available_bytes", lambda: 1000)
    one = merged(settings(healthy, "linear"), tmp_path / "merged")
    assert one.model_class is None
    assert one.skipped is not None and "GB" in one.skipped
