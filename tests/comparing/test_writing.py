"""The formats of a comparison: each whole, none of them trusting what stands in records, names and answers."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest

from finetooth.comparing.comparison import compare
from finetooth.comparing.writing import render
from finetooth.errors import ConfigError, FinetoothError
from finetooth.messages import set_language
from finetooth.view.visible import cells
from tests.cli.conftest import Finetooth, finetooth  # noqa: F401
from tests.comparing.recorded import write_run

EVIL = '<script>alert(1)</script>"><img src=x onerror=alert(2)>\x1b[31m|`*_[x](http://e)'


@pytest.fixture
def two(tmp_path: Path) -> Path:
    runs = tmp_path / "runs"
    write_run(runs / "split", tokenizer="split", outcome="shows-literal", answers=("はい。</s> ええ。",))
    write_run(runs / "whole")
    return runs


@pytest.fixture
def evil(tmp_path: Path) -> Path:
    return write_run(tmp_path / "<img onerror=x>", answers=(EVIL,), questions=(EVIL,), data_hash="e" * 64)


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_a_page_holds_no_markup_of_others(two: Path, evil: Path) -> None:
    page = "".join(render(compare(two, evil), "html"))
    tags = Tags()
    tags.feed(page)
    names = {name for name, _ in tags.found}
    assert names.isdisjoint({"script", "img", "iframe", "a", "link"})
    assert not [
        attributes for _, attributes in tags.found if any(key.startswith("on") or key == "style" for key in attributes)
    ]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "\x1b" not in page
    assert "default-src 'none'" in page


def test_figures_of_a_page_are_well_formed(two: Path) -> None:
    page = "".join(render(compare(two), "html"))
    drawn = [part.partition("</svg>")[0] + "</svg>" for part in page.split('<svg class="chart"')[1:]]
    assert len(drawn) == 2  # loss, and the probability of stopping
    for part in drawn:
        tree = ET.fromstring('<svg class="chart"' + part)
        assert len(tree.findall("polyline")) == 2
        assert all("style" not in element.attrib for element in tree.iter())


def test_markdown_is_tables_and_text(two: Path, evil: Path) -> None:
    text = "".join(render(compare(two, evil), "markdown"))
    assert "<script" not in text and "<img" not in text and "](http" not in text and "\x1b" not in text
    for line in text.splitlines():
        if line.startswith("|---"):
            assert line.count("|") in (4, 5)
    rows = [line for line in text.splitlines() if line.startswith("| ") and "▷" in line]
    assert rows and all(row.count("|") == 5 for row in rows)


@pytest.mark.parametrize("width", [40, 60, 100, 160])
@pytest.mark.parametrize("language", ["en", "ja"])
def test_no_line_of_a_terminal_is_too_long(two: Path, evil: Path, width: int, language: str) -> None:
    set_language(language)
    text = "".join(render(compare(two, evil), "text", width=width))
    assert "\x1b" not in text
    assert [line for line in text.splitlines() if cells(line) > width] == []


def test_color_adds_nothing_to_the_text(two: Path) -> None:
    import re

    plain = "".join(render(compare(two), "text", width=100))
    painted = "".join(render(compare(two), "text", width=100, color=True))
    assert re.sub(r"\x1b\[[0-9;]*m", "", painted) == plain
    assert painted != plain


def test_files_by_their_endings(two: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    comparison = compare(two)
    written = [
        path.name
        for name in ("c.html", "c.md", "c.png", "c.txt", "c.json")
        for path in comparison.write(tmp_path / name)
    ]
    assert written == ["c.html", "c.md", "c-1.png", "c-2.png", "c.png", "c.txt", "c.json"]
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    markdown = (tmp_path / "c.md").read_text(encoding="utf-8")
    assert "](<c-1.png>)" in markdown
    assert json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))["entries"][0]["name"] == "split"
    assert not list(tmp_path.glob(".c*"))
    with pytest.raises(ConfigError, match=r"no format ends in `\.docx`"):
        comparison.write(tmp_path / "c.docx")


def test_without_matplotlib(two: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setattr("finetooth.documents.illustrated.find_spec", lambda name: None)
    comparison = compare(two)
    assert [path.name for path in comparison.write(tmp_path / "c.md")] == ["c.md"]
    assert "| split | 4 | 1 |" in (tmp_path / "c.md").read_text(encoding="utf-8")
    with pytest.raises(FinetoothError, match="not installed"):
        comparison.write(tmp_path / "c.png")
    assert not (tmp_path / "c.png").exists()


def test_the_command(two: Path, tmp_path: Path, finetooth: Finetooth) -> None:  # noqa: F811
    result = finetooth("compare", str(two))
    assert result.code == 0
    assert "How the answers end" in result.out
    result = finetooth("compare", str(two), "-o", str(tmp_path / "c.html"))
    assert result.out == ""
    assert (tmp_path / "c.html").is_file()
    result = finetooth("compare", str(two), "--format", "json", "--lang", "ja")
    assert json.loads(result.out)["settings"][0]["key"] == "tokenizer.path"
    result = finetooth("compare", str(two), "-o", str(tmp_path / "c.docx"))
    assert result.code == 2
    assert "-o comparison.html" in result.err
