"""Edits: a padding token of its own, and files that agree on it.

Where the padding token is the end of the answers, every collator that masks padding by its id masks the true end as
well (`labels[labels == pad_token_id] = -100`: transformers 5.23, data/data_collator.py). Another token takes its place,
always one that the vocabulary holds already: a new one would need a row of embeddings that no one has trained, and
padding is never read. A token that has the name of padding comes first, then the reserved ones, then the unknown token;
none that a row of the data holds, none that the template prints, and none at which inference stops.

Safe: only what is padded and masked changes; the labels of a healthy row do not.

Sources: TRL #976, #1623; Unsloth's table of reserved tokens (`unsloth_zoo/pad_token.py`) for the idea of an order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from finetooth.fix.edits import Edit, Left, Outcome
from finetooth.fix.workbench import Workbench
from finetooth.messages import say
from finetooth.tokenizer import SPECIAL_TOKEN_KEYS

CODES = ("RUN002", "LAB002")

_NAMES = (
    re.compile(r"<pad>|<\|pad\|>|\[PAD\]|<PAD>|<\|PAD\|>|<\|padding\|>|<\|pad_token\|>|<｜▁pad▁｜>"),
    re.compile(r"<\|finetune_right_pad_id\|>|<\|finetune_right_pad\|>|<\|vision_pad\|>|<\|fim_pad\|>"),
    re.compile(r"<\|?(reserved|reserved_special_token|extra|extra_id|unused|dummy|placeholder)_?\d+\|?>"),
    re.compile(r"\[(unused|control|reserved)_?\d+\]|<unused_?\d+>|<SPECIAL_\d+>|<｜place▁holder▁no▁\d+｜>"),
    re.compile(r"<\|endoftext\|>"),
)
"""Names of tokens that pad or are reserved, the best first."""


def repair_padding(bench: Workbench) -> Iterator[Outcome]:
    """Give padding a token of its own where it is the end of answers, and write its id wherever files name one."""
    if bench.wants(*CODES) and _pads_with_an_end(bench):
        token = free_token(bench)
        if token is None:
            yield Left(codes=CODES, text=say("fix.no_free_token"), help=say("fix.no_free_token_help"))
        else:
            yield from _written(bench, token)
    if bench.wants("RUN001"):
        yield from _agreeing(bench)


def _pads_with_an_end(bench: Workbench) -> bool:
    facts = bench.facts()
    pad_id = facts.tokenizer.pad_id
    if pad_id is None or pad_id not in facts.stop_ids:
        return False
    # Qwen's padding is one of its stop tokens, and its answers end in another: that masks nothing.
    survey = None if pad_id == facts.tokenizer.eos_id else bench.survey()
    return survey is None or pad_id in survey.taught or survey.endings["masked-by-pad"] > 0


def free_token(bench: Workbench) -> str | None:
    """Return the best token of the vocabulary that can serve as padding; `None` where there is none."""
    facts = bench.facts()
    tokenizer, backend = facts.tokenizer, facts.tokenizer.backend
    named = {tokenizer.special_tokens.get(key) for key in SPECIAL_TOKEN_KEYS if key not in ("unk_token", "pad_token")}
    template = facts.template.source if facts.template is not None else ""
    num_rows = _num_rows(bench)

    def serves(text: str) -> bool:
        token_id = backend.token_to_id(text)
        return (
            token_id is not None
            and (num_rows is None or token_id < num_rows)
            and token_id not in facts.stop_ids
            and text not in named
            and text not in template
            and token_id not in bench.survey().used_ids
        )

    vocabulary = sorted(
        (text for text in backend.get_vocab(with_added_tokens=True) if text[:1] in "<["),
        key=lambda text: (backend.token_to_id(text), text),
    )
    for pattern in _NAMES:
        for text in vocabulary:
            if pattern.fullmatch(text) and serves(text):
                return text
    unknown = tokenizer.special_tokens.get("unk_token")
    return unknown if unknown and unknown not in named and serves(unknown) else None


def _num_rows(bench: Workbench) -> int | None:
    """Return how many rows of embeddings the model has, where its configuration says so."""
    config = bench.copy.files.model_config
    value = config.get("vocab_size")
    if value is None and isinstance(config.get("text_config"), dict):
        value = config["text_config"].get("vocab_size")
    return value if isinstance(value, int) else None


def _written(bench: Workbench, token: str) -> Iterator[Outcome]:
    copy, facts = bench.copy, bench.facts()
    token_id = facts.tokenizer.backend.token_to_id(token)
    assert token_id is not None
    old = facts.tokenizer.special_tokens["pad_token"]
    with bench.trial() as trial:
        files = [name for name in _TOKEN_FILES if copy.put(name, ["pad_token"], token)]
        if copy.read("tokenizer_config.json") is None:
            copy.write("tokenizer_config.json", f'{{\n  "pad_token": {_quoted(token)}\n}}\n')
            files.append("tokenizer_config.json")
        if facts.tokenizer.files is not None and facts.tokenizer.files.json("tokenizer.json").get("padding"):
            copy.put("tokenizer.json", ["padding", "pad_token"], token)
            copy.put("tokenizer.json", ["padding", "pad_id"], token_id)
            files.append("tokenizer.json")
        files += [name for name in _ID_FILES if _set_id(bench, name, token_id)]
        bench.changed()
        after = bench.facts()
        works = after.tokenizer.pad_id == token_id and token_id not in after.stop_ids
        if works:
            trial.keep()
    if works:
        values = {"token": token, "token_id": token_id, "old": old, "files": ", ".join(files)}
        yield Edit(name="padding-token", codes=CODES, text=say("fix.padding", **values))
    else:
        yield Left(codes=CODES, text=say("fix.padding_refused", token=token, old=old))


_TOKEN_FILES = ("tokenizer_config.json", "special_tokens_map.json")
_ID_FILES = ("config.json", "generation_config.json")


def _quoted(text: str) -> str:
    import json

    return json.dumps(text, ensure_ascii=False)


def _set_id(bench: Workbench, name: str, token_id: int) -> bool:
    """Write the padding id into a configuration file that is there, and into the text model's part where it has one."""
    content = bench.copy.files.json(name)
    if bench.copy.read(name) is None:
        return False
    changed = bench.copy.put(name, ["pad_token_id"], token_id)
    inner = content.get("text_config")
    if isinstance(inner, dict) and "pad_token_id" in inner:
        changed = bench.copy.put(name, ["text_config", "pad_token_id"], token_id) or changed
    return changed


def _agreeing(bench: Workbench) -> Iterator[Outcome]:
    """Write the tokenizer's padding id where a configuration file names another."""
    facts = bench.facts()
    pad_id = facts.tokenizer.pad_id
    if pad_id is None or pad_id in facts.stop_ids:
        return
    files = [name for name in _ID_FILES if _names_another(bench, name, pad_id) and _set_id(bench, name, pad_id)]
    if files:
        bench.changed()
        values = {"token": facts.tokenizer.special_tokens["pad_token"], "token_id": pad_id, "files": ", ".join(files)}
        yield Edit(name="padding-id", codes=("RUN001",), text=say("fix.padding_id", **values))


def _names_another(bench: Workbench, name: str, pad_id: int) -> bool:
    value = bench.copy.files.json(name).get("pad_token_id")
    # A negative id says that there is none (Llama 1).
    return isinstance(value, int) and value >= 0 and value != pad_id
