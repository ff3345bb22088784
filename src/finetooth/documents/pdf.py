"""Pages as PDF, printed by a Chromium, Chrome or Edge that is installed.

The page needs nothing but itself, so the browser is kept from everything else: no name is looked up, its profile is a
folder that is gone afterwards, the page's own policy lets no script through but its own, and unless root runs the
browser, it runs in its own sandbox.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from finetooth.errors import FinetoothError
from finetooth.messages import say
from finetooth.view.visible import harmless
from finetooth.writing import whole_path

VARIABLE = "FINETOOTH_CHROMIUM"
"""The environment variable that names the browser."""

TIMEOUT_S = 180
"""Seconds that a page is given: a hundred pages of token views take about ten."""

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge", "microsoft-edge")
_APPS = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
)
_WINDOWS = (r"Google\Chrome\Application\chrome.exe", r"Microsoft\Edge\Application\msedge.exe")
_SNAP = Path("snap/chromium/common")
"""Below the home: the folder that a browser packed as a snap may read; it has another /tmp than everyone else."""
_QUOTED = 3
"""Lines of what the browser complains of that are quoted."""


def write(page: Iterable[str], path: Path, *, timeout_s: float = TIMEOUT_S) -> None:
    """Print a page of HTML, whole or not at all.

    Args:
        page: The page, piece by piece; it needs nothing but itself. `html.render` makes it with `is_for_pdf`, and
            `slides.render` a deck.
        path: The file to write.
        timeout_s: Seconds after which the browser is ended.

    Raises:
        FinetoothError: No browser is installed, it fails or takes too long, or the file cannot be written.
    """
    browser = find_browser()
    # What the browser was killed over may still be written for a moment: that fails no page.
    scratch = tempfile.TemporaryDirectory(dir=_scratch(browser), prefix="finetooth-", ignore_cleanup_errors=True)
    with whole_path(path) as target, scratch as name:
        folder = Path(name)
        source, printed = folder / "page.html", folder / "page.pdf"
        with source.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(page)
        _print(browser, source, printed, timeout_s=timeout_s, where=str(path))
        shutil.copyfile(printed, target)


def find_browser() -> Path:
    """Return the browser that prints: that of the environment variable, or the first that is installed.

    Raises:
        FinetoothError: The variable names no program, or there is none.
    """
    named = os.environ.get(VARIABLE)
    if named:
        found = shutil.which(named)
        if found is None:
            raise FinetoothError(say("documents.no_such_browser", name=named), where=VARIABLE, help=f"unset {VARIABLE}")
        return Path(found)
    folders = [os.environ.get(name, "") for name in ("PROGRAMFILES", "PROGRAMFILES(X86)", "LOCALAPPDATA")]
    apps = [*_APPS, *(str(Path(folder, app)) for folder in folders if folder for app in _WINDOWS)]
    for name in (*_NAMES, *apps):
        found = shutil.which(name)
        if found is not None:
            return Path(found)
    raise FinetoothError(say("documents.no_browser"), help=say("documents.no_browser_help", variable=VARIABLE))


def _scratch(browser: Path) -> Path | None:
    """Return where the browser can read what is written for it; `None` is the usual place."""
    folder = Path.home() / _SNAP
    is_snap = "snap" in browser.resolve().parts or (
        browser.name == "chromium-browser" and Path("/snap/chromium").exists()
    )
    return folder if is_snap and folder.is_dir() else None


def _print(browser: Path, source: Path, printed: Path, *, timeout_s: float, where: str) -> None:
    said = printed.with_suffix(".log")
    try:
        with said.open("wb") as log:
            # A session of its own, so that the browser's many processes can be ended together, whatever happens here.
            process = subprocess.Popen(
                _command(browser, source, printed),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            try:
                code = process.wait(timeout=timeout_s)
            finally:
                _end(process)
    except subprocess.TimeoutExpired as error:
        raise FinetoothError(
            say("documents.browser_slow", name=str(browser), seconds=f"{timeout_s:g}"),
            where=where,
            help=say("documents.browser_help", variable=VARIABLE),
        ) from error
    except OSError as error:
        raise FinetoothError(
            say("documents.browser_failed", name=str(browser), reason=error.strerror or str(error)),
            where=where,
            help=say("documents.browser_help", variable=VARIABLE),
        ) from error
    if code != 0 or not _is_pdf(printed):
        raise FinetoothError(
            say("documents.browser_failed", name=str(browser), reason=_complaint(said) or f"exit {code}"),
            where=where,
            help=say("documents.browser_help", variable=VARIABLE),
        )


def _command(browser: Path, source: Path, printed: Path) -> Sequence[str]:
    # Chromium's sandbox does not work for root, where containers run most programs.
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    return [
        str(browser),
        "--headless",
        *(["--no-sandbox"] if is_root else []),
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-extensions",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
        "--no-default-browser-check",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        f"--user-data-dir={source.parent / 'profile'}",
        "--no-pdf-header-footer",
        "--generate-pdf-document-outline",
        f"--print-to-pdf={printed}",
        source.as_uri(),
    ]


def _end(process: subprocess.Popen[bytes]) -> None:
    """End what is left of the browser, and wait until it lets go of its folder."""
    if sys.platform != "win32":
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def _is_pdf(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(5) == b"%PDF-"
    except OSError:
        return False


def _complaint(path: Path) -> str:
    """Return the last of what the browser wrote, in one line, without its search for a desktop's message bus."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    telling = [line.strip() for line in lines if line.strip() and "dbus/" not in line]
    return " / ".join(harmless(line)[:200] for line in telling[-_QUOTED:])
