"""The formats of a report: each whole, none of them trusting what stands in records, names, answers and texts."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from finetooth.documents.pdf import find_browser
from finetooth.errors import FinetoothError
from finetooth.reporting.progress import report
from finetooth.reporting.writing import render
from tests.cli.conftest import Finetooth, finetooth  # noqa: F401
from tests.comparing.recorded import write_run

EVIL = '<script>document.title="run"</script>"><img src=x onerror=document.title="run">\x1b[31m|`*_[x](javascript:1)'


def _has_browser() -> bool:
    try:
        find_browser()
    except FinetoothError:
        return False
    return True


@pytest.fixture
def two(tmp_path: Path) -> Path:
    runs = tmp_path / "runs"
    write_run(runs / "split", tokenizer="split", outcome="shows-literal", answers=("はい。</s> ええ。",))
    write_run(runs / "whole")
    return runs


@pytest.fixture
def evil(tmp_path: Path) -> Path:
    return write_run(tmp_path / '"><img onerror=x>', answers=(EVIL,), questions=(EVIL,), data_hash="e" * 64)


@pytest.mark.parametrize("format_name", ["html", "slides"])
def test_pages_hold_no_markup_of_others(two: Path, evil: Path, tmp_path: Path, format_name: str) -> None:
    own = tmp_path / "own.md"
    own.write_text(f"# {EVIL}\n\n{EVIL}\n\n[link](javascript:alert(1))\n", encoding="utf-8")
    made = report(two, evil, texts={"next": own}, title=EVIL, author=EVIL)
    page = "".join(render(made, format_name))  # type: ignore[arg-type]
    assert "\x1b" not in page
    assert "<script>document" not in page and "<img" not in page
    assert 'href="javascript' not in page
    assert "default-src 'none'" in page


def test_markdown_holds_no_markup_of_others(two: Path, evil: Path) -> None:
    page = "".join(render(report(two, evil, title=EVIL, author=EVIL), "markdown"))
    assert "<script" not in page and "<img" not in page and "](javascript" not in page and "\x1b" not in page


def test_files_by_their_endings(two: Path, tmp_path: Path) -> None:
    made = report(two)
    for name in ("r.html", "r.txt"):
        assert made.write(tmp_path / name) == [tmp_path / name]
    (markdown, *pictures) = made.write(tmp_path / "r.md")
    text = markdown.read_text(encoding="utf-8")
    assert pictures and all(f"](<{picture.name}>)" in text and picture.is_file() for picture in pictures)
    assert "$$" in text
    made.write(tmp_path / "s.html", slides=True)
    assert 'id="slide-2"' in (tmp_path / "s.html").read_text(encoding="utf-8")
    with pytest.raises(FinetoothError, match=r"no format ends in `\.docx`"):
        made.write(tmp_path / "r.docx")
    with pytest.raises(FinetoothError, match="slides are pages or PDF"):
        made.write(tmp_path / "r.md", slides=True)
    assert "class=" in made._repr_html_() and "<html" not in made._repr_html_()


def test_pdf_without_a_browser(two: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETOOTH_CHROMIUM", str(tmp_path / "absent"))
    with pytest.raises(FinetoothError, match="no such program"):
        report(two).write(tmp_path / "r.pdf")
    assert not (tmp_path / "r.pdf").exists()


@pytest.mark.slow
@pytest.mark.skipif(not _has_browser(), reason="no Chromium, Chrome or Edge is installed")
def test_pdf(two: Path, evil: Path, tmp_path: Path) -> None:
    report(two, evil).write(tmp_path / "r.pdf")
    data = (tmp_path / "r.pdf").read_bytes()
    assert data.startswith(b"%PDF") and data.count(b"/Type /Page\n") + data.count(b"/Type /Page ") > 1
    if shutil.which("pdftotext"):
        said = subprocess.run(["pdftotext", str(tmp_path / "r.pdf"), "-"], capture_output=True, text=True).stdout
        assert "Supervised labels by tokenizer" in said
        assert re.search(r"<script>document\.title", said)  # as text, which a reader sees


def test_the_command(two: Path, tmp_path: Path, finetooth: Finetooth) -> None:  # noqa: F811
    result = finetooth("report", str(two))
    assert result.code == 0
    assert "Stop behaviour" in result.out
    result = finetooth("report", str(two), "--lang", "ja", "-o", str(tmp_path / "r.html"), "--author", "研究室")
    assert result.out == "" and "書き出しました" in result.err
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "進捗報告" in page and "研究室" in page and "停止のふるまい" in page
    result = finetooth("report", str(two), "--format", "slides", "-o", str(tmp_path / "s.html"))
    assert 'class="slide' in (tmp_path / "s.html").read_text(encoding="utf-8")
    for arguments, said in (
        (["--text", "next"], "--text next=next.md"),
        (["--without", "weather"], "no section is called `weather`"),
        (["--format", "slides", "-o", str(tmp_path / "s.md")], "slides are pages or PDF"),
    ):
        result = finetooth("report", str(two), *arguments)
        assert result.code == 2 and said in result.err
    assert not (tmp_path / "s.md").exists()
