"""The levels of the package: a module imports from lower levels, and on its own from those named before it."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.sources import modules

LEVELS = (
    ("types", "errors", "messages", "version", "writing", "environment", "weightfiles", "runs", "forking"),
    ("config", "records", "template", "templates", "tokenizer", "encoding", "labels", "fingerprint", "dataset"),
    ("rules", "view", "formats", "charts", "documents", "packing", "loss"),
    (
        "inspection",
        "counting",
        "workers",
        "checking",
        "examples",
        "fix",
        "probing",
        "personas",
        "training",
        "merging",
        "chatting",
        "comparing",
        "reporting",
    ),
    ("web", "integrations", "demo", "api", "cli"),
)
"""The one place where the levels stand, lowest first. A new module takes its place here."""

TORCH = {"packing", "loss", "training", "merging", "probing", "chatting", "integrations"}
"""The modules that may import torch and transformers."""

ONLY_WHERE_NAMED: dict[str, set[str]] = {
    "torch": TORCH | {"demo"},
    "transformers": TORCH | {"tokenizer", "demo"},
    "trl": set(),  # its labels are made anew; the differential tests alone import it
}

IN_FUNCTIONS_ONLY = {
    "torch": TORCH,
    "transformers": TORCH,
    "datasets": TORCH,
    "pyarrow": TORCH,
    "rich": set[str](),
    "pydantic": set[str](),
    "matplotlib": set[str](),
    "markdown_it": set[str](),
    "bm25s": set[str](),
}
"""Packages that take long to import, and the modules that may do so at their top."""

EXEMPT = {"", "__main__"}
"""The package itself and its entry point, which reach for everything, lazily."""


def ranks() -> dict[str, tuple[int, int]]:
    return {name: (level, place) for level, names in enumerate(LEVELS) for place, name in enumerate(names)}


def imports(tree: ast.AST) -> Iterator[tuple[str, bool]]:
    """Yield the dotted name of everything imported, and whether it is so when the module is."""
    not_at_import = {
        id(node)
        for outer in ast.walk(tree)
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef) or _is_for_types_alone(outer)
        for node in ast.walk(outer)
    }
    for node in ast.walk(tree):
        at_import = id(node) not in not_at_import
        if isinstance(node, ast.Import):
            yield from ((alias.name, at_import) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from ((f"{node.module}.{alias.name}", at_import) for alias in node.names)


def _is_for_types_alone(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def violations(module: str, tree: ast.AST) -> list[str]:
    """Return what is wrong with the imports of a module, named below `finetooth`."""
    top, rank = module.partition(".")[0], ranks()
    if top in EXEMPT:
        # Lazy: whoever imports the package pays for nothing but errors, types and the version.
        heavy = [name for name, at_import in imports(tree) if at_import and module == "" and _level(name, rank) > 0]
        return [f"finetooth imports {name} at its top" for name in heavy]
    if top not in rank:
        return [f"{module} has no place in LEVELS"]
    found = []
    for name, at_import in imports(tree):
        package, _, rest = name.partition(".")
        if package == "finetooth":
            other = rest.partition(".")[0]
            if other not in rank:
                found.append(f"{module} imports {name}, which has no place in LEVELS")
            elif other != top and not _below(rank[other], rank[top]):
                found.append(f"{module} imports {name}, which is not below it")
        elif top not in ONLY_WHERE_NAMED.get(package, {top}):
            found.append(f"{module} imports {package}, and is none of {sorted(ONLY_WHERE_NAMED[package])}")
        elif at_import and top not in IN_FUNCTIONS_ONLY.get(package, {top}):
            found.append(f"{module} imports {package} at its top")
    return found


def _below(other: tuple[int, int], own: tuple[int, int]) -> bool:
    return other[0] < own[0] or (other[0] == own[0] and other[1] < own[1])


def _level(name: str, rank: dict[str, tuple[int, int]]) -> int:
    package, _, rest = name.partition(".")
    return rank.get(rest.partition(".")[0], (9, 0))[0] if package == "finetooth" else 0


@pytest.mark.parametrize(("module", "tree"), [pytest.param(*pair, id=pair[0] or "finetooth") for pair in modules()])
def test_imports_go_down(module: str, tree: ast.Module) -> None:
    assert violations(module, tree) == []


def test_no_name_has_two_places() -> None:
    names = [name for level in LEVELS for name in level]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("labels.trl", "from finetooth.view import page", "labels.trl imports finetooth.view.page, which is not below"),
        ("records", "from finetooth.encoding import encode", "not below"),
        ("records.read", "import finetooth.nowhere", "no place in LEVELS"),
        ("novelty", "", "novelty has no place in LEVELS"),
        ("labels", "def f():\n    import torch", "labels imports torch"),
        ("tokenizer", "import transformers", "at its top"),
        ("packing", "from trl import SFTTrainer", "imports trl"),
        ("view.terminal", "from rich.console import Console", "at its top"),
        ("", "from finetooth.records import read", "finetooth imports finetooth.records.read at its top"),
    ],
)
def test_a_violation_is_found(module: str, source: str, complaint: str) -> None:
    assert complaint in "\n".join(violations(module, ast.parse(source)))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("encoding", "from finetooth.records import Record"),
        ("labels.trl", "from finetooth.labels.spans import spans"),
        ("tokenizer", "def load():\n    from transformers import AutoTokenizer"),
        ("packing", "import torch"),
        ("cli.inspect", "def command():\n    import rich"),
        ("api", "if TYPE_CHECKING:\n    import datasets"),
        ("", "if TYPE_CHECKING:\n    from finetooth.api import encode"),
    ],
)
def test_what_is_allowed_is_not_found(module: str, source: str) -> None:
    assert violations(module, ast.parse(source)) == []


def test_no_public_name_is_hidden_by_a_module() -> None:
    """Importing `finetooth.x` binds the module to that name, and `finetooth.x(...)` would then call a module."""
    import finetooth

    assert {module for module, _ in modules() if "." not in module}.isdisjoint(finetooth.__all__)
