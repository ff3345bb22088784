"""Every rule finds its bad fixtures, for the causes that they name, and leaves its good ones alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetooth.rules import all_rules
from tests.rules.fixtures import check_fixture, fixture_paths, load
from tests.rules.merge_fixtures import check_merge_fixture

FIXTURES = [pytest.param(path, id=f"{path.parent.name}/{path.stem}") for path in fixture_paths()]


@pytest.mark.parametrize("path", FIXTURES)
def test_fixture(path: Path, tmp_path: Path) -> None:
    fixture = load(path)
    part = (check_merge_fixture if "merge" in fixture else check_fixture)(fixture, tmp_path)
    by_code = {finding.code: finding for finding in reversed(part.findings)}  # the worst of each
    assert set(by_code) == set(fixture.get("expect", []))
    for code, cause in fixture.get("cause", {}).items():
        causes = {finding.cause.code for finding in part.findings if finding.code == code and finding.cause}
        assert causes == ({cause} if isinstance(cause, str) else set(cause))
    for code, severity in fixture.get("severity", {}).items():
        assert by_code[code].severity == severity
    assert {code for code, _ in part.not_run} == set(fixture.get("not_run", []))
    if path.name.startswith("bad"):
        assert path.parent.name in by_code, "a bad fixture shows its own rule"
    else:
        assert not by_code, "a good fixture shows nothing"


@pytest.mark.parametrize("rule", all_rules(), ids=lambda rule: rule.code)
def test_every_rule_has_fixtures_and_documentation(rule: object) -> None:
    from finetooth.rules import Rule

    assert isinstance(rule, Rule)
    names = [path.name for path in fixture_paths() if path.parent.name == rule.code]
    assert any(name.startswith("bad") for name in names)
    assert any(name.startswith("good") for name in names)
    for section in ("What it does", "Why it is bad", "Example", "Fix", "Fix safety", "Sources"):
        assert section in rule.documentation, f"{rule.code} lacks {section}"
