"""What every test has at hand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from finetooth.demo import tokenizer_path
from finetooth.messages import set_language


@pytest.fixture(autouse=True)
def english() -> Iterator[None]:
    """Speak English, whatever the machine's locale is."""
    set_language("en")
    yield
    set_language(None)


@pytest.fixture(scope="session")
def demo_model() -> str:
    """Return the directory of the package's own healthy tokenizer, in Llama-2 form."""
    return str(tokenizer_path("supervised"))
