"""RUN004: a token that rows use has a row of weights that was never trained, and that stays as it is."""

from __future__ import annotations

import math
import statistics
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from finetooth.rules.embeddings import Embeddings, embeddings_of
from finetooth.rules.endings import ending_of
from finetooth.rules.facts import SetupFacts
from finetooth.rules.literals import emitted_by_template
from finetooth.rules.row import Row
from finetooth.rules.rule import Because, Hit, NotRun, dataset_rule
from finetooth.types import Place, Severity
from finetooth.weightfiles import Tensor, UnreadableWeightsError

_PLACES = 3
_SAMPLE = 384
"""Ordinary rows that are read of a matrix: their mean is off by a twentieth of a row's distance (1 / sqrt(384))."""
_PEERS = 512
"""Rows of other added tokens that are read, to be compared."""
_NEAR_ZERO = 1e-3
"""Of the median norm. Llama 3's untrained rows hold 1e-23 (unsloth_zoo); the smallest row of stories260K has 0.53 of
the median, and a row at the mean of 2,000 random ones 0.02."""
_NEAR_MEAN = 0.125
"""Of the median distance from the mean: two and a half times what the sample leaves uncertain. Rows that transformers
5.23 adds (`resize_token_embeddings`) lie within 4e-5 of it, and no row of stories260K within 0.52."""
_EQUAL = 1e-3
"""Of the median norm. Rows that no text ever used come near each other, for all are pushed the same way: in
stories260K, within 5.4e-4 of it, where no two others are nearer than 5.8e-3."""
_SHOWN = 4


@dataclass(slots=True)
class _Use:
    """The rows that use one token."""

    count: int = 0
    supervised: int = 0
    ends: int = 0
    """In how many it is the terminator of the last answer."""
    places: list[Place] = field(default_factory=list)
    views: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Fault:
    """A token's row of one matrix, and why it counts as untrained."""

    token_id: int
    tensor: Tensor
    written: bool
    """Whether the matrix is what tokens are written by."""
    values: Mapping[str, Any]


@dataclass(slots=True)
class UntrainedRow:
    """Find tokens that the rows use, and whose own row of weights was never trained and is left frozen.

    ## What it does
    Counts which added tokens, tokens of the template and terminators the rows use, and reads their rows of the
    embeddings and, of supervised ones, of the output layer, with some hundred ordinary rows to compare, from the
    safetensors files. A row counts as untrained where its norm is near zero, where it lies at the mean of all rows, as
    those of an enlarged vocabulary do, or where it equals that of another token; and a token may have no row.
    A recipe tells what is trained: with `method: full`, or a LoRA adapter on the matrix, all rows are, and nothing is
    said. Otherwise a terminator that is to be learned by a frozen row of the output layer is an error, as is a token
    without a row, and everything else a warning, as is all but a missing row where no recipe tells. A directory
    without weights is passed over.

    ## Why it is bad
    A base model has never seen the tokens of a chat template, and a LoRA adapter leaves the embeddings frozen: the
    model cannot tell the token from others and hardly ever writes it, so that answers do not end, or repeat themselves.

    ## Example
    ChatML on a base model with `<|im_start|>` and `<|im_end|>` added, LoRA on `all-linear`: both rows stay the mean of
    all others.

    ## Fix
    Train the rows: `lora.modules_to_save: [embed_tokens, lm_head]`, with tied embeddings `train.method: full` (RUN005);
    or take the template that the model was trained with, whose tokens it knows. Enlarge the model where it has no row.

    ## Fix safety
    None is offered: which weights are trained is the recipe's matter.

    ## Sources
    unsloth_zoo `fix_untrained_tokens` (1e-23 in Llama 3's embeddings; in Llama 3.1 equal rows of the output layer);
    LLaMA-Factory #5834; Qwen-VL #415; axolotl #1570; TRL `clone_chat_template`; transformers 5.23, modeling_utils.py
    (`_init_added_embeddings_weights_with_mean`).
    """

    uses: dict[int, _Use] = field(default_factory=dict)

    def add(self, row: Row) -> None:
        """Note the tokens of a row that are looked at."""
        try:
            embeddings = embeddings_of(row.facts)
        except UnreadableWeightsError:
            return  # told of once, by `hits`
        if embeddings is None or not row.input_ids:
            return
        ids = set(row.input_ids)
        found = ids & _watched(row.facts)
        if max(ids) >= embeddings.input.num_rows:
            found |= {token_id for token_id in ids if token_id >= embeddings.input.num_rows}
        ending = ending_of(row)
        learned = ending.branch in ("stops", "not-in-stop-set")
        terminator = row.input_ids[ending.first_token] if learned else None
        for token_id in found:
            self._note(row, token_id, ends=token_id == terminator)

    def _note(self, row: Row, token_id: int, *, ends: bool) -> None:
        use = self.uses.setdefault(token_id, _Use())
        use.count += 1
        use.supervised += token_id in row.labels
        use.ends += ends
        if len(use.places) < _PLACES:
            first = row.input_ids.index(token_id)
            start, end = row.characters_of(first, first + 1)
            record = row.record
            use.places.append(
                Place(
                    record=record.index,
                    where=record.where,
                    start=start,
                    end=end,
                    first_token=first,
                    end_token=first + 1,
                )
            )
            use.views.append(row.view(first, first + 1))

    def merge(self, other: UntrainedRow) -> None:
        """Take in what was seen in later records."""
        for token_id, use in other.uses.items():
            mine = self.uses.setdefault(token_id, _Use())
            missing = _PLACES - len(mine.places)
            mine.count += use.count
            mine.supervised += use.supervised
            mine.ends += use.ends
            mine.places += use.places[:missing]
            mine.views += use.views[:missing]

    def hits(self, facts: SetupFacts) -> Iterator[Hit | NotRun]:
        """Read the rows of the tokens that were used, and judge them."""
        try:
            embeddings = embeddings_of(facts)
            if embeddings is None or not self.uses:
                return
            faults = self._faults(facts, embeddings)
        except UnreadableWeightsError as error:
            yield NotRun(error.key, error.values)
            return
        for cause, found in faults.items():
            yield self._hit(facts, embeddings, cause, found)

    def _faults(self, facts: SetupFacts, embeddings: Embeddings) -> dict[str, list[_Fault]]:
        faults: dict[str, list[_Fault]] = {}
        trained = facts.setup.trained
        for module, tensor in embeddings.sides:
            written = module == embeddings.output_module
            ids = [token_id for token_id, use in self.uses.items() if use.supervised or not written]
            for token_id in ids:
                if token_id >= tensor.num_rows:
                    values = {"num_rows": tensor.num_rows}
                    faults.setdefault("no-row", []).append(_Fault(token_id, tensor, written, values))
            if trained is not None and trained.trains(module):
                continue
            # Padding is seen by nobody.
            kept = [i for i in ids if i < tensor.num_rows and (i != facts.tokenizer.pad_id or self.uses[i].supervised)]
            for token_id, (cause, values) in _judge(facts, tensor, sorted(kept)).items():
                faults.setdefault(cause, []).append(_Fault(token_id, tensor, written, values))
        return faults

    def _hit(self, facts: SetupFacts, embeddings: Embeddings, cause: str, faults: list[_Fault]) -> Hit:
        uses, trained = self.uses, facts.setup.trained
        method = trained.method if trained is not None else None
        # The terminator first, and of it what it is written by.
        ranked = sorted(faults, key=lambda one: (-uses[one.token_id].ends, -uses[one.token_id].count, not one.written))
        token_ids = list(dict.fromkeys(fault.token_id for fault in ranked))
        tensors = list(dict.fromkeys(fault.tensor.name for fault in faults))
        worst, use = ranked[0], uses[token_ids[0]]
        never_learned = any(fault.written and uses[fault.token_id].ends for fault in faults)
        severity: Severity = "error" if cause == "no-row" or (method and never_learned) else "warning"
        state = "no_row" if cause == "no-row" else "unknown" if method is None else "frozen"
        values: dict[str, Any] = {
            "token": facts.tokenizer.piece(token_ids[0]),
            "token_id": token_ids[0],
            "tokens": _listed(facts, token_ids),
            "tensors": ", ".join(f"`{name}`" for name in tensors),
            "tensor": worst.tensor.name,
            "modules": ",".join(one.rpartition(".")[2] for one in (embeddings.input_module, embeddings.output_module)),
            "num_wanted": max(token_ids) + 1,
            **worst.values,
        }
        remedy = "_no_row" if cause == "no-row" else "_tied" if embeddings.tied else ""
        return Hit(
            f"rules_run.untrained_row_{state}",
            values={**values, "count": use.count, "places": use.places, "views": use.views},
            help=f"rules_run.untrained_row_help{remedy}",
            because=Because(
                code=cause,
                key=f"rules_run.untrained_row_because_{cause.replace('-', '_')}",
                values=values,
                evidence={
                    "token_ids": token_ids,
                    "pieces": facts.pieces(token_ids),
                    "tensors": tensors,
                    "tied": embeddings.tied,
                    "supervised": uses[token_ids[0]].supervised,
                    "method": method,
                    **{name: value for name, value in worst.values.items() if name != "same"},
                },
            ),
            severity=severity,
            where=str(worst.tensor.file),
            reproduction=_reproduction(worst),
        )


def _watched(facts: SetupFacts) -> frozenset[int]:
    """Return the ids that are looked at wherever they are used; worked out once for each set-up."""
    known: frozenset[int] | None = facts.__dict__.get("_watched")
    if known is None:
        printed = (facts.tokenizer.backend.token_to_id(literal) for literal in emitted_by_template(facts))
        ids = {*facts.tokenizer.added_tokens, *facts.stop_ids, *(index for index in printed if index is not None)}
        known = facts.__dict__["_watched"] = frozenset(ids)
    return known


def _judge(facts: SetupFacts, tensor: Tensor, token_ids: Sequence[int]) -> dict[int, tuple[str, dict[str, Any]]]:
    """Return the tokens whose rows were never trained, each with the cause and what was seen."""
    if not token_ids:
        return {}
    watched = _watched(facts)
    vocabulary = min(tensor.num_rows, facts.tokenizer.backend.get_vocab_size(with_added_tokens=True))
    ordinary = [index for index in range(vocabulary) if index not in watched]
    step = max(1.0, len(ordinary) / _SAMPLE)
    sample = tensor.rows(ordinary[int(step * n)] for n in range(min(len(ordinary), _SAMPLE)))
    median = statistics.median([math.hypot(*row) for row in sample.values()]) if sample else 0.0
    if not median:
        return {}  # nothing in the matrix is trained: weights that are to be made
    mean = [statistics.fmean(column) for column in zip(*sample.values(), strict=True)]
    distance = statistics.median([math.dist(row, mean) for row in sample.values()])
    # Rows behind the vocabulary are reserve, and never trained either.
    peers = [*sorted(watched), *range(vocabulary, tensor.num_rows)]
    rows = sample | tensor.rows([*token_ids, *[index for index in peers if index < tensor.num_rows][:_PEERS]])
    norms = {index: math.hypot(*row) for index, row in rows.items()}
    found: dict[int, tuple[str, dict[str, Any]]] = {}
    for token_id in token_ids:
        row, norm = rows[token_id], norms[token_id]
        seen = {"norm": round(norm, 6), "median": round(median, 6), "num_sampled": len(sample)}
        if norm < _NEAR_ZERO * median:
            found[token_id] = "norm-near-zero", seen
        elif math.dist(row, mean) < _NEAR_MEAN * distance:
            from_mean = {"distance": round(math.dist(row, mean), 6), "median_distance": round(distance, 6)}
            found[token_id] = "mean-row", {**seen, **from_mean}
        elif same := _same(rows, norms, token_id, _EQUAL * median):
            found[token_id] = "duplicate", {**seen, "same": _listed(facts, same), "same_ids": same}
    return found


def _same(rows: Mapping[int, array[float]], norms: Mapping[int, float], token_id: int, limit: float) -> list[int]:
    """Return the first few rows that are no further than a limit from that of a token."""
    row, norm = rows[token_id], norms[token_id]
    # Rows are as far apart as their norms at least, which is sooner known.
    near = (index for index in rows if abs(norms[index] - norm) <= limit and index != token_id)
    return list(islice((index for index in near if math.dist(row, rows[index]) <= limit), _SHOWN))


def _listed(facts: SetupFacts, token_ids: Sequence[int]) -> str:
    shown = ", ".join(f"`{facts.tokenizer.piece(index)}` ({index})" for index in token_ids[:_SHOWN])
    return shown if len(token_ids) <= _SHOWN else f"{shown}, +{len(token_ids) - _SHOWN}"


def _reproduction(fault: _Fault) -> tuple[str, ...]:
    opened = f"safe_open({str(fault.tensor.file)!r}, 'pt').get_slice({fault.tensor.name!r})"
    row, others = fault.token_id, list(fault.values.get("same_ids", ()))
    shown = f"t.get_shape(), {row}"
    if row < fault.tensor.num_rows:
        one = f"t[{row}:{row + 1}].float()"
        shown = f"({one} - t[{others[0]}:{others[0] + 1}].float()).norm()" if others else f"{one}.norm()"
    return (f"from safetensors import safe_open; t = {opened}", f"print({shown})")


# Not as a decorator: a tally is pickled between processes, by the name of its class.
untrained_row = dataset_rule("RUN004", "untrained-row", severity="warning")(UntrainedRow)
