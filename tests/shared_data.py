"""Where the real data for tests lies, and the mark of the tests that need it."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"
"""The folder beside the repository that holds real data; it is no part of the project."""

needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason=f"real data is absent: {SHARED.name}/ beside the repository"
)
