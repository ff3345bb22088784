"""RUN001: inference does not stop at what training teaches as the end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from finetooth.rules.endings import ending_of
from finetooth.rules.facts import SetupFacts
from finetooth.rules.row import Row
from finetooth.rules.rule import Because, Hit, dataset_rule
from finetooth.types import Place

_PLACES = 3


@dataclass(slots=True)
class _Taught:
    """The rows whose last answer ends in one id."""

    count: int = 0
    places: list[Place] = field(default_factory=list)
    views: list[str] = field(default_factory=list)


@dataclass(slots=True)
class MissingStop:
    """Find terminators that training teaches and at which inference does not stop.

    ## What it does
    Collects the ids in which the rows' last answers end, where they are one supervised token, and looks for each in
    generation_config.json, config.json and the tokenizer's EOS, file by file. An error where the files in force do not
    list it; a warning where one engine stops at it and another does not, since they read different files; and, for
    information, padding ids that disagree. A row whose terminator is in pieces or masked teaches no end, and is the
    matter of LAB001 and LAB002.

    ## Why it is bad
    The model writes its terminator, the engine does not know it, and the answer runs on into an invented next turn.

    ## Example
    Training ends in `<|im_end|>` (151645), generation_config.json says `"eos_token_id": 151643`.

    ## Fix
    Write all terminators into `eos_token_id` of generation_config.json, as a list: `finetooth fix` does.

    ## Fix safety
    Safe: ids are added to the list, none is taken out.

    ## Sources
    LLaMA-Factory #7454, #9338; ms-swift #3113; QwenLM/Qwen3 #927; vLLM #4180, PR #4182; mlx-vlm PR #2112; transformers
    PR #38441 (which aligns the model's configurations with the tokenizer at training, from 4.56 on).
    """

    taught: dict[int, _Taught] = field(default_factory=dict)

    def add(self, row: Row) -> None:
        """Note the terminator of a row."""
        ending = ending_of(row)
        if ending.branch not in ("stops", "not-in-stop-set"):
            return
        taught = self.taught.setdefault(row.input_ids[ending.first_token], _Taught())
        taught.count += 1
        if len(taught.places) < _PLACES:
            start, end = row.characters_of(ending.first_token, ending.end_token)
            record = row.record
            taught.places.append(
                Place(
                    record=record.index,
                    where=record.where,
                    start=start,
                    end=end,
                    first_token=ending.first_token,
                    end_token=ending.end_token,
                )
            )
            taught.views.append(row.view(ending.first_token, ending.end_token))

    def merge(self, other: MissingStop) -> None:
        """Take in what was seen in later records."""
        for token_id, taught in other.taught.items():
            mine = self.taught.setdefault(token_id, _Taught())
            missing = _PLACES - len(mine.places)
            mine.count += taught.count
            mine.places += taught.places[:missing]
            mine.views += taught.views[:missing]

    def hits(self, facts: SetupFacts) -> Iterator[Hit]:
        """Look for every terminator in every file."""
        listed = facts.files.stop_ids if facts.files is not None else {}
        for token_id, taught in self.taught.items():
            cause = _cause(token_id, listed, facts.tokenizer.eos_id)
            if cause is not None:
                yield self._hit(facts, cause, token_id, taught, listed)
        if self.taught:
            yield from _padding(facts)

    def _hit(self, facts: SetupFacts, cause: str, token_id: int, taught: _Taught, listed: dict[str, list[int]]) -> Hit:
        files = facts.files
        in_force = next(iter(listed), "generation_config.json")
        values: dict[str, Any] = {
            "token": facts.tokenizer.piece(token_id),
            "token_id": token_id,
            "file": str(files.directory / in_force) if files is not None else facts.tokenizer.name,
            "listed": listed.get(in_force, []),
            "eos_token": facts.tokenizer.eos_token,
            "eos_id": facts.tokenizer.eos_id,
            "eos_file": facts.file_of("eos_token"),
            "wanted": sorted({*listed.get(in_force, []), *self.taught}),
        }
        return Hit(
            f"rules_run.missing_stop_{'some' if cause == 'eos-not-listed' else 'all'}",
            values={**values, "count": taught.count, "places": taught.places, "views": taught.views},
            help="rules_run.missing_stop_help",
            because=Because(
                code=cause,
                key=f"rules_run.missing_stop_{cause.replace('-', '_') if listed else 'only_eos'}",
                values=values,
                evidence={
                    "trained": token_id,
                    "piece": values["token"],
                    "files": {**listed, values["eos_file"]: [values["eos_id"]] if values["eos_id"] is not None else []},
                    "stop_ids": sorted(facts.stop_ids),
                },
            ),
            severity="warning" if cause == "eos-not-listed" else None,
            fixable=True,
            where=values["file"],
            reproduction=()
            if files is None
            else (
                f"import json; f = json.load(open({values['file']!r}))",
                f"print(f.get('eos_token_id'), {token_id})",
            ),
        )


def _cause(token_id: int, listed: dict[str, list[int]], eos_id: int | None) -> str | None:
    """Return why inference does not stop at an id, or not everywhere; `None` where it does."""
    in_force = next(iter(listed.values()), None)
    if in_force is not None and token_id in in_force:
        return None
    if token_id == eos_id:
        # transformers' generate goes by the file; llama.cpp, and chat templates' own engines, by the tokenizer's EOS.
        return "eos-not-listed" if in_force is not None else None
    if any(token_id in ids for ids in listed.values()):
        return "overruled"
    return "not-listed"


def _padding(facts: SetupFacts) -> Iterator[Hit]:
    """Tell of padding ids that disagree, where the tokenizer's is no stop token (that is the matter of RUN002)."""
    pad_id, files = facts.tokenizer.pad_id, facts.files
    if pad_id is None or files is None or pad_id in facts.stop_ids:
        return
    said = {
        name: value
        for name, config in (
            ("generation_config.json", files.generation_config),
            ("config.json", files.model_config),
        )
        if isinstance(value := config.get("pad_token_id"), int) and value >= 0
    }
    others = {name: value for name, value in said.items() if value != pad_id}
    if not others:
        return
    name, value = next(iter(others.items()))
    values: dict[str, Any] = {
        "pad_token": facts.tokenizer.special_tokens["pad_token"],
        "pad_id": pad_id,
        "file": str(files.directory / name),
        "other_id": value,
        "pad_file": facts.file_of("pad_token"),
    }
    yield Hit(
        "rules_run.padding_disagrees",
        values=values,
        help="rules_run.padding_disagrees_help",
        because=Because(
            code="padding-disagrees",
            key="rules_run.padding_disagrees_because",
            values=values,
            evidence={"files": {**said, values["pad_file"]: pad_id}},
        ),
        severity="info",
        where=values["file"],
    )


# Not as a decorator: a tally is pickled between processes, by the name of its class.
missing_stop = dataset_rule("RUN001", "missing-stop", severity="error", fix="safe")(MissingStop)
