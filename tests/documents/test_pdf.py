"""PDF: by whatever browser there is, which may be none, fail, or never end."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from finetooth.documents import html, pdf, slides
from finetooth.errors import FinetoothError
from finetooth.messages import set_language
from tests.documents.samples import every_block

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the stand-ins for a browser are shell scripts")


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in place of the browser; the test writes what it does."""
    path = tmp_path / "browser"
    monkeypatch.setenv(pdf.VARIABLE, str(path))
    return path


def does(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)


TO = 'for a in "$@"; do case "$a" in --print-to-pdf=*) to="${a#*=}";; file:*) from="${a#file://}";; esac; done\n'


def test_the_page_is_handed_over_and_the_result_moved_into_place(stand_in: Path, tmp_path: Path) -> None:
    arguments = tmp_path / "arguments"
    does(stand_in, TO + f'printf "%s\\n" "$@" > "{arguments}"; (printf "%%PDF-"; cat "$from") > "$to"')
    target = tmp_path / "図 1.pdf"
    target.write_text("before")
    pdf.write(["<p>", "あ"], target)
    assert target.read_text(encoding="utf-8") == "%PDF-<p>あ"
    given = arguments.read_text().splitlines()
    assert {"--headless", "--disable-gpu", "--no-pdf-header-footer"} <= set(given)
    assert ("--no-sandbox" in given) == (os.geteuid() == 0)
    folder = Path(next(one for one in given if one.startswith("--user-data-dir=")).partition("=")[2]).parent
    assert not folder.exists()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["arguments", "browser", "図 1.pdf"]


@pytest.mark.parametrize(
    "script", ["echo 'cannot open \033[31m display' >&2; exit 7", "exit 0", TO + 'echo no > "$to"']
)
def test_a_browser_that_fails_leaves_the_earlier_file(stand_in: Path, tmp_path: Path, script: str) -> None:
    does(stand_in, script)
    target = tmp_path / "a.pdf"
    target.write_text("before")
    with pytest.raises(FinetoothError, match="could not print the page") as caught:
        pdf.write(["x"], target)
    assert target.read_text() == "before"
    assert caught.value.where == str(target)
    assert ("cannot open ␛[31m display" in caught.value.what) == ("cannot" in script)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.pdf", "browser"]


def test_a_browser_that_never_ends_is_ended_with_its_children(stand_in: Path, tmp_path: Path) -> None:
    alive = tmp_path / "alive"
    does(stand_in, f'(while :; do date > "{alive}"; sleep 0.05; done) & wait')
    with pytest.raises(FinetoothError, match=r"within 0\.5 seconds"):
        pdf.write(["x"], tmp_path / "a.pdf", timeout_s=0.5)
    alive.unlink(missing_ok=True)
    time.sleep(0.3)
    assert not alive.exists()


def test_a_file_that_is_no_program(stand_in: Path, tmp_path: Path) -> None:
    does(stand_in, "")
    stand_in.write_bytes(b"\x00\x01")
    with pytest.raises(FinetoothError, match="could not print the page"):
        pdf.write(["x"], tmp_path / "a.pdf")


def test_the_first_that_is_installed_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf, "_APPS", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FinetoothError, match="none is installed") as caught:
        pdf.find_browser()
    assert pdf.VARIABLE in (caught.value.help or "")
    for name in ("msedge", "google-chrome", "chromium"):
        does(tmp_path / name, "")
        assert pdf.find_browser() == tmp_path / name
    monkeypatch.setenv(pdf.VARIABLE, str(tmp_path / "msedge"))
    assert pdf.find_browser() == tmp_path / "msedge"
    monkeypatch.setenv(pdf.VARIABLE, "no-such-browser")
    with pytest.raises(FinetoothError, match="no-such-browser") as caught:
        pdf.find_browser()
    assert caught.value.help == f"unset {pdf.VARIABLE}"


@pytest.mark.slow
def test_a_real_browser_prints_japanese_that_can_be_copied(tmp_path: Path) -> None:
    try:
        pdf.find_browser()
    except FinetoothError:
        pytest.skip("no Chromium, Chrome or Edge is installed")
    if shutil.which("pdftotext") is None:
        pytest.skip("pdftotext (poppler-utils) is not installed")
    set_language("ja")
    document = every_block("教師ラベルの終端")
    for name, page in (("page", html.render(document, is_for_pdf=True)), ("deck", slides.render(document))):
        path = tmp_path / f"{name}.pdf"
        pdf.write(page, path)
        # Lines are folded within words: Japanese has no blanks.
        text = subprocess.run(["pdftotext", str(path), "-"], capture_output=True, check=True).stdout.decode()
        assert "教師ラベルの終端" in "".join(text.split())
        info = subprocess.run(["pdfinfo", str(path)], capture_output=True, check=True).stdout.decode()
        sizes = {"page": "594.96 x 841.92", "deck": "960 x 540"}
        assert sizes[name] in info or (name == "deck" and "959.76 x 540" in info)
        if name == "deck":
            assert f"Pages:           {''.join(slides.render(document)).count('<section class=')}\n" in info
