from __future__ import annotations

from pathlib import Path

import pytest

from tests.merging.toys import family


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with a base and three models near to it: `base`, `a`, `b`, `c`."""
    root = tmp_path_factory.mktemp("models")
    family(root)
    return root
