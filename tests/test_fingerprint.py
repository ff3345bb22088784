from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from finetooth.config import Config, LabelsConfig
from finetooth.demo import DIALOGUES, data_path, tokenizer_path
from finetooth.fingerprint import LabelHash, fingerprint, label_hash, probe_texts, rows
from finetooth.labels import encode_records, make_setup
from finetooth.records import read_records
from finetooth.tokenizer import load_tokenizer
from finetooth.types import Encoded
from tests.shared_data import SHARED, needs_shared
from tests.small_tokenizers import copy_of, llama_bpe, save_model


def row(input_ids: list[int], labels: list[int], dropped: str | None = None) -> Encoded:
    return Encoded(
        record_index=0,
        where="a:1",
        model="m",
        loader="tokenizers",
        labels_way="finetooth",
        text="",
        input_ids=input_ids,
        labels=labels,
        offsets=[(0, 0)] * len(input_ids),
        spans=(),
        dropped=dropped,
    )


def test_it_is_plain_json() -> None:
    one = fingerprint(make_setup(str(tokenizer_path("split"))))
    assert json.loads(json.dumps(one.to_json())) == one.to_json()
    assert set(one.to_json()) == {field.name for field in dataclasses.fields(one)}


def test_an_end_cut_into_pieces_shows() -> None:
    split, masked = (fingerprint(make_setup(str(tokenizer_path(name)))) for name in ("split", "masked"))
    assert split.probe_hash != masked.probe_hash
    assert masked.probes["。{eos_token}"][-1] == 2
    assert split.probes["。{eos_token}"][-1] != 2
    assert split.probes["{eos_token}"] == masked.probes["{eos_token}"] == [2]
    assert split.template_hash == masked.template_hash


def test_the_same_files_elsewhere_have_the_same_hashes(tmp_path: Path) -> None:
    copy = shutil.copytree(tokenizer_path("masked"), tmp_path / "copy")
    here, there = (fingerprint(make_setup(str(path))) for path in (tokenizer_path("masked"), copy))
    assert dataclasses.replace(there, model=here.model) == here


def test_spacing_of_a_file_changes_its_hash_alone(tmp_path: Path) -> None:
    copy = shutil.copytree(tokenizer_path("masked"), tmp_path / "copy")
    path = copy / "tokenizer.json"
    path.chmod(0o644)
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")), indent=2), encoding="utf-8")
    here, there = (fingerprint(make_setup(str(path))) for path in (tokenizer_path("masked"), copy))
    assert there.probe_hash == here.probe_hash
    assert there.files["tokenizer.json"] != here.files["tokenizer.json"]


def test_a_post_processor_shows(tmp_path: Path) -> None:
    plain = save_model(tmp_path / "plain", llama_bpe())
    bare = save_model(tmp_path / "bare", copy_of(llama_bpe(), post_processor=None))
    assert fingerprint(make_setup(str(plain))).probe_hash != fingerprint(make_setup(str(bare))).probe_hash


def test_labels_configuration_shows() -> None:
    model = str(tokenizer_path("masked"))
    one, other = (fingerprint(make_setup(model, Config(labels=LabelsConfig(train_on=on)))) for on in ("last", "all"))
    assert one.labels_hash != other.labels_hash
    assert one.probe_hash == other.probe_hash


def test_probes_are_named_alike_for_every_tokenizer(tmp_path: Path) -> None:
    ours = load_tokenizer(str(save_model(tmp_path / "m", llama_bpe(), eos_token="<pad>")))
    theirs = load_tokenizer(str(tokenizer_path("split")))
    assert set(probe_texts(ours)) >= set(probe_texts(theirs)) - {"{bos_token}{eos_token}{unk_token}{pad_token}"}
    assert probe_texts(ours)["。{eos_token}"] == "。<pad>"


@needs_shared
def test_the_class_that_loads_may_drift_from_the_file(tmp_path: Path) -> None:
    copy = shutil.copytree(SHARED / "data" / "tokenizers" / "llama2-eos-normalized", tmp_path / "copy")
    path = copy / "tokenizer_config.json"
    path.chmod(0o644)
    assert fingerprint(make_setup(str(copy))).file_probe_hash == fingerprint(make_setup(str(copy))).probe_hash
    config = json.loads(path.read_text(encoding="utf-8")) | {"tokenizer_class": "LlamaTokenizer"}
    path.write_text(json.dumps(config), encoding="utf-8")
    drifting = fingerprint(make_setup(str(copy)))
    assert drifting.probes["。{eos_token}"][-1] == 2
    assert drifting.file_probe_hash != drifting.probe_hash
    assert rows(drifting)["tokenizer.json alone"] == "gives other ids (TOK004)"


def test_label_hash_sees_ids_and_labels_and_not_the_order() -> None:
    one, two = row([1, 2, 3], [-100, 2, 3]), row([1, 2, 3], [-100, -100, 3])
    assert label_hash([one, two]) == label_hash([two, one])
    assert len({label_hash(rows) for rows in ([one], [two], [one, one], [one, two], [])}) == 5
    assert label_hash([row([1], [2]), row([2], [1])]) != label_hash([row([1], [1]), row([2], [2])])


def test_label_hash_does_not_run_rows_together() -> None:
    assert label_hash([row([1, 2], [1, 2])]) != label_hash([row([1], [1]), row([2], [2])])


def test_label_hash_leaves_out_what_a_trainer_drops() -> None:
    assert label_hash([row([1], [1]), row([2], [2], dropped="too long")]) == label_hash([row([1], [1])])


def test_label_hash_of_parts_is_that_of_the_whole() -> None:
    setup = make_setup(str(tokenizer_path("masked")))
    encodeds = list(encode_records(setup, read_records(data_path(DIALOGUES["ja"]))))
    first, second = LabelHash(), LabelHash()
    for encoded in encodeds[:7]:
        first.add(encoded)
    for encoded in encodeds[7:]:
        second.add(encoded)
    second.merge(first)
    assert second.hexdigest() == label_hash(iter(encodeds))


def test_a_tokenizer_without_unknown_token_has_a_fingerprint(tmp_path: Path) -> None:
    tokenizer = copy_of(llama_bpe())
    state = json.loads(tokenizer.to_str())
    state["model"] |= {"unk_token": None, "byte_fallback": False}
    model = save_model(tmp_path / "m", copy_of(tokenizer, model=state["model"]))
    assert fingerprint(make_setup(str(model))).probe_hash


@pytest.mark.parametrize("name", ["split", "masked", "supervised"])
def test_rows_in_words(name: str) -> None:
    found = rows(fingerprint(make_setup(str(tokenizer_path(name)))))
    assert found["tokenizer.json alone"] == "gives the same ids"
    assert found["class (loaded by)"] == "PreTrainedTokenizerFast (tokenizers)"
