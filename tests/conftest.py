"""What every test has at hand."""

from __future__ import annotations

import os
from collections.abc import Iterator

# Before any library reads them: no test reaches a hub, and none is coloured or configured by who runs it.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
for _name in [name for name in os.environ if name.startswith("FINETOOTH_") and name != "FINETOOTH_GOLDEN"]:
    del os.environ[_name]
for _name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
    os.environ.pop(_name, None)

import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

from finetooth.demo import tokenizer_path  # noqa: E402
from finetooth.messages import set_language  # noqa: E402

# No test fails because a machine is slow: times are a matter for benchmarks.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


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
