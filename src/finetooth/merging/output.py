"""What a merged model's directory holds beside its weights: config, tokenizer, template, generation settings."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from finetooth.errors import TemplateError
from finetooth.merging.configuration import MergeConfig
from finetooth.merging.layers import num_layers
from finetooth.merging.models import OpenModel
from finetooth.merging.planning import Models, Plan
from finetooth.merging.vocabulary import Vocabulary
from finetooth.templates import builtin_template
from finetooth.tokenizer.files import TokenizerFiles
from finetooth.writing import whole_file

_TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "vocab.txt", "merges.txt", "bpe.codes", "tekken.json", "*.model", "*.spm", "*.tiktoken",
    "chat_template.jinja", "chat_template.json", "additional_chat_templates/*.jinja",
)  # fmt: skip

_LAYER_KEYS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
_TOKEN_KEYS = ("bos_token_id", "eos_token_id", "pad_token_id")


def write_companions(directory: Path, plan: Plan, models: Models, vocabulary: Vocabulary | None) -> None:
    """Write everything but weights and card.

    Raises:
        FinetoothError: The chat template that is asked for does not exist, or a file cannot be written.
    """
    owner = vocabulary.owner if vocabulary is not None else plan.main
    _write(directory / "config.json", _json(_config(plan, models, vocabulary)))
    for source in _tokenizer_files(owner):
        target = directory / source.relative_to(owner.directory)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    if vocabulary is not None and vocabulary.tokenizer_json is not None:
        _write(directory / "tokenizer.json", vocabulary.tokenizer_json)
        _widen(directory / "tokenizer_config.json", vocabulary)
    settings = owner.directory / "generation_config.json"
    if settings.is_file():
        shutil.copyfile(settings, directory / settings.name)
    template = chat_template(plan.config, models)
    if template is not None:
        _write(directory / "chat_template.jinja", template)
        shutil.rmtree(directory / "additional_chat_templates", ignore_errors=True)


def chat_template(config: MergeConfig, models: Models) -> str | None:
    """Return the chat template that a configuration asks for; `None`: the tokenizer's own.

    Raises:
        TemplateError: There is none of this name.
    """
    wanted = config.chat_template
    if wanted is None:
        return None
    if wanted == "auto":
        found = [TokenizerFiles(model.directory).chat_templates.get("default") for model in models.values()]
        counted = Counter(template for template in found if template)
        # Of templates that are equally common, the first model's.
        return counted.most_common(1)[0][0] if counted else None
    if "{" in wanted:
        return wanted
    try:
        return builtin_template(wanted)
    except TemplateError as error:
        raise error.at(config.where) from error


def _config(plan: Plan, models: Models, vocabulary: Vocabulary | None) -> dict[str, Any]:
    config: dict[str, Any] = json.loads(json.dumps(plan.main.config))
    nested = config.get("text_config")
    text = nested if isinstance(nested, dict) else config
    dtypes = Counter(job.dtype for job in plan.jobs)
    name = str(dtypes.most_common(1)[0][0]).removeprefix("torch.")
    for part in (config, text):
        for key in ("torch_dtype", "dtype"):
            if key in part:
                part[key] = name
    if not any(key in part for part in (config, text) for key in ("torch_dtype", "dtype")):
        config["dtype"] = name
    if plan.num_layers is not None:
        _stack_layers(text, plan, models)
    if vocabulary is not None:
        text["vocab_size"] = vocabulary.size
        if vocabulary.owner is not plan.main:
            other = vocabulary.owner
            for key in _TOKEN_KEYS:
                if key in other.text_config or key in other.config:
                    text[key] = other.text_config.get(key, other.config.get(key))
    if not plan.is_tied and plan.main.was_tied:
        for part in (config, text):
            if "tie_word_embeddings" in part or part is text:
                part["tie_word_embeddings"] = False
    return config


def _stack_layers(text: dict[str, Any], plan: Plan, models: Models) -> None:
    """Write the number of layers, and pick what the config says layer by layer."""
    (before,) = num_layers(plan.main.entries).values()
    for key, value in list(text.items()):
        if key in _LAYER_KEYS:
            text[key] = plan.num_layers
        elif isinstance(value, list) and len(value) == before and before > 1 and "layer" in key:
            picked: list[Any] = []
            for one in plan.config.slices:
                source = one.sources[0]
                assert source.layers is not None
                own = models[source.reference].text_config.get(key, value)
                picked += own[source.layers[0] : source.layers[1]]
            text[key] = picked


def _tokenizer_files(model: OpenModel) -> Iterator[Path]:
    for pattern in _TOKENIZER_FILES:
        yield from sorted(path for path in model.directory.glob(pattern) if path.is_file())


def _widen(path: Path, vocabulary: Vocabulary) -> None:
    """Add the tokens of a united tokenizer to the list that tokenizer_config.json keeps of added tokens."""
    if not path.is_file():
        return
    values = json.loads(path.read_text(encoding="utf-8"))
    decoder = values.get("added_tokens_decoder")
    if not isinstance(decoder, dict):
        return
    assert vocabulary.tokenizer_json is not None
    for token in json.loads(vocabulary.tokenizer_json).get("added_tokens") or ():
        decoder.setdefault(str(token["id"]), {key: value for key, value in token.items() if key != "id"})
    _write(path, _json(values))


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"


def _write(path: Path, text: str) -> None:
    with whole_file(path) as file:
        file.write(text)
