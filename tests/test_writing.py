"""Files appear whole or not at all, and what is no file is written to as it is."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from finetooth.errors import FinetoothError
from finetooth.writing import refuse_input, whole_file


def write(path: Path, text: str = "new") -> None:
    with whole_file(path) as file:
        file.write(text)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_appears_with_the_usual_rights(tmp_path: Path) -> None:
    mask = os.umask(0o027)
    try:
        write(tmp_path / "a")
    finally:
        os.umask(mask)
    assert (tmp_path / "a").read_text() == "new"
    assert mode(tmp_path / "a") == 0o640


def test_rights_of_a_file_that_is_replaced_stay(tmp_path: Path) -> None:
    path = tmp_path / "private"
    path.write_text("old")
    path.chmod(0o600)
    write(path)
    assert (path.read_text(), mode(path)) == ("new", 0o600)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_what_stops_the_writing_leaves_the_earlier_file(error: type[BaseException], tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    with pytest.raises(error), whole_file(path) as file:
        file.write("half")
        raise error
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_a_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    write(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_a_pipe_stays_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    write(pipe)
    reader.join(timeout=10)
    assert read == ["new"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="there is no /dev/full")
def test_a_full_device_is_an_error_and_stays_a_device() -> None:
    with pytest.raises(FinetoothError, match="No space left"):
        write(Path("/dev/full"))
    assert Path("/dev/full").is_char_device()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FinetoothError) as caught:
        write(tmp_path / "nowhere" / "a")
    assert caught.value.where is not None


def test_what_is_read_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("a")
    (tmp_path / "link.csv").symlink_to("data.csv")
    with pytest.raises(FinetoothError, match="one of the files that are read"):
        refuse_input(str(tmp_path / "link.csv"), [str(tmp_path / "data.csv")])
    refuse_input(str(tmp_path / "other"), [str(tmp_path / "data.csv")])
    refuse_input(None, ["-"])
