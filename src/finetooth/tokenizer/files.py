"""The files beside a tokenizer, as plain data: what they say, and which of them says it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

from finetooth.errors import MissingExtraError, TokenizerError
from finetooth.messages import say

SPECIAL_TOKEN_KEYS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
"""The named special tokens (transformers' SPECIAL_TOKENS_ATTRIBUTES), in its order."""

_VOCABULARIES = (
    "tokenizer.json",
    "*.model",
    "*.spm",
    "*.tiktoken",
    "tekken.json",
    "vocab.json",
    "vocab.txt",
    "bpe.codes",
)
"""The files that may hold a vocabulary (transformers 5.23, `vocab_files_names` of its tokenizer classes)."""

_HUB_FILES = (
    *_VOCABULARIES,
    "merges.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "config.json",
    "generation_config.json",
    "chat_template.jinja",
    "chat_template.json",
    "additional_chat_templates/*.jinja",
)


@dataclass(frozen=True)
class TokenizerFiles:
    """A model's directory, read file by file when first asked."""

    directory: Path

    def json(self, name: str) -> dict[str, Any]:
        """Return a JSON file's object; empty where the file is absent.

        Raises:
            TokenizerError: The file is not a JSON object.
        """
        path = self.directory / name
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise TokenizerError(say("tokenizer.unreadable", reason=error.strerror or ""), where=str(path)) from error
        except UnicodeDecodeError as error:
            raise TokenizerError(say("tokenizer.not_json", reason=str(error)), where=str(path)) from error
        except json.JSONDecodeError as error:
            raise TokenizerError(say("tokenizer.not_json", reason=error.msg), where=f"{path}:{error.lineno}") from error
        if not isinstance(value, dict):
            raise TokenizerError(say("tokenizer.not_object", kind=type(value).__name__), where=str(path))
        return value

    @cached_property
    def tokenizer_config(self) -> dict[str, Any]:
        """What tokenizer_config.json says."""
        return self.json("tokenizer_config.json")

    @cached_property
    def model_config(self) -> dict[str, Any]:
        """What config.json says."""
        return self.json("config.json")

    @cached_property
    def generation_config(self) -> dict[str, Any]:
        """What generation_config.json says."""
        return self.json("generation_config.json")

    @cached_property
    def vocabulary(self) -> str | None:
        """The name of the file that holds the vocabulary: tokenizer.json, else one that has to be converted."""
        names = sorted(entry.name for entry in self.directory.iterdir() if entry.is_file())
        found = (name for pattern in _VOCABULARIES for name in names if fnmatchcase(name, pattern))
        return next(found, None)

    @property
    def tokenizer_json(self) -> Path:
        """The path of tokenizer.json, which may be absent."""
        return self.directory / "tokenizer.json"

    @cached_property
    def chat_templates(self) -> dict[str, str]:
        """The chat templates by name; a single one is called `default`.

        Files win over tokenizer_config.json, as in transformers: chat_template.jinja, then
        additional_chat_templates/NAME.jinja, then the key `chat_template`, a string or a list of named ones.
        """
        from finetooth.template import read_template

        templates: dict[str, str] = {}
        single = self.directory / "chat_template.jinja"
        if single.is_file():
            templates["default"] = read_template(single)
        for path in sorted((self.directory / "additional_chat_templates").glob("*.jinja")):
            templates[path.name.removesuffix(".jinja")] = read_template(path)
        if templates:
            return templates
        value = self.tokenizer_config.get("chat_template") or self.json("chat_template.json").get("chat_template")
        if isinstance(value, str):
            return {"default": value}
        if isinstance(value, Mapping):
            return {str(name): str(template) for name, template in value.items()}
        if isinstance(value, list):
            named = (entry for entry in value if isinstance(entry, Mapping))
            return {
                str(entry["name"]): str(entry["template"]) for entry in named if "name" in entry and "template" in entry
            }
        return {}

    @cached_property
    def stop_ids(self) -> dict[str, list[int]]:
        """The ids that end generation, by the file that says so.

        generation_config.json wins at inference; config.json serves where it is silent.
        """
        found: dict[str, list[int]] = {}
        for name, values in (("generation_config.json", self.generation_config), ("config.json", self.model_config)):
            value = values.get("eos_token_id")
            if value is None and isinstance(values.get("text_config"), Mapping):
                value = values["text_config"].get("eos_token_id")
            ids = [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, int)]
            if ids:
                found[name] = ids
        return found


def locate(model: str, *, revision: str | None = None) -> TokenizerFiles:
    """Find the directory of a model: a local one, or a snapshot of a hub repository.

    Raises:
        TokenizerError: There is no such directory, and no such repository can be had.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        return TokenizerFiles(path)
    if path.is_file():
        if path.name == "tokenizer.json":
            return TokenizerFiles(path.parent)
        raise TokenizerError(
            say("tokenizer.is_file"), where=model, help=say("tokenizer.is_file_help", directory=str(path.parent))
        )
    if model.startswith((".", "/", "~")) or model.count("/") > 1 or (os.sep != "/" and os.sep in model):
        raise TokenizerError(say("tokenizer.no_directory"), where=model, help=_nearest(path))
    return TokenizerFiles(_download(model, revision))


def _nearest(path: Path) -> str:
    import difflib

    parent = path.parent
    names = [entry.name for entry in parent.iterdir() if entry.is_dir()] if parent.is_dir() else []
    close = difflib.get_close_matches(path.name, names, n=1)
    return say("tokenizer.did_you_mean", path=str(parent / close[0])) if close else say("tokenizer.no_directory_help")


def _download(model: str, revision: str | None) -> Path:
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:  # pragma: no cover - tokenizers requires it
        raise MissingExtraError(say("tokenizer.no_hub"), where=model, help="pip install huggingface_hub") from error
    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=list(_HUB_FILES)))
    except Exception as error:
        raise TokenizerError(
            say("tokenizer.not_found", reason=_first_line(error)), where=model, help=_nearest(Path(model))
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
