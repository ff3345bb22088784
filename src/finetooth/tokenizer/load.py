"""Load a tokenizer as its trainer will, and say where that was not checked.

The same files give other ids by the class that loads them. The torch-free path reads tokenizer.json and does to it what
transformers' generic class does; that is exact for `PreTrainedTokenizerFast` and `TokenizersBackend` alone. Any other
class may rebuild the normalizer and pre-tokenizer (transformers 5.23 does for `LlamaTokenizer`), so it is loaded by
transformers itself, where that is installed.
"""

from __future__ import annotations

import importlib.util
import re
from typing import Any

import tokenizers
from tokenizers import processors

from finetooth.config import Loader
from finetooth.errors import MissingExtraError, TokenizerError
from finetooth.messages import say
from finetooth.tokenizer.declared import declared_tokens
from finetooth.tokenizer.files import TokenizerFiles, locate
from finetooth.tokenizer.tokenizer import Tokenizer

GENERIC_CLASSES = ("PreTrainedTokenizerFast", "TokenizersBackend")
"""The classes that take tokenizer.json as it is."""

REPLACED_MODEL_TYPES = frozenset(
    {
        *("hyperclovax_vision_v2", "qwen2", "qwen3_5", "qwen3_5_moe", "qwen3_5_moe_text", "qwen4_exp", "siglip2"),
        *("ministral", "ministral3", "mistral", "mistral3", "mistral_large4", "mixtral"),
        *("pixtral", "voxtral", "voxtral_realtime"),
    }
)
"""Model types for which transformers 5.23 takes another class than the generic one that the files name: those of
`MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS` that have a class of their own, and the Mistral family, which
mistral-common may load (models/auto/tokenization_auto.py)."""


def load_tokenizer(model: str, *, loader: Loader = "auto", revision: str | None = None) -> Tokenizer:
    """Load the tokenizer of a directory or hub repository.

    Args:
        model: What the user typed: a directory, the path of a tokenizer.json, or a hub id.
        loader: See `finetooth.config.TokenizerConfig.loader`.
        revision: The revision of a hub repository.

    Raises:
        TokenizerError: There is no tokenizer there, or its files are damaged.
        MissingExtraError: Only transformers can load it, and transformers is not installed.
    """
    files = locate(model, revision=revision)
    if files.vocabulary is None:
        # transformers is not asked: some of its classes then make a tokenizer without a vocabulary, and say nothing.
        raise TokenizerError(
            say("tokenizer.no_tokenizer"), where=str(files.directory), help=say("tokenizer.no_tokenizer_help")
        )
    reason = _inexact(files)
    if loader == "tokenizers" or (loader == "auto" and reason is None):
        return _with_tokenizers(model, files, unchecked=reason)
    if _is_installed("transformers"):
        return _with_transformers(model, files)
    if loader == "transformers":
        raise MissingExtraError(
            say("tokenizer.needs_transformers"), where=str(files.directory), help='pip install "finetooth[train]"'
        )
    return _with_tokenizers(model, files, unchecked=reason)


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # the package above it is absent
        return False


def _class_name(files: TokenizerFiles) -> Any:
    return files.tokenizer_config.get("tokenizer_class") or files.model_config.get("tokenizer_class")


def _inexact(files: TokenizerFiles) -> str | None:
    """Return why reading tokenizer.json alone is not sure to give what transformers gives; `None` where it is."""
    if not files.tokenizer_json.is_file():
        return say("tokenizer.no_json")
    config = files.tokenizer_config
    for key in ("fast_tokenizer_files", "fix_mistral_regex"):
        if config.get(key):
            return say("tokenizer.other_key", key=key)
    if config.get("auto_map"):
        return say("tokenizer.own_code")
    name = _class_name(files)
    if name is None:
        # A bare tokenizer.json is loaded by the generic class; with a config.json the model's class decides.
        return say("tokenizer.no_class") if files.model_config.get("model_type") else None
    if name not in GENERIC_CLASSES:
        return say("tokenizer.other_class", name=name)
    model_type, model_name = (files.model_config.get(key) for key in ("model_type", "model_name"))
    # transformers looks up either in its list; a name is rare, so any is taken for one of the list.
    if model_name or str(model_type) in REPLACED_MODEL_TYPES:
        return say("tokenizer.replaced_class", model_type=model_name or model_type)
    return None


def _with_tokenizers(model: str, files: TokenizerFiles, *, unchecked: str | None) -> Tokenizer:
    path = files.tokenizer_json
    if not path.is_file():
        what, where = say("tokenizer.needs_conversion", name=files.vocabulary), str(files.directory)
        if _is_installed("transformers"):
            raise TokenizerError(what, where=where, help=say("tokenizer.use_transformers"))
        raise MissingExtraError(what, where=where, help='pip install "finetooth[train]"')
    try:
        backend = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:
        line = re.search(r"\bat line (\d+)", str(error))
        raise TokenizerError(
            say("tokenizer.damaged", reason=str(error)[:200]),
            where=f"{path}:{line[1]}" if line else str(path),
            help=say("tokenizer.damaged_help"),
        ) from error
    special_tokens = _prepare_as_generic_class(backend, files)
    return Tokenizer(
        name=model,
        backend=backend,
        loader="tokenizers",
        tokenizer_class=str(_class_name(files) or "PreTrainedTokenizerFast"),
        special_tokens=special_tokens,
        files=files,
        unchecked=unchecked,
    )


def _prepare_as_generic_class(backend: tokenizers.Tokenizer, files: TokenizerFiles) -> dict[str, str]:
    """Do to a tokenizer what transformers' `TokenizersBackend.__init__` does (read at 5.23).

    Returns:
        The special tokens by name.
    """
    declared = declared_tokens(files, backend)
    declared.add_to(backend)
    # transformers keeps these two, and sets them anew in every call; nothing is cut or padded unasked.
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = bool(files.tokenizer_config.get("split_special_tokens", False))
    if backend.post_processor is None:
        backend.post_processor = processors.TemplateProcessing(single="$A:0", pair="$A:0 $B:1", special_tokens=[])
    return declared.special_tokens


def _with_transformers(model: str, files: TokenizerFiles) -> Tokenizer:
    from transformers import AutoTokenizer

    where = str(files.directory)
    try:
        loaded: Any = AutoTokenizer.from_pretrained(where, trust_remote_code=False)
    except Exception as error:
        vocabulary = files.vocabulary or ""
        if vocabulary.endswith(".model") and not (_is_installed("sentencepiece") and _is_installed("google.protobuf")):
            # What transformers says here is that tiktoken is missing, which it tries last.
            raise MissingExtraError(
                say("tokenizer.needs_sentencepiece", name=vocabulary),
                where=where,
                help="pip install sentencepiece protobuf",
            ) from error
        has_json = files.tokenizer_json.is_file()
        raise TokenizerError(
            say("tokenizer.transformers_refuses", reason=(str(error).strip().splitlines() or [""])[0][:200]),
            where=where,
            help=say("tokenizer.transformers_refuses_help") if has_json else None,
        ) from error
    return _wrapped(loaded, loaded, _backend(loaded, model), name=model, files=files)


def from_transformers(loaded: Any, *, name: str | None = None, files: TokenizerFiles | None = None) -> Tokenizer:
    """Take a tokenizer that transformers has loaded, such as a Trainer's `processing_class`, as it is now.

    Raises:
        TokenizerError: It is not one that the `tokenizers` library runs, so its offsets are not known.
    """
    # The processor of a vision model holds its tokenizer, and the chat template.
    tokenizer = loaded if hasattr(loaded, "backend_tokenizer") else getattr(loaded, "tokenizer", loaded)
    backend = _backend(tokenizer, name)
    # A copy: each call of a live tokenizer may leave another truncation or padding in its backend.
    copy = tokenizers.Tokenizer.from_str(backend.to_str())
    copy.encode_special_tokens = backend.encode_special_tokens
    return _wrapped(loaded, tokenizer, copy, name=name, files=files)


def _backend(tokenizer: Any, name: str | None) -> tokenizers.Tokenizer:
    backend: tokenizers.Tokenizer | None = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise TokenizerError(
            say("tokenizer.slow", name=type(tokenizer).__name__), where=name, help=say("tokenizer.slow_help")
        )
    return backend


def _wrapped(
    loaded: Any, tokenizer: Any, backend: tokenizers.Tokenizer, *, name: str | None, files: TokenizerFiles | None
) -> Tokenizer:
    backend.no_truncation()
    backend.no_padding()
    templates = loaded.chat_template
    return Tokenizer(
        name=name or tokenizer.name_or_path or type(tokenizer).__name__,
        backend=backend,
        loader="transformers",
        tokenizer_class=type(tokenizer).__name__,
        special_tokens={key: value for key, value in tokenizer.special_tokens_map.items() if isinstance(value, str)},
        files=files,
        # A tokenizer without a template may have one in chat_template.json, which only processors read.
        chat_templates={"default": templates} if isinstance(templates, str) else templates,
    )
