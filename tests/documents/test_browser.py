"""Hostile documents in a real browser: nothing in them runs."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from finetooth.documents import html, markdown, slides
from finetooth.documents.pdf import find_browser
from finetooth.errors import FinetoothError
from tests.documents.samples import complaints, every_block, hostile

pytestmark = pytest.mark.slow

PROBE = "<script>document.title='ran'</script><img src=x onerror=document.title='ran'>"


@pytest.fixture(scope="module")
def browser() -> str:
    try:
        return str(find_browser())
    except FinetoothError:
        pytest.skip("no Chromium, Chrome or Edge is installed")


def dom(browser: str, page: str, tmp_path: Path, *, fragment: str = "") -> str:
    """Return what a browser has made of a page, once it is loaded."""
    path = tmp_path / "page.html"
    path.write_text(page, encoding="utf-8")
    root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    command = [browser, "--headless", *root, "--disable-gpu", "--virtual-time-budget=2000", "--dump-dom"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", f"{path.as_uri()}{fragment}"]
    return subprocess.run(command, capture_output=True, timeout=120, check=True).stdout.decode()


def title(shown: str) -> str:
    return str(re.findall(r"<title>(.*?)</title>", shown, flags=re.DOTALL)[0])


def test_the_test_sees_what_runs(browser: str, tmp_path: Path) -> None:
    """Or the others would hold of anything."""
    assert title(dom(browser, f"<title>still</title>{PROBE}", tmp_path)) == "ran"


def test_the_policy_alone_would_hold(browser: str, tmp_path: Path) -> None:
    page = "".join(html.render(every_block())).replace("<main", f"{PROBE}<main")
    assert title(dom(browser, page, tmp_path)) == "text · text"


@pytest.mark.parametrize("form", ["page", "slides", "fragment", "markdown"])
def test_nothing_runs(browser: str, form: str, tmp_path: Path) -> None:
    """Escaping alone holds as well: the policy is taken out of the page."""
    head = "<!doctype html><meta charset=utf-8><title>still</title>"
    if form == "fragment":
        page = head + html.fragment(hostile())
    elif form == "markdown":
        page = head + MarkdownIt("commonmark", {"html": True}).enable("table").render(
            "".join(markdown.render(hostile()))
        )
    else:
        page = "".join((html if form == "page" else slides).render(hostile()))
        page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
        page = re.sub(r"<title>.*?</title>", "<title>still</title>", page, count=1, flags=re.DOTALL)
    shown = dom(browser, page, tmp_path)
    assert title(shown) == "still"
    assert list(complaints(shown, num_scripts=int(form == "slides"))) == []


def test_the_decks_script_is_let_through_by_its_policy(browser: str, tmp_path: Path) -> None:
    page = "".join(slides.render(every_block()))
    press = "dispatchEvent(new KeyboardEvent('keydown', {key: 'End', bubbles: true}));document.title = location.hash;"
    with_press = page.replace("})();\n</script>", "})();\n</script><script>" + press + "</script>")
    # The deck's own script passes by its hash; the one that presses a key for it has none.
    assert title(dom(browser, with_press, tmp_path)) == "text · text"
    without_policy = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", with_press)
    last = re.findall(r'id="(slide-\d+)"', page)[-1]
    assert title(dom(browser, without_policy, tmp_path)) == f"#{last}"
