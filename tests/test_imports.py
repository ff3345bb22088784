"""What a command loads: the torch-free commands start fast because they import little, and this holds them to it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from finetooth.rules import all_rules
from tests.merging.toys import family
from tests.sources import PACKAGE

HEAVY = {"torch", "transformers", "trl", "datasets", "pyarrow", "pandas", "peft", "accelerate", "matplotlib", "numpy"}

ASK = """
import json, sys
before = set(sys.modules)
sys.argv = ["finetooth", *{arguments!r}]
from finetooth.cli.main import main
code = main()
sys.stderr.write("\\n" + json.dumps([code, sorted({{name.partition(".")[0] for name in set(sys.modules) - before}})]))
"""


def loaded(*arguments: str, cwd: Path) -> tuple[int, set[str]]:
    """Return a command's exit code, and the packages beyond the standard library that it imported."""
    command = [sys.executable, "-c", ASK.format(arguments=list(arguments))]
    process = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", cwd=cwd, check=True)
    code, packages = json.loads(process.stderr.splitlines()[-1])
    return code, set(packages) - sys.stdlib_module_names - {"__main__"}


def test_help_imports_click_alone(tmp_path: Path) -> None:
    assert loaded("--help", cwd=tmp_path) == (0, {"click", "finetooth"})


def test_version_imports_click_alone(tmp_path: Path) -> None:
    assert loaded("--version", cwd=tmp_path) == (0, {"click", "finetooth"})


def test_config_imports_pydantic_only_to_judge(tmp_path: Path) -> None:
    assert loaded("config", cwd=tmp_path) == (0, {"click", "finetooth"})
    code, packages = loaded("config", "--set", "labels.way=trl", cwd=tmp_path)
    assert code == 0
    assert "pydantic" in packages
    assert not packages & HEAVY


def test_env_imports_none_of_what_it_lists(tmp_path: Path) -> None:
    assert loaded("env", cwd=tmp_path) == (0, {"click", "finetooth"})


@pytest.mark.parametrize("format_name", ["text", "json"])
def test_inspect_imports_nothing_heavy(format_name: str, tmp_path: Path) -> None:
    data = PACKAGE / "demo" / "data"
    model = str(data / "tokenizers" / "split")
    code, packages = loaded(
        "inspect", str(data / "example.messages.jsonl"), "--model", model, "--format", format_name, cwd=tmp_path
    )
    assert code == 0
    assert "tokenizers" in packages
    assert not packages & HEAVY


def test_demo_imports_nothing_heavy(tmp_path: Path) -> None:
    code, packages = loaded("demo", "--no-train", cwd=tmp_path)
    assert code == 0
    assert not packages & HEAVY


def test_merge_imports_no_more_than_it_computes_with(tmp_path: Path) -> None:
    family(tmp_path)
    code, packages = loaded(
        "merge", "a", "b", "--method", "linear", "--weight", "1", "--no-test", "-o", "merged", cwd=tmp_path
    )
    assert code == 0
    assert "torch" in packages
    assert not packages & {"pydantic", "transformers", "datasets", "peft", "accelerate", "matplotlib", "pyarrow"}


def test_rules_of_a_stage_are_imported_alone() -> None:
    assert all_rules("MRG") == tuple(rule for rule in all_rules() if rule.code.startswith("MRG")) != ()
    ask = "import sys; from finetooth.rules import all_rules; all_rules('MRG'); print(*sys.modules)"
    process = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    imported = re.findall(r"finetooth\.rules\.([a-z]{3})\d{3}_", process.stdout)
    assert imported == ["mrg"] * len(all_rules("MRG"))
