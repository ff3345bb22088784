"""TOK004: tokenizer.json, and the class that loads it, give other ids."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import tokenizers

from finetooth.errors import FinetoothError
from finetooth.rules.facts import CONTEXTS, SetupFacts
from finetooth.rules.literals import emitted_by_template
from finetooth.rules.rule import Because, Hit, NotRun, setup_rule

_TEXTS = (
    "The quick brown fox, 1234567.",
    " leading and  double  spaces ",
    "\n\nline\n\tindented\r\n",
    "don't 'quote' it's",
    "Café naïve e\u0301 ﬁne ＡＢＣ①",
    "こんにちは。\n\nお元気ですか？　はい！",
    "東京都、嬢、鬱、𠮷",
    "안녕하세요 สวัสดี Привет مرحبا",
    "def f(x):\n    return x  # 🙂👩‍👩‍👧",
)
"""Texts in which tokenizers are known to differ: spaces, digits, apostrophes, compatibility forms, scripts, emoji."""

_COMPONENTS = ("normalizer", "pre_tokenizer", "post_processor", "added_tokens", "model")


@setup_rule("TOK004", "loader-drift", severity="warning")
def loader_drift(facts: SetupFacts) -> Iterator[Hit | NotRun]:
    """Find tokenizers whose class gives other ids than their tokenizer.json.

    ## What it does
    Encodes probe texts (special tokens after many characters, spaces, digits, Japanese, code) twice: as the class
    loads the tokenizer that the files name, and as tokenizer.json says. Where ids differ, it names the class, the
    version of transformers, a text that differs, and the components that are not the same. Where the class was not
    asked (transformers is not installed, or `--loader tokenizers`), it says so. The generic classes take tokenizer.json
    as it is, and are not asked.

    ## Why it is bad
    Training goes by one, and the inference engine by the other: the model meets ids that it was not trained on. A
    fault that one side has is hidden by the other.

    ## Example
    A tokenizer.json that cuts `。</s>` in pieces, with `"tokenizer_class": "LlamaTokenizer"`: transformers 5 builds
    another normalizer and pre-tokenizer, and the same text ends in `2`.

    ## Fix
    Set `"tokenizer_class": "PreTrainedTokenizerFast"` in tokenizer_config.json where tokenizer.json is right; otherwise
    save the tokenizer anew with the class.

    ## Fix safety
    None is offered: only the model's training says which of the two is right.

    ## Sources
    transformers #45488, #45701, PR #45345, PR #44255, #24569, #35973; RBLN PR #87 (GSM8K 63.7 to 26.1 percent).
    """
    tokenizer, files = facts.tokenizer, facts.files
    if tokenizer.unchecked is not None:
        yield NotRun("rules_tok.loader_unchecked", {"reason": tokenizer.unchecked})
        return
    if tokenizer.loader != "transformers" or files is None or not files.tokenizer_json.is_file():
        return
    from finetooth.tokenizer import load_tokenizer

    try:
        # With the tokens that the other files declare, as the generic class adds them: what is left is the class.
        plain = load_tokenizer(str(files.directory), loader="tokenizers").backend
    except FinetoothError as error:
        yield NotRun("rules_tok.loader_unreadable", {"reason": error.what})
        return
    probes = _probes(facts)
    differing = [
        (text, special, left, right)
        for text in probes
        for special in (False, True)
        if (left := _ids(plain, text, special)) != (right := _ids(tokenizer.backend, text, special))
    ]
    if not differing:
        return
    # A text that differs without its special tokens shows more than the same with them.
    text, special, left, right = min(differing, key=lambda one: (one[1], len(one[0])))
    changed = _changed(plain, tokenizer.backend)
    values = {
        "cls": tokenizer.tokenizer_class,
        "version": _version(),
        "file": str(files.tokenizer_json),
        "text": text.replace("\n", "\\n"),
        "ids_of_file": ", ".join(map(str, left)),
        "ids_of_class": ", ".join(map(str, right)),
        "num_differing": len({one[0] for one in differing}),
        "num_probes": len(probes),
        "changed": ", ".join(changed) or "-",
    }
    only_added = all(one[1] for one in differing)
    yield Hit(
        "rules_tok.loader_drift",
        values=values,
        help="rules_tok.loader_drift_help",
        because=Because(
            code="adds-other-tokens" if only_added else "rebuilt",
            key="rules_tok.loader_drift_added" if only_added else "rules_tok.loader_drift_rebuilt",
            values=values,
            evidence={
                "tokenizer_class": tokenizer.tokenizer_class,
                "transformers": values["version"],
                "tokenizers": tokenizers.__version__,
                "file": values["file"],
                "text": text,
                "add_special_tokens": special,
                "ids_of_file": left,
                "ids_of_class": right,
                "components": changed,
                "num_differing": values["num_differing"],
                "num_probes": len(probes),
            },
        ),
        where=str(files.tokenizer_json),
        reproduction=(
            f"from tokenizers import Tokenizer; from transformers import AutoTokenizer; d = {str(files.directory)!r}",
            f"print(Tokenizer.from_file(d + '/tokenizer.json').encode({text!r}, add_special_tokens={special}).ids, "
            f"AutoTokenizer.from_pretrained(d)({text!r}, add_special_tokens={special}).input_ids)",
        ),
    )


def _probes(facts: SetupFacts) -> list[str]:
    literals = [*facts.stops.literals, *emitted_by_template(facts)]
    literals += [token for token in (facts.tokenizer.bos_token,) if token]
    in_context = [
        f"{before}{one}{after}" for one in dict.fromkeys(literals) for before in CONTEXTS for after in ("", "a")
    ]
    return [*_TEXTS, *in_context]


def _ids(backend: tokenizers.Tokenizer, text: str, add_special_tokens: bool) -> list[int]:
    ids: list[int] = backend.encode(text, add_special_tokens=add_special_tokens).ids
    return ids


def _changed(plain: tokenizers.Tokenizer, loaded: tokenizers.Tokenizer) -> list[str]:
    """Return the components that are not the same in both."""
    from finetooth.tokenizer.pieces import components

    left, right = components(plain), components(loaded)
    return [name for name in _COMPONENTS if _without_defaults(left.get(name)) != _without_defaults(right.get(name))]


def _without_defaults(component: Any) -> Any:
    if isinstance(component, dict):
        return {key: _without_defaults(value) for key, value in component.items() if value is not None}
    return [_without_defaults(item) for item in component] if isinstance(component, list) else component


def _version() -> str:
    try:
        return version("transformers")
    except PackageNotFoundError:
        return "?"
