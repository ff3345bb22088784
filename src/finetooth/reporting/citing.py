"""References, numbered as they are referred to; each names the very version and, where it can, the lines."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from finetooth.documents import Reference
from finetooth.messages import say
from finetooth.version import __version__

if TYPE_CHECKING:
    from finetooth.reporting.progress import ProgressReport

_SOURCES = {
    "transformers": "https://github.com/huggingface/transformers/blob/v{version}/src/transformers/{file}",
    "trl": "https://github.com/huggingface/trl/blob/v{version}/trl/{file}",
}
"""Where the sources of a version of a package stand."""

_ARXIV = re.compile(r"arXiv:(\d{4}\.\d{4,5})")


class Citations:
    """The references of one report, in the order in which they are first referred to."""

    def __init__(self, report: ProgressReport) -> None:
        self._report = report
        self.items: list[Reference] = []

    def cite(self, reference: Reference) -> str:
        """Return the mark of a reference, `[3]`; the first time it is added to the list."""
        if reference not in self.items:
            self.items.append(reference)
        return f"[{self.items.index(reference) + 1}]"

    def package(self, name: str) -> str | None:
        """Return the version of a package that all runs had; that of here where no run tells one."""
        known = {entry.versions[name] for entry in self._report.runs if name in entry.versions}
        return known.pop() if len(known) == 1 else None if known else _installed(name)


def own_lines(function: str, own_version: str) -> Reference:
    """Return where a function of finetooth stands; the lines are told where that version is the one that runs here.

    Args:
        function: Its dotted name, such as `finetooth.loss.observed_loss`.
        own_version: The version that the run had.
    """
    module, _, name = function.rpartition(".")
    _, _, inner = module.partition(".")
    file = f"{inner.replace('.', '/')}.py"
    lines = _lines_of("finetooth", file, name) if own_version == __version__ else None
    return Reference(text=f"finetooth {own_version}, {file}, {name}{_told(lines)}")


def library_lines(package: str, file: str, name: str, package_version: str | None) -> Reference:
    """Return where a function or class of a library stands, with a link to that version.

    The lines are told where that version is the one that is installed here.

    Args:
        package: `transformers` or `trl`.
        file: Below the package.
        name: The function or class.
        package_version: The version; `None` where it is not known, and then nothing is linked.
    """
    if package_version is None:
        return Reference(text=f"{package}, {file}, {name}")
    lines = _lines_of(package, file, name) if package_version == _installed(package) else None
    url = _SOURCES[package].format(version=package_version, file=file)
    anchor = f"#L{lines[0]}-L{lines[1]}" if lines else ""
    return Reference(text=f"{package} {package_version}, {file}, {name}{_told(lines)}", url=url + anchor)


def papers(documentation: str) -> Sequence[Reference]:
    """Return the papers of arXiv that a docstring names, each with the words before its number."""
    found = []
    flat = " ".join(documentation.split())
    for match in _ARXIV.finditer(flat):
        before = flat[: match.start()].rstrip(" (")
        words = re.split(r"(?<=[.;:])\s+(?=[A-Z][a-z]+ (?:et al|and|,))", before)[-1].strip(" ,;")
        found.append(Reference(text=f"{words}, arXiv:{match[1]}", url=f"https://arxiv.org/abs/{match[1]}"))
    return found


@cache
def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@cache
def _lines_of(package: str, file: str, name: str) -> tuple[int, int] | None:
    """Return the first and last line of a function or class in an installed package, without importing it."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0], file)
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return None
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return node.lineno, node.end_lineno or node.lineno
    return None


def _told(lines: tuple[int, int] | None) -> str:
    return "" if lines is None else say("reporting.lines", first=lines[0], last=lines[1])
