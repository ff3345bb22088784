"""The second half of the story: a toy model, one recipe with three set-ups, three runs, one comparison."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from finetooth.comparing.comparison import Comparison, compare
from finetooth.demo import DIALOGUES, EXAMPLE, TOKENIZERS, data_path, tokenizer_path
from finetooth.demo.story import CONFIG, RESPONSE_TEMPLATE
from finetooth.errors import FinetoothError
from finetooth.messages import LANGUAGES, say, speaking
from finetooth.reporting.progress import report
from finetooth.writing import make_directory, whole_file

EPOCHS = 40
"""Enough for the toy to know the dialogues by heart: its answers can be read, and end as they were taught to."""
RECIPE, RUNS, MODEL = "recipe.yaml", "runs", "model"
_MARK = "# The demo of finetooth"
_NEEDED = ("torch", "transformers", "accelerate", "peft")
_NUM_LAYERS = 3
"""Layers of the toy: 416,000 weights with the vocabulary of the example's tokenizers."""


def can_train() -> bool:
    """Return whether everything that training needs is installed."""
    return all(find_spec(name) is not None for name in _NEEDED)


def begin(directory: Path, *, language: str = "ja", epochs: float = EPOCHS) -> Path:
    """Write the toy model and the recipe; what an earlier demo left there is written over.

    Args:
        directory: Where the demo works.
        language: The dialogues'.
        epochs: How long each run is.

    Returns:
        The recipe.

    Raises:
        FinetoothError: The directory holds something else.
    """
    recipe = directory / RECIPE
    if directory.exists() and not _is_ours(directory):
        raise FinetoothError(say("cli_demo.not_ours"), where=str(directory), help="finetooth demo -o other-directory")
    make_directory(directory)
    for name in (MODEL, RUNS):
        shutil.rmtree(directory / name, ignore_errors=True)
    with whole_file(recipe) as file:
        file.write(recipe_text(directory, language=language, epochs=epochs))
    make_model(directory / MODEL)
    return recipe


def _is_ours(directory: Path) -> bool:
    if not directory.is_dir():
        return False
    recipe = directory / RECIPE
    if recipe.is_file():
        return recipe.read_text(encoding="utf-8", errors="replace").startswith(_MARK)
    return not any(directory.iterdir())


def make_model(directory: Path) -> None:
    """Write a Llama of random weights, the same ones every time, with the healthy tokenizer."""
    import torch
    import transformers

    from finetooth.training.running import quieten_libraries

    quieten_libraries()
    source = tokenizer_path("supervised")
    config = transformers.LlamaConfig.from_pretrained(source, num_hidden_layers=_NUM_LAYERS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = transformers.LlamaForCausalLM(config)
    model.save_pretrained(directory)
    for path in source.iterdir():
        if path.name != "config.json":
            shutil.copyfile(path, directory / path.name)


def recipe_text(directory: Path, *, language: str, epochs: float) -> str:
    """Return the recipe: what the three set-ups share, and the tokenizer in which they differ."""
    setups = "\n".join(f"    {name}: {{tokenizer.path: {tokenizer_path(name)}}}" for name in TOKENIZERS)
    return f"""{_MARK}: one model, one data set, three tokenizers that differ in a flag and in the padding token.
model: {directory / MODEL}
data: {data_path(DIALOGUES[language])}
labels:
  way: completion-collator        # TRL's removed collator, with which the faults were first met
  response_template: "{RESPONSE_TEMPLATE}"
train:
  method: full
  epochs: {epochs:g}
  batch_size: 16
  learning_rate: 0.003
  logging_steps: 19               # once an epoch
  save_steps: never
  num_samples: 0
  probe_prompts: 30
  probe_steps: 95                 # five epochs
matrix:
  setup:
{setups}
"""


def train_and_compare(recipe: Path, *, tell: Callable[[str], None]) -> Comparison:
    """Train the three set-ups, and set them side by side.

    The check finds errors in two of them: they are trained all the same, to see what comes of it.
    """
    from finetooth.training.running import train

    with on_one_thread():
        runs = train(recipe, recipe.parent / RUNS, check=False, force=True, tell=tell)
    return compare(*(run.directory for run in runs), num_samples=3)


def write_reports(directory: Path) -> dict[str, Path]:
    """Write the progress report of the three runs, the example under the three tokenizers beside them.

    Returns:
        The page in each language.
    """
    made = report(
        directory / RUNS,
        inspect=str(data_path(EXAMPLE)),
        model=[str(tokenizer_path(name)) for name in TOKENIZERS],
        num_samples=3,
        config=CONFIG,
    )
    pages = {}
    for language in LANGUAGES:
        pages[language] = directory / f"report.{language}.html"
        with speaking(language):
            made.write(pages[language])
    return pages


@contextmanager
def on_one_thread() -> Iterator[None]:
    """Compute on one thread: a toy's matrices are so small that threads only wait for each other."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
