"""Put a repaired model and data set where the user wants them: whole, or not at all."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from finetooth.errors import ConfigError, FinetoothError
from finetooth.fix.repair import Repaired
from finetooth.messages import say

PARTS = ("model", "data", "fingerprint.json")
"""What an output directory holds."""

ORIGINAL = ".orig"
"""The ending under which `--in-place` keeps the files that it replaces."""


@contextmanager
def stage_for(output: Path | None) -> Iterator[Path]:
    """Make a folder to work in, which is gone at the end, whatever happens.

    Args:
        output: The directory that is to come of it: the folder lies on the same file system, hidden. `None` for none.

    Raises:
        FinetoothError: A file cannot be read or written.
    """
    parent = None if output is None else _nearest(output.absolute().parent)
    stage: Path | None = None
    try:
        stage = Path(tempfile.mkdtemp(prefix=f".{output.name}." if output else "finetooth-", dir=parent))
        yield stage
    except OSError as error:
        raise FinetoothError(
            say("fix.failed", reason=error.strerror or str(error)),
            where=str(error.filename or output or ""),
            help=say("fix.failed_help"),
        ) from error
    finally:
        if stage is not None:
            shutil.rmtree(stage, ignore_errors=True)


def _nearest(path: Path) -> Path:
    """Return the nearest folder that exists."""
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def refuse_output(output: Path, *, force: bool, inputs: list[Path]) -> None:
    """Refuse an output directory before any work is done.

    Raises:
        ConfigError: It is a file, holds something and `force` is not given, or is or holds one of the inputs.
    """
    where = str(output)
    if output.exists() and not output.is_dir():
        raise ConfigError(say("fix.output_is_file"), where=where, help=f"--output {output}-fixed")
    real = output.resolve()
    for path in inputs:
        if real == path.resolve() or real in path.resolve().parents:
            raise ConfigError(
                say("fix.output_holds_input", path=path), where=where, help=say("fix.output_holds_input_help")
            )
    if output.is_dir() and any(output.iterdir()) and not force:
        raise ConfigError(say("fix.output_not_empty"), where=where, help="--force")


def install(repaired: Repaired, stage: Path, output: Path) -> None:
    """Turn a stage into the output directory.

    An output directory that holds something already keeps what is not ours: `model`, `data` and `fingerprint.json` are
    replaced, one by one, and put back if one of them cannot be.
    """
    (stage / "data.diff").unlink(missing_ok=True)
    _write_fingerprint(repaired, stage / "fingerprint.json")
    if not output.is_dir() or not any(output.iterdir()):
        # mkdtemp makes folders that their owner alone can read; a result has the usual rights.
        os.chmod(stage, 0o777 & ~_umask())
        output.parent.mkdir(parents=True, exist_ok=True)
        if output.is_dir():
            output.rmdir()
        os.rename(stage, output)
        return
    aside = stage / "aside"
    aside.mkdir()
    moved: list[tuple[Path, Path]] = []
    try:
        for name in PARTS:
            if (output / name).exists():
                _move(output / name, aside / name, moved)
            if (stage / name).exists():
                _move(stage / name, output / name, moved)
    except BaseException:
        for old, new in reversed(moved):
            os.rename(new, old)
        raise


def _move(old: Path, new: Path, moved: list[tuple[Path, Path]]) -> None:
    os.rename(old, new)
    moved.append((old, new))


def install_in_place(repaired: Repaired, *, force: bool) -> list[Path]:
    """Replace the files that were repaired, each original kept beside as `.orig`.

    A file that is a link becomes a file of its own; what it leads to stays. An `.orig` of an earlier run is refused,
    and with `force` kept: it is the true original.

    Returns:
        The files that were replaced or are new.

    Raises:
        ConfigError: A source of the data is no JSONL file, or an `.orig` is there already.
    """
    replaced = [
        (repaired.model.directory / change.name, repaired.model.source / change.name)
        for change in repaired.model.changes()
    ]
    for file in repaired.data.files if repaired.data is not None else ():
        if file.num_changed == 0:
            continue
        if not file.is_lines:
            raise ConfigError(say("fix.in_place_lines"), where=file.source, help="--output DIRECTORY")
        assert repaired.data is not None
        replaced.append((repaired.data.directory / file.name, Path(file.source)))
    for _, target in replaced:
        if _original(target).exists() and not force:
            raise ConfigError(say("fix.original_exists", path=_original(target)), where=str(target), help="--force")
    if not replaced:
        return []
    note = repaired.model.directory / "fingerprint.json"
    _write_fingerprint(repaired, note)
    replaced.append((note, repaired.model.source / "fingerprint.json"))
    _replace_all(replaced)
    return [target for _, target in replaced]


def _original(path: Path) -> Path:
    return path.with_name(path.name + ORIGINAL)


def _replace_all(replaced: list[tuple[Path, Path]]) -> None:
    """Replace files, all or none of them."""
    waiting: list[tuple[Path, Path]] = []
    kept: list[Path] = []
    done: list[Path] = []
    new_files = {target for _, target in replaced if not target.exists()}
    try:
        for new, target in replaced:
            temporary = target.with_name(f".{target.name}.finetooth")
            waiting.append((temporary, target))
            shutil.copyfile(new, temporary)
            if target.exists():
                shutil.copymode(target, temporary)
        for temporary, target in waiting:
            original = _original(target)
            if target.exists() and not original.exists() and target.name != "fingerprint.json":
                _keep(target, original)
                kept.append(original)
            os.replace(temporary, target)
            done.append(target)
    except BaseException:
        for target in reversed(done):
            if _original(target) in kept:
                os.replace(_original(target), target)
            elif target in new_files:
                target.unlink()
        for original in kept:
            original.unlink(missing_ok=True)
        raise
    finally:
        for temporary, _ in waiting:
            temporary.unlink(missing_ok=True)


def _keep(target: Path, original: Path) -> None:
    try:
        os.link(target, original, follow_symlinks=False)
    except (OSError, NotImplementedError):
        shutil.copy2(target, original, follow_symlinks=False)


def _write_fingerprint(repaired: Repaired, path: Path) -> None:
    text = json.dumps(repaired.fingerprint.to_json(), ensure_ascii=False, indent=2)
    path.write_text(text + "\n", encoding="utf-8")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
