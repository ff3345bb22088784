"""What is known of the machine and of what is installed: for reports of defects, and for the record of a run."""

from __future__ import annotations

import os
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any

from finetooth.messages import language
from finetooth.version import __version__

PACKAGES = (
    "tokenizers", "jinja2", "click", "rich", "pydantic", "PyYAML", "safetensors",
    "transformers", "trl", "torch", "peft", "accelerate", "datasets", "pyarrow", "liger-kernel", "flash-attn",
    "starlette", "uvicorn", "matplotlib",
)  # fmt: skip
"""What decides which tokens and labels come out, the torch-free first."""

NO_EXTRAS = ("all", "dev")
"""Extras that are nothing but others together, or no concern of users."""


def environment(config_file: Path | None) -> dict[str, Any]:
    """Return what is known of the machine; versions come from metadata, and no package is imported for them."""
    return {
        "finetooth": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": num_cores(),
        "memory_bytes": memory_bytes(),
        "language": language(),
        "config_file": None if config_file is None else str(config_file),
        "packages": {name: version(name) for name in PACKAGES},
        "extras": {extra: {"missing": sorted(missing(extra))} for extra in extras()},
    }


def version(package: str) -> str | None:
    """Return the version of an installed package, or `None`."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def num_cores() -> int:
    """Return how many cores this process may use, which in a container are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_bytes() -> int | None:
    """Return the machine's memory, or `None` where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def extras() -> list[str]:
    """Return the names of the extras, as the installed package declares them."""
    try:
        declared = metadata.metadata("finetooth").get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:  # run from a source tree that was never installed
        return []
    return sorted(set(declared) - set(NO_EXTRAS))


def missing(extra: str) -> set[str]:
    """Return the packages of an extra that are not installed."""
    belongs = re.compile(rf"""extra\s*==\s*['"]{re.escape(extra)}['"]""")
    requirements = [text.partition(";") for text in metadata.requires("finetooth") or []]
    packages = {re.split(r"[^\w.-]", name.strip())[0] for name, _, marker in requirements if belongs.search(marker)}
    return {package for package in packages if version(package) is None}
