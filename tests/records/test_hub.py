"""Hub data sets without the network: from the caches that datasets and `hf download` leave.

Each is read by its hub id in a process of its own, since datasets reads the environment when it is imported. The first
cache is prepared by datasets itself, from a file, and then put where it puts what comes from the hub
(`<cache>/owner___name/<configuration>/<version>/<hash>`); the second is the hub's own layout (`refs`, `snapshots`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from finetooth.records.hub import is_hub_id
from tests.records.files import failure

PREPARE = """
import json, shutil, sys
from pathlib import Path
import datasets, pyarrow as pa, pyarrow.parquet as pq
from datasets.packaged_modules.json.json import Json

datasets.disable_progress_bars()
home = Path(sys.argv[1])
source = home / "rows.jsonl"
source.write_text('{"text": "a"}\\n{"text": "b", "n": 1}\\n')
for name, configuration in (("TinyRows", "default"), ("Two", "one"), ("Two", "two")):
    builder = Json(dataset_name=name, data_files={"train": str(source), "test": str(source)}, hash="0")
    builder.download_and_prepare()
    snake = {"TinyRows": "tiny_rows", "Two": "two"}[name]
    target = home / f"datasets/owner___{snake}/{configuration}/0.0.0/0"
    shutil.copytree(builder.cache_dir, target)
    info = json.loads((target / "dataset_info.json").read_text())
    (target / "dataset_info.json").write_text(json.dumps({**info, "config_name": configuration}))

def snapshot(repository, revision, rows):
    folder = home / f"hub/datasets--{repository.replace('/', '--')}"
    commit = revision[0] * 40
    (folder / "refs").mkdir(parents=True, exist_ok=True)
    (folder / "refs" / revision).write_text(commit)
    data = folder / "snapshots" / commit / "data"
    data.mkdir(parents=True)
    return data

pq.write_table(pa.table({"text": ["m0", "m1"]}), snapshot("owner/Snapshot", "main", []) / "train-00000.parquet")
pq.write_table(pa.table({"text": ["v0"]}), snapshot("owner/Snapshot", "v1", []) / "train-00000.parquet")
pq.write_table(pa.table({"text": ["t0"]}), snapshot("owner/TinyRows", "v1", []) / "train-00000.parquet")
images = pa.table({"text": ["x"], "image": [{"bytes": b"no image", "path": None}]})
features = {"info": {"features": {"text": {"dtype": "string", "_type": "Value"}, "image": {"_type": "Image"}}}}
images = images.replace_schema_metadata({"huggingface": json.dumps(features)})
pq.write_table(images, snapshot("owner/Images", "main", []) / "train-00000.parquet")
"""

READ = """
import json, sys
from finetooth.config import DataConfig
from finetooth.errors import FinetoothError
from finetooth.records import read_records

for source, config in json.loads(sys.argv[1]):
    try:
        found = [[record.where, record.text] for record in read_records(source, DataConfig(**config))]
    except FinetoothError as error:
        found = [type(error).__name__, error.what, error.where, error.help]
    print(json.dumps(found))
"""

CASES: dict[str, tuple[str, dict[str, str]]] = {
    "prepared": ("owner/TinyRows", {}),
    "prepared address": ("hf://datasets/owner/TinyRows", {}),
    "prepared split": ("owner/TinyRows", {"split": "test"}),
    "prepared slice": ("owner/TinyRows", {"split": "train[1:]"}),
    "prepared revision": ("owner/TinyRows", {"revision": "v1"}),
    "prepared other revision": ("owner/TinyRows", {"revision": "v2"}),
    "configuration": ("owner/Two", {"name": "two"}),
    "no configuration": ("owner/Two", {}),
    "other configuration": ("owner/Two", {"name": "tow"}),
    "snapshot": ("owner/Snapshot", {}),
    "snapshot revision": ("owner/Snapshot", {"revision": "v1"}),
    "snapshot address": ("hf://datasets/owner/Snapshot@v1", {}),
    "snapshot file": ("hf://datasets/owner/Snapshot/data/train-00000.parquet", {}),
    "split": ("owner/TinyRows", {"split": "tets"}),
    "slice": ("owner/TinyRows", {"split": "tets[1:]"}),
    "images": ("owner/Images", {}),
    "missing": ("owner/Missing", {}),
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """Read every case, in one process."""
    home = tmp_path_factory.mktemp("home")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGINGFACE_"))}
    environ |= {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    for program, argument in ((PREPARE, str(home)), (READ, json.dumps(list(CASES.values())))):
        process = subprocess.run(
            [sys.executable, "-c", program, argument], capture_output=True, text=True, env=environ, cwd=home
        )
        assert process.returncode == 0, process.stderr
    return dict(zip(CASES, map(json.loads, process.stdout.splitlines()), strict=True))


@pytest.mark.parametrize(
    ("case", "texts"),
    [
        ("prepared", ["a", "b"]),
        ("prepared address", ["a", "b"]),
        ("prepared split", ["a", "b"]),
        ("prepared slice", ["b"]),
        # What datasets has prepared knows no revision: the snapshot of that revision is taken.
        ("prepared revision", ["t0"]),
        ("configuration", ["a", "b"]),
        ("snapshot", ["m0", "m1"]),
        ("snapshot revision", ["v0"]),
        ("snapshot address", ["v0"]),
        ("snapshot file", ["m0", "m1"]),
    ],
)
def test_rows_and_places(found: dict[str, list[Any]], case: str, texts: list[str]) -> None:
    assert found[case] == [[f"{CASES[case][0]}[{row}]", text] for row, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("case", "what", "remedy"),
    [
        ("split", "no split `tets`; there are `train`, `test`", "--set data.split=test"),
        ("slice", 'the data set `owner/TinyRows` cannot be loaded: Unknown split "tets"', "--set data.split=train"),
        ("no configuration", "the data set `owner/Two` cannot be loaded: There are multiple", "--set data.name="),
        ("other configuration", "the data set `owner/Two` cannot be loaded: Couldn't find", "--set data.name=one"),
        ("missing", "the hub cannot be reached, and `owner/Missing` is in no local cache",
         "hf download owner/Missing --repo-type dataset"),
        ("prepared other revision", "the hub cannot be reached, and `owner/TinyRows` is in no local cache",
         "hf download owner/TinyRows --repo-type dataset"),
    ],
)  # fmt: skip
def test_what_cannot_be_loaded(found: dict[str, list[Any]], case: str, what: str, remedy: str) -> None:
    kind, said, where, help = found[case]
    assert kind == "DataError"
    assert said.startswith(what)
    assert "\n" not in said
    assert where == CASES[case][0]
    assert help.startswith(remedy)


def test_images_are_refused_without_being_decoded(found: dict[str, list[Any]]) -> None:
    _, said, where, _ = found["images"]
    assert said.startswith("a row with images, sound or video (column `image`)")
    assert where == "owner/Images[0]"


@pytest.mark.parametrize(
    ("source", "is_id"),
    [
        ("owner/name", True),
        ("Owner-1/name_2.3", True),
        ("hf://datasets/owner/name", True),
        ("name", False),
        ("a/b/c", False),
        ("./owner/name", False),
        ("/owner/name", False),
        ("owner/na me", False),
        ("hf://models/owner/name", False),
    ],
)
def test_hub_ids(source: str, is_id: bool) -> None:
    assert is_hub_id(source) is is_id


@pytest.mark.parametrize("source", ["hf://models/owner/name", "hf://datasets/name", "hf://datasets/"])
def test_an_address_that_is_none(source: str) -> None:
    error = failure(source)
    assert error.what == f"`{source}` is not the address of a data set"
    assert error.help == "write it as `hf://datasets/owner/name`"
