from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from finetooth.checking import check_records
from finetooth.config import Config, LabelsConfig
from finetooth.demo import tokenizer_path
from finetooth.errors import ConfigError, FinetoothError
from finetooth.formats.baseline import Baseline, StaleEntry, apply, baseline_of, read, write
from finetooth.formats.text import render
from finetooth.labels import make_setup
from finetooth.messages import set_language
from finetooth.records import records_of
from finetooth.rules import select_rules
from finetooth.types import Place
from tests.formats.samples import (
    broken,
    byte_fallback,
    check_golden,
    healthy,
    make_finding,
    make_part,
    make_report,
    normalized_special,
    pad_is_eos,
    split_eos,
)

NOTHING = Baseline(records={}, setups={})


def test_golden(tmp_path: Path) -> None:
    path = tmp_path / "known.json"
    write(path, make_report(make_part([replace(split_eos(), hashes=("bb", "aa")), normalized_special(), pad_is_eos()])))
    check_golden("baseline.json", path.read_text(encoding="utf-8"))


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write(tmp_path / "known.json", broken())
    assert read(tmp_path / "known.json") == baseline_of(broken())


def test_what_is_known_is_not_told_again() -> None:
    reduced, stale = apply(broken(), baseline_of(broken()))
    assert [part.findings for part in reduced.parts] == [(), ()]
    assert stale == ()
    assert [part.endings for part in reduced.parts] == [part.endings for part in broken().parts]


def test_an_empty_baseline_changes_nothing() -> None:
    assert apply(broken(), NOTHING) == (broken(), ())


def test_counts_and_places_are_those_of_new_records() -> None:
    hashes = split_eos().hashes
    known = Baseline(records={"LAB001": frozenset(hashes[:1] + hashes[2:150])}, setups={})
    reduced, stale = apply(make_report(make_part([split_eos()])), known)
    (finding,) = reduced.findings
    assert (finding.count, finding.share) == (51, 51 / 200)
    # The sentence of the rule was made when all records were counted.
    assert finding.message == f"{split_eos().message}; 51 of these 200 records are new since the baseline"
    assert [place.record for place in finding.places] == [1]
    assert finding.views == split_eos().views[1:2]
    assert finding.hashes == (hashes[1], *hashes[150:])
    assert stale == ()


def test_places_that_are_known_are_not_shown() -> None:
    known = Baseline(records={"LAB001": frozenset(split_eos().hashes[:3])}, setups={})
    reduced, _ = apply(make_report(make_part([split_eos()])), known)
    assert (reduced.findings[0].count, reduced.findings[0].places) == (197, ())
    assert "197 of 200 records (98.5%)" in "".join(render(reduced, width=80, color=False))


def test_a_setup_is_known_by_code_and_cause_wherever_the_model_lies() -> None:
    known = baseline_of(make_report(make_part([normalized_special(), pad_is_eos()])))
    moved = replace(pad_is_eos(), model="/elsewhere", places=(Place(record=-1, where="/elsewhere"),))
    assert apply(make_report(make_part([moved])), known)[0].findings == ()
    other = replace(normalized_special(), cause=None)
    assert [f.code for f in apply(make_report(make_part([other])), known)[0].findings] == ["TOK003"]


def test_what_followed_from_something_known_stands_by_itself() -> None:
    known = baseline_of(make_report(make_part([split_eos()])))
    reduced, _ = apply(make_report(make_part([split_eos(), normalized_special()])), known)
    assert [(f.code, f.folded_under) for f in reduced.findings] == [("TOK003", None)]


def test_what_is_no_longer_there_is_stale() -> None:
    known = baseline_of(make_report(make_part([replace(byte_fallback(), hashes=("b", "a")), normalized_special()])))
    _, stale = apply(healthy(), known)
    assert stale == (
        StaleEntry(code="TOK008", record="a", cause=None),
        StaleEntry(code="TOK008", record="b", cause=None),
        StaleEntry(code="TOK003", record=None, cause="normalized"),
    )
    assert [entry.code for entry in apply(healthy(), known, codes={"TOK003"})[1]] == ["TOK003"]


def test_a_record_with_another_fault_is_new() -> None:
    known = baseline_of(make_report(make_part([make_finding("LAB001", hashes=("a",))])))
    report = make_report(make_part([make_finding("LAB002", hashes=("a",))]))
    assert [finding.code for finding in apply(report, known)[0].findings] == ["LAB002"]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("", "the baseline is not JSON: "),
        ('{"finetooth_baseline": 1, "records"', "the baseline is not JSON: "),
        ("[" * 100_000, "the baseline is not JSON: "),
        (b"\xff\xfe", "the baseline is not JSON: "),
        ("[]", "the baseline is not one that finetooth wrote"),
        ("{}", "the baseline is not one that finetooth wrote"),
        ('{"finetooth_baseline": true}', "the baseline is not one that finetooth wrote"),
        ('{"finetooth_baseline": 0}', "the baseline is not one that finetooth wrote"),
        ('{"finetooth_baseline": 9}', "the baseline has version 9, and this finetooth reads version 1"),
        (
            '{"finetooth_baseline": 1, "setups": {}}',
            "the baseline holds `null` under `records`, where an object belongs",
        ),
        (
            '{"finetooth_baseline": 1, "records": {"LAB001": ["a", 5]}, "setups": {}}',
            'the baseline holds `["a", 5]` under `records.LAB001`, where a list of texts belongs',
        ),
        (
            '{"finetooth_baseline": 1, "records": {}, "setups": {"TOK003": "x"}}',
            'the baseline holds `"x"` under `setups.TOK003`, where a list of texts belongs',
        ),
    ],
)
def test_a_broken_baseline_is_refused(content: str | bytes, what: str, tmp_path: Path) -> None:
    path = tmp_path / "known.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    for language in ("ja", "en"):
        set_language(language)
        with pytest.raises(ConfigError) as caught:
            read(path)
    assert caught.value.what.startswith(what)
    assert caught.value.where == str(path)
    assert caught.value.help


def test_a_missing_baseline_and_a_directory(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no baseline"):
        read(tmp_path / "none.json")
    with pytest.raises(ConfigError, match="the baseline cannot be read"):
        read(tmp_path)


def test_an_unwritable_baseline(tmp_path: Path) -> None:
    with pytest.raises(FinetoothError):
        write(tmp_path / "none" / "known.json", healthy())


class TestOnRecords:
    """Records are known by their content, wherever they stand."""

    ROWS = tuple({"prompt": f"問{n}", "completion": f"答え{n}。"} for n in range(20))

    def check(self, rows: list[dict[str, Any]], where: str = "<memory>") -> Any:
        config = Config(labels=LabelsConfig(way="causal-lm"))
        setup = make_setup(str(tokenizer_path("masked")), config)
        rules = select_rules(("LAB002", "LAB003", "LAB005"))
        return check_records(records_of(rows, where=where), [setup], rules, keep_hashes=True)

    def test_rows_in_another_order_are_known(self, tmp_path: Path) -> None:
        rows = list(self.ROWS)
        before = self.check(rows)
        assert before.findings, "the sample has to be at fault"
        write(tmp_path / "known.json", before)
        random.Random(0).shuffle(rows)
        reduced, stale = apply(self.check(rows, "other.jsonl"), read(tmp_path / "known.json"))
        assert (reduced.findings, stale) == ((), ())

    def test_a_new_row_is_told_and_a_lost_one_is_stale(self) -> None:
        known = baseline_of(self.check(list(self.ROWS)))
        rows = [{"prompt": "新しい", "completion": "答え。"}, *self.ROWS[:-1]]
        reduced, stale = apply(self.check(rows), known)
        for finding in reduced.findings:
            assert (finding.count, [place.where for place in finding.places]) == (1, ["<memory>[0]"])
        assert {finding.code for finding in reduced.findings} == {entry.code for entry in stale}
