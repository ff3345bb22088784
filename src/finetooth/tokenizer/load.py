"""Load a tokenizer as its trainer will, and say where that was not checked.

The same files give other ids by the class that loads them. The torch-free path reads tokenizer.json and does to it what
transformers' generic class does; that is exact for `PreTrainedTokenizerFast` and `TokenizersBackend` alone. Any other
class may rebuild the normalizer and pre-tokenizer (transformers 5.23 does for `LlamaTokenizer`), so it is loaded by
transformers itself, where that is installed.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import tokenizers
from tokenizers import AddedToken, processors

from finetooth.config import Loader
from finetooth.errors import MissingExtraError, TokenizerError
from finetooth.messages import say
from finetooth.tokenizer.files import SPECIAL_TOKEN_KEYS, TokenizerFiles, locate
from finetooth.tokenizer.tokenizer import Tokenizer

GENERIC_CLASSES = ("PreTrainedTokenizerFast", "TokenizersBackend")
"""The classes that take tokenizer.json as it is."""

REPLACED_MODEL_TYPES = frozenset(
    "arctic chatlm ernie4_5 ernie4_5_moe fuyu h2ovl_chat hyperclovax hyperclovax_vlm hyperclovax_vision_v2 internlm2 "
    "internlm3 iquestcoder jamba llava llava_next minicpm3 minicpmv minimax_m2 modernbert modernbert-decoder molmo molmo2 "
    "nemotron nvfp4 opencua openvla paddleocr_vl phi3 phi3_v phimoe qwen2 qwen3_5 qwen3_5_moe qwen3_5_moe_text qwen4_exp "
    "step3_vl vipllava cohere_asr siglip2 smolvlm mistral mistral3 mixtral ministral ministral3 voxtral".split()
)
"""Model types for which transformers 5.23 takes another class than the files name, or patches the pre-tokenizer
(`MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS` and the Mistral family, models/auto/tokenization_auto.py)."""


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
    reason = _inexact(files)
    if loader == "tokenizers" or (loader == "auto" and reason is None):
        return _with_tokenizers(model, files, unchecked=reason)
    has_transformers = importlib.util.find_spec("transformers") is not None
    if has_transformers:
        return _with_transformers(model, files)
    if loader == "transformers" or not files.tokenizer_json.is_file():
        what = "tokenizer.needs_transformers" if loader == "transformers" else "tokenizer.sentencepiece_only"
        raise MissingExtraError(say(what), where=str(files.directory), help='pip install "finetooth[train]"')
    return _with_tokenizers(model, files, unchecked=reason)


def _inexact(files: TokenizerFiles) -> str | None:
    """Return why reading tokenizer.json alone is not sure to give what transformers gives; `None` where it is."""
    if not files.tokenizer_json.is_file():
        return say("tokenizer.no_json")
    config = files.tokenizer_config
    name = config.get("tokenizer_class") or files.model_config.get("tokenizer_class")
    if name is None:
        # A bare tokenizer.json is loaded by the generic class; with a config.json the model's class decides.
        return say("tokenizer.no_class") if files.model_config.get("model_type") else None
    if name not in GENERIC_CLASSES:
        return say("tokenizer.other_class", name=name)
    if config.get("auto_map"):
        return say("tokenizer.own_code")
    model_type = files.model_config.get("model_type")
    if model_type in REPLACED_MODEL_TYPES:
        return say("tokenizer.replaced_class", model_type=model_type)
    return None


def _with_tokenizers(model: str, files: TokenizerFiles, *, unchecked: str | None) -> Tokenizer:
    path = files.tokenizer_json
    if not path.is_file():
        names = [entry.name for entry in files.directory.iterdir()]
        has_sentencepiece = any(name.endswith((".model", ".spm")) for name in names)
        if has_sentencepiece and importlib.util.find_spec("transformers") is None:
            raise MissingExtraError(
                say("tokenizer.sentencepiece_only"), where=str(files.directory), help='pip install "finetooth[train]"'
            )
        raise TokenizerError(
            say("tokenizer.sentencepiece_only" if has_sentencepiece else "tokenizer.no_tokenizer"),
            where=str(files.directory),
            help=say("tokenizer.use_transformers" if has_sentencepiece else "tokenizer.no_tokenizer_help"),
        )
    try:
        backend = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:
        raise TokenizerError(
            say("tokenizer.damaged", reason=str(error)[:200]), where=str(path), help=say("tokenizer.damaged_help")
        ) from error
    _prepare_as_generic_class(backend, files)
    return Tokenizer(
        name=model,
        backend=backend,
        loader="tokenizers",
        tokenizer_class=str(files.tokenizer_config.get("tokenizer_class") or "PreTrainedTokenizerFast"),
        special_tokens=files.special_tokens,
        files=files,
        unchecked=unchecked,
    )


def _prepare_as_generic_class(backend: tokenizers.Tokenizer, files: TokenizerFiles) -> None:
    """Do to a tokenizer what transformers' `TokenizersBackend.__init__` and `_post_init` do (read at 5.23)."""
    config = files.tokenizer_config
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = bool(config.get("split_special_tokens", False))
    present = {repr(token) for token in backend.get_added_tokens_decoder().values()}
    declared = {
        int(index): AddedToken(**{key: value for key, value in token.items() if key != "__type"})
        for index, token in (config.get("added_tokens_decoder") or {}).items()
    }
    # tokenizer_config.json overrules tokenizer.json: its flags are set again where they differ.
    added = [token for _, token in sorted(declared.items()) if repr(token) not in present]
    known = {token.content for token in backend.get_added_tokens_decoder().values()} | {t.content for t in added}
    special = list(files.special_tokens.values()) + files.extra_special_tokens
    for token in special:
        token = AddedToken(**{**token, "special": True}) if isinstance(token, dict) else AddedToken(token, special=True)
        if token.content not in known:
            added.append(token)
            known.add(token.content)
    names = set(files.special_tokens.values())
    for token in added:
        token.special = token.special or token.content in names
    if added:
        backend.add_tokens(added)
    by_content = {token.content: token for token in declared.values()}
    by_content |= {} if declared else {t.content: t for t in backend.get_added_tokens_decoder().values()}
    texts = [token["content"] if isinstance(token, dict) else str(token) for token in special]
    backend.add_special_tokens(
        [by_content.get(text, AddedToken(text, special=True, normalized=False)) for text in texts]
    )
    if backend.post_processor is None:
        backend.post_processor = processors.TemplateProcessing(single="$A:0", pair="$A:0 $B:1", special_tokens=[])


def _with_transformers(model: str, files: TokenizerFiles) -> Tokenizer:
    from transformers import AutoTokenizer

    try:
        loaded: Any = AutoTokenizer.from_pretrained(str(files.directory), trust_remote_code=False)
    except Exception as error:
        raise TokenizerError(
            say("tokenizer.transformers_refuses", reason=(str(error).strip().splitlines() or [""])[0][:200]),
            where=str(files.directory),
            help=say("tokenizer.transformers_refuses_help"),
        ) from error
    return from_transformers(loaded, name=model, files=files)


def from_transformers(loaded: Any, *, name: str | None = None, files: TokenizerFiles | None = None) -> Tokenizer:
    """Take a tokenizer that transformers has loaded, such as a Trainer's `processing_class`.

    Raises:
        TokenizerError: It is not one that the `tokenizers` library runs, so its offsets are not known.
    """
    backend = getattr(loaded, "backend_tokenizer", None)
    if backend is None:
        raise TokenizerError(
            say("tokenizer.slow", name=type(loaded).__name__), where=name, help=say("tokenizer.slow_help")
        )
    special = {
        key: str(value)
        for key, value in loaded.special_tokens_map.items()
        if isinstance(value, str) or key in SPECIAL_TOKEN_KEYS
    }
    templates = loaded.chat_template
    return Tokenizer(
        name=name or loaded.name_or_path or type(loaded).__name__,
        backend=backend,
        loader="transformers",
        tokenizer_class=type(loaded).__name__,
        special_tokens=special,
        files=files,
        chat_templates={"default": templates} if isinstance(templates, str) else dict(templates or {}),
    )
