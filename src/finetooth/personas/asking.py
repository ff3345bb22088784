"""Ask a model now, through the persona's prompt, and hold its answers against the sheet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path

from finetooth.config import Config, config_of
from finetooth.errors import DataError, FinetoothError
from finetooth.inspection import open_records
from finetooth.labels import Setup, make_setup
from finetooth.messages import say
from finetooth.personas.building import row_of, turns_of
from finetooth.personas.checking import AnswerMeasure, PersonaReport, Spoken
from finetooth.personas.prompt import PersonaPrompt, text_of
from finetooth.personas.sheet import Persona
from finetooth.probing.judging import Answer, terminators_of
from finetooth.probing.loading import load, model_path
from finetooth.probing.probe import BATCH_SIZE, probe_model
from finetooth.probing.prompts import Prompt, lines_of, prompt_of_turn, prompts_of_records
from finetooth.records import records_of
from finetooth.types import Record


def ask_model(
    model: str | Path,
    persona: Persona,
    *,
    data: Sequence[str] = (),
    prompts: str | Path | None = None,
    adapter: str | Path | None = None,
    limit: int | None = None,
    max_new_tokens: int | None = None,
    batch_size: int = BATCH_SIZE,
    config: Config | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> PersonaReport:
    """Let a model answer in a persona's conversations, and measure what it says.

    Args:
        model: A directory or hub id; the directory of a run stands for the model in it.
        persona: The sheet.
        data: Dialogues whose last answers are asked for; those that can be no row of the persona's are passed over.
        prompts: A text file instead, one user's words a line.
        adapter: A directory with an adapter for the model.
        limit: How many prompts are asked at most.
        max_new_tokens: Where an answer is cut; as of `finetooth.probe`.
        batch_size: Prompts that are answered at a time.
        config: How data, tokenizer and template are read.
        on_progress: Told of the number of answers, batch by batch.

    Raises:
        FinetoothError: There is no such model, or nothing to ask.
    """
    config = config or config_of({})
    path = model_path(model)
    setup = make_setup(config.tokenizer.path or path, config)
    if setup.template is None:
        raise DataError(say("probing.no_template"), where=str(model), help="--template chatml")
    prompt = PersonaPrompt(persona, setup.tokenizer)
    asked = _asked_lines(Path(prompts), prompt, setup) if prompts is not None else _asked(data, prompt, setup, config)
    source = islice(asked, limit)
    first = next(source, None)
    if first is None:
        where = str(prompts) if prompts is not None else ", ".join(data)
        raise DataError(say("probing.no_prompts"), where=where, help=say("probing.no_prompts_help"))
    measure = AnswerMeasure(persona, terminators_of(setup.tokenizer))
    report = PersonaReport(persona=persona)

    def measured(answer: Answer) -> None:
        spoken = Spoken(where=answer.prompt.where, question=answer.prompt.question, text=answer.text)
        report.add(measure(spoken))

    probe_model(
        load(path, adapter),
        setup.tokenizer,
        chain([first], source),
        name=str(model),
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
        on_progress=on_progress,
        on_answer=measured,
    )
    return report


def _asked(sources: Sequence[str], prompt: PersonaPrompt, setup: Setup, config: Config) -> Iterator[Prompt]:
    for record in open_records(list(sources), config.data):
        try:
            row, _ = row_of(record, prompt)
        except FinetoothError:
            continue
        questions = [text_of(turn) for turn in turns_of(record) if turn.get("role") == "user"]
        for one in prompts_of_records([with_messages(record, row)], setup):
            # What an answer may echo is the user's words, without the facts.
            yield replace(one, question=questions[-1].strip())


def _asked_lines(path: Path, prompt: PersonaPrompt, setup: Setup) -> Iterator[Prompt]:
    for number, line in lines_of(path):
        messages = prompt.messages([{"role": "user", "content": line}]).messages
        yield prompt_of_turn(messages, setup, index=number, where=path, question=line)


def with_messages(record: Record, row: dict[str, object]) -> Record:
    """Return a record with the messages of a row that was built of it, at its own place."""
    (built,) = records_of([row])
    return replace(built, index=record.index, where=record.where)
