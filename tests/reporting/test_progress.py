"""What a report tells: the facts of the first report, causes in the reader's language, and what ran."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import pytest

import finetooth
from finetooth.checking import count_records, findings_json
from finetooth.config import LabelsConfig, config_of
from finetooth.demo import tokenizer_path
from finetooth.documents import Block, Code, Figure, Formula, Heading, List, Paragraph, References, Table
from finetooth.documents.blocks import Line
from finetooth.errors import ConfigError, DataError
from finetooth.inspection import open_records
from finetooth.labels import make_setup
from finetooth.messages import speaking
from finetooth.reporting.progress import ProgressReport
from finetooth.reporting.sections import NAMES, SECTIONS
from finetooth.rules import select_rules
from finetooth.runs import ENVIRONMENT, FINDINGS, RECIPE
from tests.comparing.recorded import DATA, probe_of, write_run
from tests.shared_data import SHARED, needs_shared

COLLATOR = config_of({"labels.way": "completion-collator", "labels.response_template": "[/INST] "})


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """The report's three set-ups, in the order in which they were begun, checked as a run checks them."""
    runs = tmp_path / "runs"
    write_run(runs / "split", tokenizer="split", outcome="shows-literal", answers=("はい。</s> ええ。",) * 3)
    write_run(runs / "masked", tokenizer="masked", outcome="runs-on", answers=("はいはいはい",) * 3)
    write_run(runs / "whole", answers=("ごきげんよう。⟨</s>⟩",) * 3)
    labels = LabelsConfig(way="completion-collator", response_template="[/INST] ")
    for number, (name, tokenizer) in enumerate((("split", "split"), ("masked", "masked"), ("whole", "supervised"))):
        os.utime(runs / name / RECIPE, (number, number))
        setup = make_setup(str(tokenizer_path(tokenizer)), config_of({}))
        setup = type(setup)(tokenizer=setup.tokenizer, template=setup.template, labels=labels)
        records = list(open_records(DATA, config_of({}).data))[:20]
        found = findings_json(count_records(records, [setup], select_rules()).report)
        (runs / name / FINDINGS).write_text(json.dumps(found), encoding="utf-8")
        computed = {"function": "finetooth.loss.observed_loss", "label_smoothing": 0.0, "packing": "forest"}
        environment = {
            "finetooth": "0.1.0",
            "packages": {"transformers": "5.23.0", "torch": "2.13.0"},
            "loss": computed,
        }
        (runs / name / ENVIRONMENT).write_text(json.dumps(environment), encoding="utf-8")
    return runs


def section(report: ProgressReport, name: str, language: str = "en") -> list[Block]:
    """Return the blocks of a section."""
    with speaking(language):
        blocks = report.document().blocks
        titles = [index for index, block in enumerate(blocks) if isinstance(block, Heading) and block.level == 2]
        from finetooth.messages import say

        (start,) = [at for at in titles if blocks[at].text.endswith(f". {say(f'reporting.section_{name}')}")]  # type: ignore[union-attr]
    end = next((at for at in titles if at > start), len(blocks))
    return list(blocks[start + 1 : end])


def words(blocks: list[Block]) -> str:
    """Return everything that blocks say, line by line."""

    def plain(line: Line) -> str:
        return "".join(f"`{text}`" if style == "code" else text for text, style in line)

    said: list[str] = []
    for block in blocks:
        if isinstance(block, Paragraph):
            said.append(plain(block.line))
        elif isinstance(block, List):
            said += [plain(item) for item in block.items]
        elif isinstance(block, Table):
            said.append(" | ".join([block.corner, *block.head]))
            for row in block.rows:
                said.append(" | ".join(plain(cell) for cell in (row.label, *row.cells)))
        elif isinstance(block, Code):
            said += block.lines
        elif isinstance(block, Formula):
            said.append(block.term.plain)
        elif isinstance(block, References):
            said += [f"{one.text} {one.url}" for one in block.items]
    return "\n".join(said)


def test_sections_are_numbered_in_their_order(three: Path) -> None:
    headings = [
        block.text
        for block in finetooth.report(three).document().blocks
        if isinstance(block, Heading) and block.level == 2
    ]
    assert [text.partition(". ")[0] for text in headings] == [str(number) for number in range(1, len(headings) + 1)]
    assert headings[0] == "1. In short"
    assert [text.partition(". ")[2] for text in headings[-2:]] == ["What comes next", "References"]
    assert "What is new" not in "".join(headings) and "Merges" not in "".join(headings)


def test_every_section_has_a_title() -> None:
    from finetooth.messages import sentences

    for language in ("en", "ja"):
        titles = {
            key.removeprefix("section_") for key in sentences(language, "reporting") if key.startswith("section_")
        }
        assert titles == set(NAMES)
    assert set(SECTIONS) < set(NAMES)


def test_three_runs_in_short(three: Path) -> None:
    said = words(section(finetooth.report(three), "summary"))
    assert (
        "split: final loss 1.00; 3 of 3 answers show the terminator as text; LAB001 split-eos, because of TOK003"
        in said
    )
    assert "masked: final loss 1.00; 3 of 3 answers run on; LAB002 masked-eos, because of pad-is-eos" in said
    assert "whole: final loss 1.00; 3 of 3 answers stop" in said.splitlines()[-1]


@needs_shared
def test_the_facts_of_the_first_report(three: Path) -> None:
    names = ("llama2-eos-normalized", "llama2-pad-is-eos", "llama2-pad-is-unk")
    report = finetooth.report(
        three,
        inspect=str(SHARED / "data" / "report-example" / "text.jsonl"),
        model=[str(SHARED / "data" / "tokenizers" / name) for name in names],
        config=COLLATOR,
    )
    (table,) = [block for block in section(report, "labels") if isinstance(block, Table) and tuple(block.head) == names]
    rows = {row.label[0][0]: row.cells for row in table.rows}
    marked = [[text for text, style in cell if style == "differs"] for cell in rows["last labels"]]
    assert marked == [["829", "29879", "29958"], [], ["2"]]
    causes = words(section(report, "findings"))
    assert "`normalized: true`" in causes and "padding token" in causes
    assert "llama2-eos-normalized (text.jsonl) 100%" in causes
    assert "…/llama2-eos-normalized/tokenizer.json" in causes and str(SHARED) not in causes
    codes = {
        row.label[0][0].strip()
        for block in section(report, "findings")
        if isinstance(block, Table)
        for row in block.rows
    }
    assert {"LAB001", "LAB002", "TOK001", "TPL007", "DAT005"} <= codes


def test_causes_are_told_in_the_language_of_the_report(three: Path) -> None:
    report = finetooth.report(three)
    english, japanese = (words(section(report, "findings", language)) for language in ("en", "ja"))
    assert "which is not found after" in english and "一致しません" not in english
    assert "一致しません" in japanese and "which is not found after" not in japanese


def test_causes_of_a_run_that_keeps_one_language(three: Path) -> None:
    for path in three.glob(f"*/{FINDINGS}"):
        found = json.loads(path.read_text(encoding="utf-8"))
        for one in found["findings"]:
            del one["said"]
        path.write_text(json.dumps(found), encoding="utf-8")
    assert "which is not found after" in words(section(finetooth.report(three), "findings", "ja"))


def test_what_computed_the_loss(three: Path) -> None:
    report = finetooth.report(three)
    blocks = section(report, "loss")
    assert "L = −1/N ∑_(i,t:y_(i,t)≠−100) log p_θ(y_(i,t) | x_(i,<t))" in words(blocks)
    assert "finetooth observed_loss" in words(blocks)
    cited = words(section(report, "references"))
    source = Path(finetooth.__file__).with_name("loss.py").read_text(encoding="utf-8").splitlines()
    first = next(number for number, line in enumerate(source, 1) if line.startswith("def observed_loss("))
    assert f"loss.py, observed_loss, lines {first} to " in cited
    assert "transformers/blob/v5.23.0/src/transformers/loss/loss_utils.py#L" in cited
    assert "LabelSmoother" in words(blocks)  # which computed none of these


def test_lines_of_a_library_are_those_of_the_installed_version(three: Path) -> None:
    import re

    transformers = pytest.importorskip("transformers")
    cited = words(section(finetooth.report(three), "references"))
    first, last = map(int, re.search(r"loss_utils\.py#L(\d+)-L(\d+)", cited).groups())  # type: ignore[union-attr]
    path = Path(transformers.__file__).parent / "loss" / "loss_utils.py"
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[first - 1].startswith("def ForCausalLMLoss(")
    assert lines[last - 1].strip().startswith("return") and not lines[last].strip()


def test_settings_that_a_reader_asks_for_are_settings() -> None:
    from finetooth.config.keys import keys
    from finetooth.reporting.doing import _COMMON

    assert [key for key in _COMMON if key not in keys()] == []


def test_another_finetooth_is_named_without_lines(three: Path) -> None:
    for path in three.glob(f"*/{ENVIRONMENT}"):
        path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | {"finetooth": "0.0.1"}))
    cited = words(section(finetooth.report(three), "references"))
    assert "finetooth 0.0.1, loss.py, observed_loss None" in cited


def test_another_version_is_linked_without_lines(three: Path) -> None:
    for path in three.glob(f"*/{ENVIRONMENT}"):
        environment = json.loads(path.read_text(encoding="utf-8"))
        environment["packages"]["transformers"] = "4.30.0"
        path.write_text(json.dumps(environment), encoding="utf-8")
    cited = words(section(finetooth.report(three), "references"))
    assert "blob/v4.30.0/src/transformers/loss/loss_utils.py\n" in cited + "\n"
    assert "v4.30.0/src/transformers/loss/loss_utils.py#L" not in cited


def test_smoothing_has_its_own_formula(tmp_path: Path) -> None:
    run = write_run(tmp_path / "smooth", settings={"label_smoothing": 0.1})
    blocks = section(finetooth.report(run), "loss")
    assert [block.number for block in blocks if isinstance(block, Formula)] == [1, 2]
    assert "LabelSmoother" in words(blocks) and "computed none" not in words(blocks)


def test_an_example_with_its_labels(three: Path) -> None:
    said = words(section(finetooth.report(three), "example"))
    assert "[INST] <<SYS>>" in said and "labels:" in said
    assert "-100 ×" in said


def test_figures_are_numbered_through(three: Path) -> None:
    figures = [block for block in finetooth.report(three).document().blocks if isinstance(block, Figure)]
    assert [one.number for one in figures] == list(range(1, len(figures) + 1)) and figures


def test_what_is_new_since_a_run(three: Path) -> None:
    report = finetooth.report(three, since=three / "masked")
    said = words(section(report, "since"))
    assert "New since masked: 1." in said and "whole  trained" in said and "split" not in said
    assert "tokenizer.path | " in said
    nothing = words(section(finetooth.report(three, since=three / "whole"), "since"))
    assert nothing == "Nothing is newer than whole."


def test_since_a_run_that_is_not_among_those_named(three: Path) -> None:
    report = finetooth.report(three / "whole", since=three / "split")
    assert [entry.name for entry in report.comparison.entries] == ["split", "whole"]
    assert report.since == "split"
    with pytest.raises(ConfigError, match="several runs"):
        finetooth.report(three / "whole", since=three)


def test_sections_are_left_out_and_texts_put_in(three: Path, tmp_path: Path) -> None:
    own = tmp_path / "next.md"
    own.write_text("# Plan\n\n- merge **all** three\n", encoding="utf-8")
    report = finetooth.report(three, without=["versions", "loss"], texts={"next": own})
    page = str(report)
    assert "Versions" not in page and "The loss" not in page
    assert "merge all three" in page and "(to be written)" not in page
    assert "(to be written)" in str(finetooth.report(three))


def test_inspected_data_alone(tmp_path: Path) -> None:
    models = [str(tokenizer_path(name)) for name in ("split", "supervised")]
    report = finetooth.report(inspect=DATA, model=models, config=COLLATOR)
    assert report.document().title == f"Progress report: {Path(DATA).name}"
    assert "input_ids:" in words(section(report, "example"))
    assert "split | supervised" in words(section(report, "labels"))


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"without": ["weather"]}, ConfigError, "no section is called `weather`"),
        ({"texts": {"weather": "x.md"}}, ConfigError, "no section is called `weather`"),
        ({"texts": {"next": "absent.md"}}, DataError, "cannot be read"),
        ({"inspect": "x.jsonl"}, ConfigError, "--inspect needs --model"),
        ({"model": "x"}, ConfigError, "--model needs --inspect"),
    ],
)
def test_what_is_wrong_is_said(three: Path, options: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        finetooth.report(three, **options)


def test_there_is_nothing_to_report() -> None:
    with pytest.raises(ConfigError, match="nothing to report"):
        finetooth.report()


def test_paths_are_told_by_their_ends() -> None:
    from finetooth.reporting.showing import _without_folders

    assert _without_folders("in /home/a/b/tok/tokenizer.json, and") == "in …/tok/tokenizer.json, and"
    assert _without_folders("（/home/a/b/tok/x.json）、`/no`") == "（…/tok/x.json）、`/no`"
    assert _without_folders("`/home/a/runs/split/model/x.json`") == "`…/split/model/x.json`"
    assert _without_folders("https://example.org/a/b/c/d") == "https://example.org/a/b/c/d"
    assert _without_folders(r"in C:\Users\a\tok\x.json") == "in …/tok/x.json"


def test_merges_and_their_papers(three: Path, tmp_path: Path) -> None:
    merged = tmp_path / "merged"
    merged.mkdir()
    merge = {
        "merge_method": "ties",
        "base_model": "/home/somebody/models/base/model",
        "models": [{"model": f"/home/somebody/runs/{name}/model", "parameters": {"density": 0.5}} for name in "ab"],
    }
    (merged / "merge.yaml").write_text(json.dumps(merge), encoding="utf-8")  # JSON is YAML
    (merged / "probe.json").write_text(json.dumps(probe_of("runs-on", ("はい",), ("お元気？",))), encoding="utf-8")
    sentences = {"ja": {"message": "終わり方が異なります", "cause": "分割されます"}}
    cause = {"code": "splits-eos", "text": "it is split", "evidence": {}}
    finding = {"code": "MRG002", "name": "different-ending", "severity": "warning", "share": 1.0, "said": sentences}
    found = {"findings": [finding | {"cause": cause}], "not_run": []}
    (merged / FINDINGS).write_text(json.dumps(found), encoding="utf-8")
    report = finetooth.report(three, merged)
    assert "MRG002 different-ending" in words(section(report, "findings"))
    assert "分割されます" in words(section(report, "findings", "ja"))
    said = words(section(report, "merges"))
    assert "Merged: merged by ties [" in said
    assert "base_model | …/base/model" in said and "models[1] | …/b/model" in said
    assert "merged: 1 of 1 answers run on" in said
    assert "somebody" not in str(report)
    if importlib.util.find_spec("torch"):
        assert "https://arxiv.org/abs/2306.01708" in words(section(report, "references"))
    assert "merged" in words(section(report, "endings"))
