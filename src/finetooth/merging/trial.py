"""Try a merged model that is written: its tokenizer, its weights as transformers opens them, a few tokens.

Merging itself needs no more memory for a larger model; this does, for the whole model is opened. So it is skipped, and
said to be, where the memory that is free would not do.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from finetooth.config import config_of
from finetooth.errors import FinetoothError
from finetooth.fingerprint import probe_texts
from finetooth.labels import Setup, make_setup
from finetooth.merging.headers import read_weight_file
from finetooth.merging.models import OpenModel
from finetooth.merging.planning import Models
from finetooth.merging.vocabulary import Vocabulary
from finetooth.messages import say

TOKENS = 8
"""How many tokens are generated."""
_MARGIN = 1.3
"""Memory that opening a model takes, by the size of its weights: transformers reads what is mapped, and adds little."""
_QUESTION = "Hello"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundTrip:
    """How the written tokenizer encodes the probes, beside one that went into it."""

    model: str
    num_probes: int
    num_same: int
    is_owner: bool
    """Whether the ids are compared, and not the pieces: the merged model has this model's ids."""
    first: str | None
    """The first probe that comes out otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What was seen of a merged model."""

    is_finite: bool
    """Whether every element was seen to be a number as it was written; false where that was not asked for."""
    round_trips: tuple[RoundTrip, ...]
    model_class: str | None
    """What transformers opened it as; `None` where it was not opened."""
    text: str
    """What it wrote."""
    num_tokens: int
    stopped: bool
    skipped: str | None
    """Why it was not opened, or why no tokenizer was read."""
    fault: str | None
    """What is wrong with it."""

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong, in sentences; the merged model is not what it should be."""
        lost = [
            say("merging.trial_ids", model=one.model, num=one.num_probes - one.num_same, total=one.num_probes,
                probe=_shown(one.first or ""))
            for one in self.round_trips
            if one.is_owner and one.num_same < one.num_probes
        ]  # fmt: skip
        return (*lost, *((self.fault,) if self.fault is not None else ()))

    def sentences(self) -> Iterator[str]:
        """Yield what was seen, for people; faults are apart."""
        yield say("merging.trial_finite") if self.is_finite else say("merging.trial_not_scanned")
        for one in self.round_trips:
            if one.is_owner and one.num_same == one.num_probes:
                yield say("merging.trial_tokenizer", model=one.model, total=one.num_probes)
            elif not one.is_owner:
                yield say("merging.trial_pieces", model=one.model, num=one.num_same, total=one.num_probes)
        if self.skipped is not None:
            yield self.skipped
        if self.model_class is not None and self.fault is None:
            text = _shown(self.text)
            key = "merging.trial_stopped" if self.stopped else "merging.trial_generated"
            yield say(key, name=self.model_class, count=self.num_tokens, text=text)


def after(
    target: Path,
    models: Models,
    owner: OpenModel,
    vocabulary: Vocabulary | None,
    *,
    was_scanned: bool,
) -> Trial:
    """Try a merged model.

    Args:
        target: Its directory.
        models: What it was merged from.
        owner: The model whose tokenizer it got.
        vocabulary: Its vocabulary, where one was made.
        was_scanned: Whether the merge looked at every element that it wrote, and stops at one that is no number.
    """
    setup = _setup(target)
    trips = tuple(_round_trips(setup, models, owner, vocabulary)) if setup is not None else ()
    seen: dict[str, Any] = {"model_class": None, "text": "", "num_tokens": 0, "stopped": False, "fault": None}
    size = sum(read_weight_file(file).size_bytes for file in sorted(target.glob("*.safetensors")))
    free = available_bytes()
    skipped = None
    if free is not None and size * _MARGIN > free:
        skipped = say("merging.trial_too_large", size=f"{size / 1e9:.1f}", free=f"{free / 1e9:.1f}")
    else:
        skipped = _generate(target, setup, seen)
    return Trial(is_finite=was_scanned, round_trips=trips, skipped=skipped, **seen)


def available_bytes() -> int | None:
    """Return the memory that a program can have; `None` where the system does not tell."""
    found: list[int] = []
    with contextlib.suppress(OSError, ValueError):
        match = re.search(r"^MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
        found += [int(match[1]) * 1024] if match else []
    with contextlib.suppress(OSError, ValueError):  # a container may be given less than the machine has
        group = Path("/sys/fs/cgroup")
        limit, used = (int((group / f"memory.{name}").read_text()) for name in ("max", "current"))
        found.append(limit - used)
    return min(found, default=None)


def _setup(directory: Path) -> Setup | None:
    try:
        return make_setup(str(directory), config_of({"tokenizer.loader": "tokenizers"}))
    except FinetoothError:
        return None


def _round_trips(
    written: Setup, models: Models, owner: OpenModel, vocabulary: Vocabulary | None
) -> Iterator[RoundTrip]:
    """Yield how probes come out: ids of the owner, pieces of the others whose tokens are in the vocabulary too."""
    for reference, model in models.items():
        is_owner = model.directory == owner.directory
        if not is_owner and (vocabulary is None or vocabulary.tokenizer_json is None):
            continue
        setup = _setup(model.directory)
        if setup is None:
            continue
        total = same = 0
        first = None
        for probe in probe_texts(setup.tokenizer).values():
            before, now = (_encoded(one, probe, as_ids=is_owner) for one in (setup, written))
            total += 1
            same += before == now
            first = probe if before != now and first is None else first
        yield RoundTrip(model=str(reference), num_probes=total, num_same=same, is_owner=is_owner, first=first)


def _encoded(setup: Setup, text: str, *, as_ids: bool) -> list[int] | list[str]:
    try:
        encoding = setup.tokenizer.encode([text], add_special_tokens=False)[0]
    except FinetoothError:
        return []  # a vocabulary without an unknown token refuses characters that it lacks
    return list(encoding.ids) if as_ids else list(encoding.tokens)


def _generate(target: Path, setup: Setup | None, seen: dict[str, Any]) -> str | None:
    """Open the model and let it write; returns why that was not done."""
    from transformers import AutoConfig, AutoModelForCausalLM

    from finetooth.probing.generating import generate, stop_ids_of

    try:
        config = AutoConfig.from_pretrained(target, trust_remote_code=False)
        known = type(config) in AutoModelForCausalLM._model_mapping
    except Exception as error:
        return say("merging.trial_no_class", reason=_first_line(error))
    if not known:
        return say("merging.trial_no_class", reason=type(config).__name__)
    try:
        with _quiet():
            model, info = AutoModelForCausalLM.from_pretrained(
                target, dtype="auto", trust_remote_code=False, output_loading_info=True
            )
        seen["model_class"] = type(model).__name__
        missing = sorted(info["missing_keys"])
        if missing:
            seen["fault"] = say("merging.trial_missing", num=len(missing), name=missing[0])
            return None
        prompt = _prompt(setup, config.to_dict())
        with torch.no_grad():
            logits = model(torch.tensor([prompt])).logits
        if not bool(torch.isfinite(logits).all()):
            seen["fault"] = say("merging.trial_not_finite")
            return None
        (ids,) = generate(model, [prompt], max_tokens=TOKENS)
        seen["num_tokens"] = len(ids)
        seen["stopped"] = bool(ids) and ids[-1] in stop_ids_of(model)
        seen["text"] = setup.tokenizer.backend.decode(ids) if setup is not None else " ".join(map(str, ids))
    except Exception as error:
        seen["fault"] = say("merging.trial_failed", reason=_first_line(error))
    return None


def _prompt(setup: Setup | None, config: Mapping[str, Any]) -> list[int]:
    """Return what the model is asked: a question in its template, or else its beginning."""
    if setup is not None:
        text, template = _QUESTION, setup.template
        if template is not None:
            with contextlib.suppress(FinetoothError):
                text = template.render([{"role": "user", "content": _QUESTION}], add_generation_prompt=True)
        with contextlib.suppress(FinetoothError):
            ids = setup.tokenizer.encode([text], add_special_tokens=template is None)[0].ids
            if ids:
                return list(ids)
    bos = config.get("bos_token_id")
    return [bos if isinstance(bos, int) and bos >= 0 else 0]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Let transformers show no bar and no warning of its own."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    had_bar = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if had_bar:
            logging.enable_progress_bar()


def _shown(text: str) -> str:
    quoted = json.dumps(text, ensure_ascii=False)
    return quoted if len(quoted) <= 70 else f'{quoted[:68]}…"'


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
