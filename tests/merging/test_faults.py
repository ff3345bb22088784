"""What goes wrong is told, and nothing is lost."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import finetooth
from finetooth.errors import FinetoothError
from finetooth.merging.methods import METHODS
from tests.merging.test_merge import settings
from tests.merging.toys import family, files_of, read_weights, weights, write_model

KILLED = """
import os, signal, sys
import finetooth
from finetooth.merging.working import Pace

def kill(done, total):
    if done > total * {share}:
        os.kill(os.getpid(), signal.SIGKILL)

finetooth.merge({config!r}, {output!r}, pace=Pace(threads=2, chunk=4096), on_progress=kill, seed=3)
"""


@pytest.mark.parametrize("method", ["dare_ties", "linear"])
def test_a_killed_merge_goes_on_to_the_same_bytes(method: str, models: Path, tmp_path: Path) -> None:
    config = settings(models, method)
    whole = finetooth.merge(config, tmp_path / "merged", seed=3)
    expected = files_of(whole)
    shutil.rmtree(whole)
    script = KILLED.format(config=config, output=str(tmp_path / "merged"), share=0.4)
    process = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert process.returncode == -signal.SIGKILL, process.stderr
    work = tmp_path / ".merged.merging"
    assert not whole.exists()
    assert len((work / "journal.jsonl").read_text().splitlines()) > 2
    with pytest.raises(FinetoothError, match=r"unfinished(.|\n)*--resume"):
        finetooth.merge(config, whole, seed=3)
    told: list[int] = []
    finetooth.merge(config, whole, seed=3, resume=True, on_progress=lambda done, total: told.append(done))
    assert min(told) > sum(map(len, expected.values())) * 0.2  # what was whole is not done again
    assert files_of(whole) == expected
    assert not work.exists()


def test_another_merge_is_not_gone_on_with(models: Path, tmp_path: Path) -> None:
    config = settings(models, "linear")
    _stop_at(0.5, config, tmp_path / "merged")
    with pytest.raises(FinetoothError, match="its seed differs"):
        finetooth.merge(config, tmp_path / "merged", seed=1, resume=True)
    begun = files_of(tmp_path / ".merged.merging")
    with pytest.raises(FinetoothError, match="its configuration differs"):
        finetooth.merge({**config, "out_dtype": "float16"}, tmp_path / "merged", resume=True)
    now = files_of(tmp_path / ".merged.merging")
    # What was begun is as it was, and can still go on: another layout would have cut its weights short.
    assert [name for name in begun if name.endswith(".safetensors") and now[name] != begun[name]] == []
    with pytest.raises(FinetoothError, match="its configuration differs"):
        finetooth.merge(settings(models, "ties"), tmp_path / "merged", resume=True)
    finetooth.merge(settings(models, "ties"), tmp_path / "merged", force=True)


def test_after_the_machine_went_down_nothing_is_trusted(models: Path, tmp_path: Path) -> None:
    config = settings(models, "linear")
    expected = files_of(finetooth.merge(config, tmp_path / "merged"))
    shutil.rmtree(tmp_path / "merged")
    _stop_at(0.5, config, tmp_path / "merged")
    journal = tmp_path / ".merged.merging" / "journal.jsonl"
    lines = journal.read_text().splitlines()
    journal.write_text("\n".join([json.dumps({**json.loads(lines[0]), "boot": "another"}), *lines[1:], ""]))
    told: list[int] = []
    finetooth.merge(config, tmp_path / "merged", resume=True, on_progress=lambda done, total: told.append(done))
    assert min(told) < 10_000
    assert files_of(tmp_path / "merged") == expected


def test_changed_inputs_are_not_gone_on_with(tmp_path: Path) -> None:
    family(tmp_path)
    config = settings(tmp_path, "linear")
    _stop_at(0.5, config, tmp_path / "merged")
    shutil.rmtree(tmp_path / "b")
    write_model(tmp_path / "b", weights(77))
    with pytest.raises(FinetoothError, match="its inputs differs"):
        finetooth.merge(config, tmp_path / "merged", resume=True)


def _stop_at(share: float, config: dict[str, Any], output: Path) -> None:
    class Stopped(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done > share * total:
            raise Stopped

    with pytest.raises(Stopped):
        finetooth.merge(config, output, on_progress=stop)


def test_a_full_disk_loses_nothing(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = settings(models, "ties")
    expected = files_of(finetooth.merge(config, tmp_path / "whole"))
    written, pwrite = 0, os.pwrite

    def full(descriptor: int, data: Any, offset: int) -> int:
        nonlocal written
        written += len(data)
        if written > 20_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return pwrite(descriptor, data, offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(FinetoothError, match=r"the disk is full(.|\n)*--resume"):
            finetooth.merge(config, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
    resumed = files_of(finetooth.merge(config, tmp_path / "merged", resume=True))
    assert {name for name in expected if resumed[name] != expected[name]} == {"README.md"}


def test_room_is_taken_before_any_work(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, offset: int, length: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(FinetoothError, match="the disk is full"):
        finetooth.merge(settings(models, "ties"), tmp_path / "merged")


def damaged(header: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    """Return what rewrites a file's header."""

    def change(file: Path) -> None:
        raw = file.read_bytes()
        length = int.from_bytes(raw[:8], "little")
        values = json.loads(raw[8 : 8 + length])
        header(values)
        text = json.dumps(values).encode()
        file.write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + length :])

    return change


NORM = "model.norm.weight"


def _set(values: dict[str, Any], **fields: Any) -> None:
    values[NORM] |= fields


FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "cut short": (lambda file: os.truncate(file, file.stat().st_size - 100), "bytes, and its header speaks of"),
    "cut in the header": (lambda file: os.truncate(file, 50), "no safetensors file"),
    "empty": (lambda file: os.truncate(file, 0), "no safetensors file"),
    "a header of 1 TB": (
        lambda file: file.write_bytes((1 << 40).to_bytes(8, "little") + file.read_bytes()[8:]),
        "no safetensors file",
    ),
    "a header that is none": (lambda file: file.write_bytes((2).to_bytes(8, "little") + b"[]"), "no safetensors file"),
    "a tensor of 1 TB": (
        damaged(lambda values: _set(values, shape=[1 << 38], data_offsets=[0, 1 << 40])),
        "overlap|no tensor|speaks of",
    ),
    "a shape that is not its bytes": (damaged(lambda values: _set(values, shape=[17])), "need 68"),
    "an overlap": (damaged(lambda values: _set(values, data_offsets=[0, 64])), "overlap|to no tensor"),
    "a negative place": (damaged(lambda values: _set(values, data_offsets=[-64, 0])), "makes no sense"),
    "no places": (damaged(lambda values: values[NORM].pop("data_offsets")), "makes no sense"),
    "a quantized dtype": (damaged(lambda values: _set(values, dtype="I32")), "dtype I32, which cannot be merged"),
    "no such tensor": (
        damaged(lambda values: values.update({"model.other.weight": values.pop(NORM)})),
        r"`model.(norm|other).weight` is missing",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_damaged_files_are_refused(fault: str, models: Path, tmp_path: Path) -> None:
    shutil.copytree(models, tmp_path / "models")
    change, message = FAULTS[fault]
    change(tmp_path / "models" / "b" / "model.safetensors")
    with pytest.raises(FinetoothError, match=message) as caught:
        finetooth.merge(settings(tmp_path / "models", "linear"), tmp_path / "merged")
    assert caught.value.help
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize("place", [0, 600], ids=["read by the check", "seen while merging"])
def test_values_that_are_no_numbers(place: int, tmp_path: Path) -> None:
    family(tmp_path, vocab=600)  # embeddings of more elements than are read before a merge
    tensors = read_weights(tmp_path / "b")
    tensors["model.embed_tokens.weight"].view(-1)[place] = float("nan")
    shutil.rmtree(tmp_path / "b")
    write_model(tmp_path / "b", tensors, vocab=600)
    expected = (
        r"MRG004 damaged-weight: .*/b holds(.|\n)*model.embed_tokens.weight(.|\n)*--force"
        if place == 0
        else r"model.embed_tokens.weight` holds 1 values(.|\n)*/b(.|\n)*--force"
    )
    for method in ("linear", "ties", "slerp"):
        names = "b" if method == "slerp" else "abc"
        with pytest.raises(FinetoothError, match=expected):
            finetooth.merge(settings(tmp_path, method, names), tmp_path / f"merged-{method}")
    directory = finetooth.merge(settings(tmp_path, "linear"), tmp_path / "merged-linear", force=True)
    merged = read_weights(directory)["model.embed_tokens.weight"]
    assert int(merged.isnan().sum()) == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_tells_which_model_holds_them(method: str, value: float, tmp_path: Path) -> None:
    family(tmp_path, vocab=600)
    tensors = read_weights(tmp_path / "a")
    tensors["model.embed_tokens.weight"].view(-1)[600] = value  # not read before a merge
    shutil.rmtree(tmp_path / "a")
    write_model(tmp_path / "a", tensors, vocab=600)
    config = settings(tmp_path, method)
    cases = [config["parameters"]]
    if "weight" in config["parameters"]:
        cases.append({**config["parameters"], "weight": 0.0})  # models that count for nothing are looked at as well
    for number, parameters in enumerate(cases):
        with pytest.raises(FinetoothError, match=r"embed_tokens.weight` holds 1 values(.|\n)*/a\b"):
            finetooth.merge(config | {"parameters": parameters}, tmp_path / f"merged-{number}")


def test_values_that_float16_cannot_hold(tmp_path: Path) -> None:
    family(tmp_path, "a")
    config = settings(tmp_path, "slerp", "a", out_dtype="float16")
    tensors = read_weights(tmp_path / "a")
    tensors[NORM] *= 1e6
    shutil.rmtree(tmp_path / "a")
    write_model(tmp_path / "a", tensors)
    with pytest.raises(FinetoothError, match=r"beyond what float16 holds(.|\n)*bfloat16"):
        finetooth.merge(config, tmp_path / "merged")


def test_models_of_other_shapes(tmp_path: Path) -> None:
    family(tmp_path, "a")
    write_model(tmp_path / "small", weights(5, vocab=30), vocab=30)
    write_model(tmp_path / "deep", weights(5, layers=3), layers=3)
    thin = {name: one[..., ::2].contiguous() for name, one in weights(5).items()}
    write_model(tmp_path / "thin", thin)
    for name, message in {
        "small": r"vocabularies differ(.|\n)*tokenizer_source: union",
        "deep": r"`model.layers.2.[a-z_.]*` is missing",
        "thin": "has the shape",
    }.items():
        config = settings(tmp_path, "slerp", models=[{"model": str(tmp_path / name)}])
        with pytest.raises(FinetoothError, match=message):
            finetooth.merge(config, tmp_path / "merged", force=True)


def test_the_output_is_not_written_over(models: Path, tmp_path: Path) -> None:
    config = settings(models, "linear")
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("years of work")
    with pytest.raises(FinetoothError, match="holds no merge of finetooth"):
        finetooth.merge(config, foreign, force=True)
    merged = finetooth.merge(config, tmp_path / "merged")
    with pytest.raises(FinetoothError, match=r"merged model already(.|\n)*--force"):
        finetooth.merge(config, merged)
    before = files_of(merged)
    finetooth.merge(settings(models, "ties"), merged, force=True)
    assert files_of(merged) != before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["foreign", "merged"]
    (tmp_path / "empty").mkdir()
    finetooth.merge(config, tmp_path / "empty")


def test_two_merges_into_one_place(models: Path, tmp_path: Path) -> None:
    config = settings(models, "linear")

    def again(done: int, total: int) -> None:
        finetooth.merge(config, tmp_path / "merged", resume=True)

    with pytest.raises(FinetoothError, match="another merge writes there"):
        finetooth.merge(config, tmp_path / "merged", on_progress=again)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("./nowhere", "no such model"),
        ("owner/never-fetched", r"nor in the hub's cache(.|\n)*hf download"),
    ],
)
def test_models_that_are_not_there(name: str, message: str, models: Path, tmp_path: Path) -> None:
    with pytest.raises(FinetoothError, match=message):
        finetooth.merge(settings(models, "slerp", models=[{"model": name}]), tmp_path / "merged")


def test_bad_configs_of_models(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "a", tmp_path / "a")
    (tmp_path / "a" / "config.json").write_text("{")
    with pytest.raises(FinetoothError, match="JSON"):
        finetooth.merge(settings(models, "slerp", models=[{"model": str(tmp_path / "a")}]), tmp_path / "merged")
    (tmp_path / "a" / "model.safetensors").unlink()
    shutil.copy(models / "a" / "config.json", tmp_path / "a" / "config.json")
    with pytest.raises(FinetoothError, match="no weights"):
        finetooth.merge(settings(models, "slerp", models=[{"model": str(tmp_path / "a")}]), tmp_path / "merged2")
    index = {"weight_map": {"x": "../../etc/passwd"}}
    (tmp_path / "a" / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(FinetoothError, match="the index names"):
        finetooth.merge(settings(models, "slerp", models=[{"model": str(tmp_path / "a")}]), tmp_path / "merged3")
