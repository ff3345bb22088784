from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from finetooth.config import Config, LabelsConfig, TokenizerConfig
from finetooth.demo import DIALOGUES, EXAMPLE, data_path
from finetooth.errors import FinetoothError
from finetooth.fingerprint import label_hash
from finetooth.fix.repair import Repaired, repair
from finetooth.inspection import open_records
from finetooth.labels import encode_records, make_setup
from finetooth.rules import all_rules, select_rules
from tests.differential.sft_trainer import prepared_by_trl
from tests.fix.stages import codes, demo, names, read_rows, repaired, write_rows
from tests.rules.fixtures import build_model
from tests.shared_data import SHARED, needs_shared

ENDS = {"LAB001", "LAB002", "LAB003"}
COLLATOR = Config(labels=LabelsConfig(way="completion-collator", response_template="[/INST] "))


def repair_on(stage: Path, data: Path, model: Path, config: Config = COLLATOR) -> Repaired:
    stage.mkdir()
    return repair([str(data)], str(model), config, stage, rules=all_rules())


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["split", "masked"])
@pytest.mark.parametrize("way", ["finetooth", "completion-collator", "causal-lm", "trl"])
def test_the_broken_tokenizers_of_the_demo(name: str, way: str, tmp_path: Path) -> None:
    config = Config(labels=LabelsConfig(way=way, response_template="[/INST]"))  # type: ignore[arg-type]
    one = repair_on(tmp_path / "s", data_path(EXAMPLE), demo(name, tmp_path / "m"), config)
    assert not codes(one.after) & {*ENDS, "TOK003", "RUN001", "RUN002"}
    assert one.after.parts[0].endings == {"stops": 1}
    loaded = AutoTokenizer.from_pretrained(str(one.model.directory))
    assert loaded("です。</s>", add_special_tokens=False)["input_ids"][-1] == 2
    assert loaded.pad_token_id == 0


@pytest.mark.filterwarnings("ignore")
def test_the_trainer_then_learns_the_end(tmp_path: Path) -> None:
    one = repair_on(tmp_path / "s", data_path(EXAMPLE), demo("split", tmp_path / "m"), Config())
    rows = [{"prompt": f"[INST] 紅茶は{n}杯？ [/INST]", "completion": " 好きですわ。"} for n in range(3)]
    tokenizer = AutoTokenizer.from_pretrained(str(one.model.directory))
    prepared = prepared_by_trl(rows, tokenizer, tmp_path / "out", max_length=None)
    assert [row["labels"][-1] for row in prepared] == [2, 2, 2]


@pytest.mark.filterwarnings("ignore")
@needs_shared
def test_the_example_of_the_report(tmp_path: Path) -> None:
    data = SHARED / "data" / "report-example" / "text.jsonl"
    one = repair_on(tmp_path / "s", data, SHARED / "data" / "tokenizers" / "llama2-eos-normalized")
    assert {"LAB001", "TOK003", "RUN002", "TOK001"} <= codes(one.before)
    assert not codes(one.after) & {*ENDS, "TOK003", "RUN002", "TOK001"}
    tokenizer = AutoTokenizer.from_pretrained(str(one.model.directory))
    assert tokenizer("です。</s>", add_special_tokens=False)["input_ids"][-1] == 2
    pairs = read_rows(SHARED / "data" / "ojousama" / "ojousamatalkscript200.jsonl")[:20]
    prepared = prepared_by_trl(pairs, tokenizer, tmp_path / "out", max_length=None)
    assert {row["labels"][-1] for row in prepared} == {2}


@needs_shared
@pytest.mark.parametrize("name", ["llama2-eos-normalized", "llama2-pad-is-eos", "llama2-pad-is-unk"])
def test_the_same_tokenizer_comes_of_all_three(name: str, tmp_path: Path) -> None:
    data = SHARED / "data" / "report-example" / "text.jsonl"
    one = repair_on(tmp_path / "s", data, SHARED / "data" / "tokenizers" / name)
    healthy = make_setup(str(SHARED / "data" / "tokenizers" / "llama2-pad-is-unk"), COLLATOR)
    records = list(open_records([str(data)] if one.data is None else [str(one.data.paths[0])], COLLATOR.data))
    assert one.fingerprint.label_hash == label_hash(encode_records(healthy, records))


@pytest.mark.parametrize("name", ["split", "masked", "supervised"])
@pytest.mark.parametrize("file", [EXAMPLE, DIALOGUES["ja"], DIALOGUES["en"]])
def test_fixed_twice_is_fixed_once(name: str, file: str, tmp_path: Path) -> None:
    first = repair_on(tmp_path / "1", data_path(file), demo(name, tmp_path / "m"))
    data = first.data.paths[0] if first.data is not None else data_path(file)
    second = repair_on(tmp_path / "2", data, first.model.directory)
    assert second.edits == ()
    assert second.data is None
    assert files_of(second.model.directory) == files_of(first.model.directory)
    assert second.fingerprint.label_hash == first.fingerprint.label_hash


def test_healthy_data_is_left_alone(tmp_path: Path) -> None:
    model = demo("supervised", tmp_path / "m")
    one = repair_on(tmp_path / "s", data_path(DIALOGUES["ja"]), model, Config())
    assert (one.edits, one.offered, one.left, one.data) == ((), (), (), None)
    assert files_of(one.model.directory) == files_of(model)


def test_rules_that_are_left_out_are_not_mended(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    rules = select_rules(ignore=("TOK003", "LAB001"))
    model = demo("split", tmp_path / "m")
    one = repair([str(data_path(EXAMPLE))], str(model), COLLATOR, tmp_path / "s", rules=rules)
    assert "added-token-flags" not in names(one)
    assert "padding-token" in names(one)


def test_what_an_edit_of_rows_teaches_is_a_stop_token(tmp_path: Path) -> None:
    # No row ends, so nothing is taught; once the EOS is written, generation_config.json has to list it.
    model = demo("supervised", tmp_path / "m", generation_config={"eos_token_id": 5}, config={"eos_token_id": 5})
    one = repaired(model, [{"text": "[INST] a [/INST] b"}], tmp_path, way="causal-lm")
    assert names(one) == ["absent-eos", "stop-list"]
    assert json.loads((one.model.directory / "generation_config.json").read_text())["eos_token_id"] == [5, 2]
    assert "RUN001" not in codes(one.after)


def test_where_no_row_would_be_left_none_is_dropped(tmp_path: Path) -> None:
    one = repaired(demo("split", tmp_path / "m"), [{"prompt": "a", "completion": ""}], tmp_path)
    assert one.data is None
    assert [left.text for left in one.left] == ["no row would be left: every answer is empty"]
    assert "added-token-flags" in names(one)


def test_standard_input(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    with pytest.raises(FinetoothError, match="can be read once"):
        repair(["-"], str(demo("split", tmp_path / "m")), Config(), tmp_path / "s", rules=all_rules())


def test_a_model_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    # A snapshot holds links into a store of contents, as huggingface_hub makes it.
    store, snapshot = demo("split", tmp_path / "blobs"), tmp_path / "snapshot"
    snapshot.mkdir()
    for path in store.iterdir():
        (snapshot / path.name).symlink_to(path)
    before = files_of(store)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(snapshot))
    (tmp_path / "s").mkdir()
    one = repair([str(data_path(EXAMPLE))], "someone/model", COLLATOR, tmp_path / "s", rules=all_rules())
    assert not codes(one.after) & ENDS
    assert one.fingerprint.model == "someone/model"
    assert not any(path.is_symlink() for path in one.model.directory.iterdir())
    assert files_of(store) == before


def test_what_the_weights_show_is_not_repaired_by_leaving_them_out(tmp_path: Path) -> None:
    spec = {"base": "byte_bpe", "tokenizer_config": {"bos_token": None}, "weights": {"embed": {"zero": ["<|im_end|>"]}}}
    turns = [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Good day."}]
    data = write_rows(tmp_path / "train.jsonl", [{"messages": turns}])
    model = build_model(spec, tmp_path / "m")
    one = repair_on(tmp_path / "s", data, model, Config(tokenizer=TokenizerConfig(template="chatml")))
    assert one.edits
    assert "model.safetensors" in one.model.left_out
    assert (codes(one.before), codes(one.after)) == ({"RUN001", "RUN004"}, {"RUN004"})
