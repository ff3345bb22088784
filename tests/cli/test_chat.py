"""`finetooth chat`, fed by a pipe and at a terminal."""

from __future__ import annotations

import io
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch")

from tests.chatting.scripted import (
    WORDS,
    save_leaking,
    save_running_on,
    save_stopping,
)
from tests.cli.conftest import Finetooth, Result

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save_stopping(folder / "stops")
    save_leaking(folder / "leaks")
    save_running_on(folder / "runs-on")
    return folder


# A pipe ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def piped(finetooth: Finetooth, monkeypatch: pytest.MonkeyPatch) -> Finetooth:
    def run(*arguments: str) -> Result:
        *arguments_, text = arguments
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode("utf-8", "surrogateescape"))))
        return finetooth("chat", *arguments_)

    return run


def test_a_transcript(piped: Finetooth, models: Path) -> None:
    result = piped(str(models / "stops"), "--color", "never", "こんにちは\n/why\n")
    assert (result.code, result.err) == (0, "")
    end = "stopped at ⟨</s>⟩ (2), a stop id of generation_config.json"
    assert result.out.startswith(
        f"> こんにちは\n{WORDS}⟨</s>⟩\n─ {end}\n\n> /why\nprompt: 13 tokens (template 9, question 4)\n"
    )
    assert result.out.endswith(f"end\n  {end}\n\n")
    assert "\x1b" not in result.out


def test_two_models(piped: Finetooth, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = (str(models / "stops"), "--compare", str(models / "leaks"), "--max-new-tokens", "20")
    monkeypatch.setenv("COLUMNS", "80")
    beside = piped(*arguments, "こんにちは\n").out
    row = next(line for line in beside.splitlines() if "⟨</s>⟩" in line and "</s>" in line.partition("│")[2])
    assert row.startswith(f"{WORDS}⟨</s>⟩")
    monkeypatch.setenv("COLUMNS", "40")
    below = piped(*arguments, "こんにちは\n").out
    assert "│" not in below
    assert below.count("─ ") == 2
    assert below.index("stopped at") < below.index("cut at the limit")


def test_errors_do_not_end_a_pipe_and_are_told(piped: Finetooth, models: Path) -> None:
    result = piped(str(models / "stops"), "/wy\nはい")
    assert result.code == 2
    assert "did you mean `/why`?" in result.err
    assert f"{WORDS}⟨</s>⟩" in result.out


def test_an_empty_pipe(piped: Finetooth, models: Path) -> None:
    assert piped(str(models / "stops"), "") == Result(0, "", "")


def test_what_is_not_utf8(piped: Finetooth, models: Path) -> None:
    result = piped(str(models / "stops"), "はい\n\udc82\udca0\n")
    assert result.code == 2
    assert "stdin:2" in result.err
    assert WORDS in result.out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("nowhere",), "nowhere"),
        (("{models}/stops", "--temperature", "-1"), "--temperature"),
        (("{models}/stops", "--top-p", "0.5"), "--top-p has no effect"),
        (("{models}/stops", "--seed", "1"), "--seed has no effect"),
        (("{models}/stops", "--persona", "nowhere.yaml"), "nowhere.yaml"),
        (("{models}/stops", "--persona", "p.yaml", "--system", "x"), "--system cannot be given"),
        (("{models}/stops", "--template", "nosuch"), "nosuch"),
        (("{models}/stops", "--adapter", "nowhere"), "cannot be loaded"),
    ],
)
def test_what_is_refused(arguments: tuple[str, ...], complaint: str, piped: Finetooth, models: Path) -> None:
    result = piped(*(one.replace("{models}", str(models)) for one in arguments), "はい\n")
    assert result.code == 2
    assert complaint in result.err
    assert result.out == ""


def test_a_model_without_a_template(piped: Finetooth, models: Path, tmp_path: Path) -> None:
    save_stopping(tmp_path / "m")
    (tmp_path / "m" / "chat_template.jinja").unlink()
    result = piped("m", "はい\n")
    assert result.code == 2
    assert result.err == (
        "error: the model has no chat template, so nothing can be asked as a message\n --> m\nhelp: --template chatml\n"
    )
    assert piped("m", "--template", "llama2", "はい\n").code == 0


# A terminal -----------------------------------------------------------------------------------------------------------

pty = pytest.importorskip("pty")


class Terminal:
    """The program in a pseudo-terminal."""

    def __init__(self, *arguments: str, columns: int = 80, lang: str = "en") -> None:
        import fcntl
        import struct
        import termios

        self.fd, child = pty.openpty()
        fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        environ = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
        environ |= {"TERM": "xterm-256color", "FINETOOTH_LANG": lang, "PYTHONUTF8": "1", "LANG": "C.UTF-8"}
        environ |= {"OMP_NUM_THREADS": "1", "INPUTRC": os.devnull}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "finetooth", "chat", *arguments],
            stdin=child,
            stdout=child,
            stderr=child,
            env=environ,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(child)
        self.raw = b""
        self._read = 0

    @property
    def text(self) -> str:
        """What was printed since the last wait, without escape sequences."""
        return plain(self.raw[self._read :])

    def type(self, text: str) -> None:
        self._read = len(self.raw)
        os.write(self.fd, text.encode())

    def wait(self, pattern: str, timeout_s: float = 90) -> str:
        """Read until a pattern is there; return everything since the last key."""
        end = time.monotonic() + timeout_s
        while not re.search(pattern, self.text):
            ready, _, _ = select.select([self.fd], [], [], max(end - time.monotonic(), 0))
            assert ready, f"{pattern!r} did not come: {self.text!r}"
            try:
                self.raw += os.read(self.fd, 65536)
            except OSError:  # the other end is closed
                assert re.search(pattern, self.text), f"{pattern!r} did not come: {self.text!r}"
        return self.text

    def close(self) -> int:
        """Read to the end, and return the exit code."""
        while True:
            try:
                if not (read := os.read(self.fd, 65536)):
                    break
            except OSError:
                break
            self.raw += read
        return self.process.wait(timeout=60)


def plain(raw: bytes) -> str:
    text = raw.decode("utf-8", "ignore").replace("\r\n", "\n")
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    opened: list[Terminal] = []
    yield opened
    for one in opened:
        if one.process.poll() is None:
            one.process.send_signal(signal.SIGKILL)
            one.process.wait()
        os.close(one.fd)


PROMPT = r"(?:\n|\A|\r)> \Z"


def test_a_session_at_a_terminal(models: Path, terminals: list[Terminal]) -> None:
    terminal = Terminal(str(models / "stops"), columns=40, lang="ja")
    terminals.append(terminal)
    terminal.wait(PROMPT)
    assert "読み込んでいます" in plain(terminal.raw)
    terminal.type("こんにちは\n")
    shown = terminal.wait(PROMPT)
    assert f"{WORDS}⟨</s>⟩\n" in shown
    terminal.type("/why\n")
    shown = terminal.wait(PROMPT)
    assert "13 トークン" in shown
    assert "generation_config.json の停止 ID" in " ".join(shown.split())
    terminal.type("\x04")
    assert terminal.close() == 0
    assert b"\x1b[30;47m\xe2\x9f\xa8</s>" in terminal.raw, "the special token is painted"


@pytest.mark.parametrize(("name", "sign"), [("leaks", "LAB001"), ("runs-on", "LAB001,LAB002,LAB003")])
def test_why_of_an_end_that_did_not_come(name: str, sign: str, models: Path, terminals: list[Terminal]) -> None:
    terminal = Terminal(str(models / name), "--max-new-tokens", "30")
    terminals.append(terminal)
    terminal.wait(PROMPT)
    terminal.type("こんにちは\n")
    assert "cut at the limit of 30 tokens" in terminal.wait(PROMPT)
    terminal.type("/why\n")
    assert f"--select {sign}" in terminal.wait(PROMPT).replace("\n", "")
    terminal.type("/quit\n")
    assert terminal.close() == 0


def test_ctrl_c(models: Path, terminals: list[Terminal]) -> None:
    terminal = Terminal(str(models / "runs-on"), "--max-new-tokens", "480")
    terminals.append(terminal)
    terminal.wait(PROMPT)
    terminal.type("こんにちは\n")
    terminal.wait("素敵")  # it streams: the answer is there before its end
    assert "─" not in terminal.text
    terminal.type("\x03")
    shown = terminal.wait(PROMPT)
    assert "interrupted after" in shown
    assert "^C" not in shown
    # The session goes on.
    terminal.type("/why\n")
    assert "interrupted after" in terminal.wait(PROMPT)
    for _ in range(2):  # a line with something in it is cleared, however often
        terminal.type("half a line")
        terminal.wait("half a line")  # the terminal drops what nobody has read when it is interrupted
        # Between an echo and the wait for the next key Python's readline sees no signal until that key comes.
        time.sleep(0.5)
        terminal.type("\x03")
        assert "Ctrl-C again, or Ctrl-D, ends the chat" in terminal.wait(r"chat\n> \Z")
    terminal.type("\x03")
    assert terminal.close() == 0


def test_two_columns_at_a_terminal(models: Path, terminals: list[Terminal]) -> None:
    terminal = Terminal(str(models / "stops"), "--compare", str(models / "runs-on"), "--max-new-tokens", "24")
    terminals.append(terminal)
    terminal.wait(PROMPT)
    terminal.type("こんにちは\n")
    shown = terminal.wait(PROMPT)
    assert re.search(rf"{WORDS}⟨</s>⟩ +│ {WORDS}", shown)
    terminal.type("\x04")
    assert terminal.close() == 0
