"""The directory of a merged model, or of a sweep over merges, as an entry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from finetooth.comparing.entry import Data, Entry
from finetooth.comparing.files import FileReader
from finetooth.errors import MergeError
from finetooth.merging.sweeping.lines import IDENTITY, MERGED, Sweep, read_sweep
from finetooth.messages import say
from finetooth.runs import FINDINGS, PROBE

CONFIG = "merge.yaml"


def is_merge(directory: Path) -> bool:
    """Return whether a directory holds a merged model, or a sweep."""
    return (directory / CONFIG).is_file() or (directory / IDENTITY).is_file()


def read_merge(directory: Path, name: str) -> Entry:
    """Read a merged model; of a sweep its best one, with what was measured of all.

    Args:
        directory: The model's, or the sweep's.
        name: What it is called.
    """
    own = FileReader(directory)
    sweep: Sweep | None = None
    if (directory / IDENTITY).is_file():
        try:
            sweep = read_sweep(directory)
        except MergeError as error:
            own.remarks.append(error.what)
    model = directory / MERGED if sweep is not None else directory
    is_whole = (model / CONFIG).is_file()
    best = next((line for line in sweep.candidates if line["name"] == sweep.best), None) if sweep is not None else None
    return Entry(
        name=name,
        directory=directory,
        kind="merge",
        state="finished" if is_whole else "stopped",
        step=0,
        epoch=None,
        total=None,
        settings=_settings(model / CONFIG, own.remarks) if is_whole else {},
        metrics=(),
        data=Data(),
        findings=FileReader(model).json(FINDINGS),
        probe=own.json(PROBE) or (dict(best) if best is not None else None),
        sweep=sweep,
        remarks=own.remarks,
    )


def _settings(path: Path, remarks: list[str]) -> dict[str, Any]:
    """Return what the last merge of a configuration says, by dotted keys."""
    try:
        documents = [one for one in yaml.safe_load_all(path.read_text(encoding="utf-8")) if isinstance(one, dict)]
    except (OSError, yaml.YAMLError) as error:
        remarks.append(say("comparing.unreadable", file=path.name, reason=str(error).splitlines()[0]))
        return {}
    found: dict[str, Any] = {}
    for key, value in (documents[-1] if documents else {}).items():
        if key == "models":
            for number, model in enumerate(value if isinstance(value, list) else []):
                found[f"merge.models[{number}]"] = model.get("model") if isinstance(model, dict) else str(model)
                inner = (model.get("parameters") or {}) if isinstance(model, dict) else {}
                found |= {f"merge.models[{number}].{name}": one for name, one in inner.items()}
        elif isinstance(value, dict):
            found |= {f"merge.{key}.{name}": one for name, one in value.items()}
        else:
            found[f"merge.{key}"] = value
    return found
