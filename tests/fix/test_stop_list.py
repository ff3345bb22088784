from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from finetooth.fix.edits import Edit
from finetooth.fix.stop_list import repair_stop_list
from tests.fix.stages import bench_of, merge
from tests.small_tokenizers import byte_bpe, save_model

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
ROW = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}]}


def chatml(folder: Path, **files: dict[str, Any]) -> tuple[Path, int]:
    """Save a tokenizer whose EOS is not the end of its chat template's turns; return it and the id of that end."""
    model = save_model(folder, byte_bpe())
    (model / "chat_template.jinja").write_text(CHATML)
    for name, values in files.items():
        merge(model / f"{name}.json", values)
    end = Tokenizer.from_file(str(model / "tokenizer.json")).token_to_id("<|im_end|>")
    assert end is not None
    return model, end


@pytest.mark.parametrize(
    ("files", "before"),
    [
        ({}, [2]),
        ({"config": {"eos_token_id": 2}}, [2]),
        ({"generation_config": {"eos_token_id": 2, "do_sample": True}}, [2]),
        ({"generation_config": {"eos_token_id": [2, 1]}, "config": {"eos_token_id": 3}}, [2, 1]),
    ],
)
def test_what_training_teaches_is_added(files: dict[str, Any], before: list[int], tmp_path: Path) -> None:
    model, end = chatml(tmp_path / "m", **files)
    bench = bench_of(model, [ROW], tmp_path)
    (edit,) = repair_stop_list(bench)
    assert isinstance(edit, Edit)
    assert "<|im_end|>" in edit.text
    assert bench.copy.files.generation_config == files.get("generation_config", {}) | {"eos_token_id": [*before, end]}
    assert bench.survey().endings == {"stops": 1}
    assert list(repair_stop_list(bench)) == []


def test_a_list_that_holds_it_is_left(tmp_path: Path) -> None:
    model, end = chatml(tmp_path / "m")
    merge(model / "generation_config.json", {"eos_token_id": [2, end]})
    bench = bench_of(model, [ROW], tmp_path)
    assert list(repair_stop_list(bench)) == []
    assert bench.copy.changes() == []


def test_an_eos_token_that_the_files_in_force_do_not_list(tmp_path: Path) -> None:
    model, end = chatml(
        tmp_path / "m", generation_config={"eos_token_id": 2}, tokenizer_config={"eos_token": "<|im_end|>"}
    )
    bench = bench_of(model, [ROW], tmp_path)
    list(repair_stop_list(bench))
    assert bench.copy.files.generation_config["eos_token_id"] == [2, end]
