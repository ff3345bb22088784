"""Probe a model: ask, generate, judge, count.

report = finetooth.probe("runs/first", data="train.jsonl")
report.rate("stop")
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from finetooth.config import Config, config_of
from finetooth.errors import ConfigError, DataError
from finetooth.fingerprint import hash_of_template
from finetooth.labels import Setup, make_setup
from finetooth.messages import say
from finetooth.probing.judging import Answer, judge
from finetooth.probing.loading import load, model_path
from finetooth.probing.prompts import Prompt, prompts_of_data, prompts_of_lines
from finetooth.probing.report import ProbeReport, longest_useful
from finetooth.tokenizer import Tokenizer

BATCH_SIZE = 16
_LOOKED_AT = 64
"""Prompts by whose answers in the data the limit of length is chosen."""


def probe_model(
    model: Any,
    tokenizer: Tokenizer,
    prompts: Iterable[Prompt],
    *,
    name: str,
    max_new_tokens: int | None = None,
    batch_size: int = BATCH_SIZE,
    style: Sequence[str] = (),
    asked_chars: int | None = None,
    template_hash: str | None = None,
    on_progress: Callable[[int], None] | None = None,
    on_answer: Callable[[Answer], None] | None = None,
) -> ProbeReport:
    """Let a loaded model answer prompts, and count how its answers end.

    Args:
        model: The model.
        tokenizer: Its tokenizer, which reads the answers.
        prompts: What is asked; read as a stream.
        name: What the report calls the model.
        max_new_tokens: Where an answer is cut; `None` gives twice the longest answer of the first prompts' data.
        batch_size: Prompts that are answered at a time.
        style: Regular expressions of a style, looked for in each answer.
        asked_chars: How long answers were asked to be.
        template_hash: Of the chat template that wrote the prompts.
        on_progress: Told of the number of answers, batch by batch.
        on_answer: Given every answer; the report keeps a few.
    """
    from finetooth.probing.generating import generate, stop_ids_of

    source = iter(prompts)
    first = list(islice(source, _LOOKED_AT))
    limit = max_new_tokens or longest_useful([prompt.answer_tokens for prompt in first if prompt.answer_tokens])
    stops = stop_ids_of(model)
    report = ProbeReport(
        model=name,
        stop_ids=tuple(sorted(stops)),
        max_new_tokens=limit,
        asked_chars=asked_chars,
        style=tuple(style),
        template_hash=template_hash if any(prompt.is_rendered for prompt in first) else None,
    )
    patterns = [_pattern(one) for one in style]
    waiting = chain(first, source)
    while batch := list(islice(waiting, batch_size)):
        answers = generate(model, [prompt.input_ids for prompt in batch], max_tokens=limit)
        for prompt, ids in zip(batch, answers, strict=True):
            answer = judge(prompt, ids, tokenizer, stops, style=patterns)
            report.add(answer)
            if on_answer is not None:
                on_answer(answer)
        if on_progress is not None:
            on_progress(report.num_prompts)
    return report


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise ConfigError(say("probing.bad_pattern", pattern=text, reason=str(error)), where="--style") from error


def probe(
    model: str | Path,
    *,
    data: str | Path | Sequence[str] | None = None,
    prompts: str | Path | None = None,
    adapter: str | Path | None = None,
    system: str | None = None,
    limit: int | None = None,
    max_new_tokens: int | None = None,
    batch_size: int = BATCH_SIZE,
    style: Sequence[str] = (),
    asked_chars: int | None = None,
    config: Config | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> ProbeReport:
    """Load a model, let it answer, and count how its answers end.

    Args:
        model: A directory or hub id; the directory of a run stands for the model in it.
        data: Records whose prompts are asked.
        prompts: A text file instead, one user's message a line.
        adapter: A directory with an adapter for the model.
        system: A system message for the lines of `prompts`.
        limit: How many prompts are asked at most.
        max_new_tokens: See `probe_model`.
        batch_size: See `probe_model`.
        style: See `probe_model`.
        asked_chars: See `probe_model`.
        config: How data, tokenizer and template are read.
        on_progress: See `probe_model`.

    Raises:
        FinetoothError: There is no such model, or nothing to ask.
    """
    config = config or config_of({})
    if (data is None) == (prompts is None):
        raise ConfigError(say("probing.one_source"), where="--data", help="--data train.jsonl")
    path = model_path(model)
    setup: Setup = make_setup(config.tokenizer.path or path, config)
    if prompts is not None:
        asked = prompts_of_lines(Path(prompts), setup, system=system)
    else:
        assert data is not None
        sources = [str(data)] if isinstance(data, (str, Path)) else [str(one) for one in data]
        asked = prompts_of_data(sources, setup, config)
    source = islice(asked, limit)
    first = next(source, None)
    if first is None:
        raise DataError(say("probing.no_prompts"), where=str(data or prompts), help=say("probing.no_prompts_help"))
    return probe_model(
        load(path, adapter),
        setup.tokenizer,
        chain([first], source),
        name=str(model),
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
        style=style,
        asked_chars=asked_chars,
        template_hash=hash_of_template(setup),
        on_progress=on_progress,
    )
