"""Labels as the SFTTrainer of TRL 1.16 prepares them.

Read in TRL 1.16.0, trainer/sft_trainer.py (`_prepare_dataset`) and data_utils.py; what it does, in order:

- whether rows are conversations, and whether loss is on the completion alone, is decided by the *first* row;
- `from`/`value` turns are renamed to `role`/`content`, the roles' names left as they are;
- plain rows get the EOS token appended as *text*, where the text does not end in it, and are encoded with the
  tokenizer's special tokens; conversations are rendered, and encoded without;
- of a prompt and completion the completion begins where the ids of the prompt alone and of both together part;
- under `assistant_only_loss` a template without `{% generation %}` is swapped for TRL's training template of it, and
  the assistant mask comes from the generation blocks' ends by `char_to_token`, with its faults;
- rows are cut at `max_length` (1024 by default), and then dropped where nothing is supervised.

TRL's training templates are TRL's: they are read from an installed TRL (without importing it), and not shipped here.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from finetooth.errors import FinetoothError, LabelsError
from finetooth.labels.cutting import cut
from finetooth.labels.setup import Labeller, Setup
from finetooth.labels.texts import encode_texts
from finetooth.messages import say
from finetooth.template import ChatTemplate
from finetooth.types import IGNORE_INDEX, Encoded, Message, Record, Rendered, Span

DEFAULT_MAX_LENGTH = 1024
"""SFTConfig.max_length in TRL 1.16."""


def labeller(setup: Setup, *, roles: bool = True) -> Labeller:
    """Return what labels records as SFTTrainer does; it remembers what the first row decided."""
    return _Preparation(setup, roles).label


class _Preparation:
    """One pass over a data set."""

    def __init__(self, setup: Setup, roles: bool) -> None:
        self.roles = roles
        self.setup = setup
        self.conversational: bool | None = None
        self.completion_only = False
        self.max_length = setup.max_length(DEFAULT_MAX_LENGTH)

    def label(self, records: Sequence[Record]) -> list[Encoded]:
        if records and self.conversational is None:
            self._decide(records[0])
        return self._label(records)

    def _decide(self, first: Record) -> None:
        """Do what SFTTrainer does with its first row."""
        config = self.setup.labels
        self.conversational = first.messages is not None
        pair = "prompt" in first.row and "completion" in first.row
        self.completion_only = pair if config.completion_only_loss is None else config.completion_only_loss
        if not config.assistant_only_loss:
            return
        if not self.conversational:
            raise LabelsError(
                say("labels.assistant_only_plain"), where=first.where, help="--set labels.assistant_only_loss=false"
            )
        template = self.setup.template
        if template is not None and not template.has_generation_blocks:
            source = training_template(template.source)
            swapped = ChatTemplate(source, name=f"{template.name} (TRL)", special_tokens=template.special_tokens)
            self.setup = self.setup.with_template(swapped)

    def _label(self, records: Sequence[Record]) -> list[Encoded]:
        prepared = [self._render(record) for record in records]
        encodings = encode_texts(
            self.setup, records, [one.whole for one in prepared], add_special_tokens=not self.conversational
        )
        with_prompt = [i for i, one in enumerate(prepared) if one.prompt is not None]
        prompts = encode_texts(
            self.setup,
            [records[i] for i in with_prompt],
            [Rendered(text=prepared[i].prompt or "", spans=()) for i in with_prompt],
            add_special_tokens=not self.conversational,
        )
        prompt_ids = dict(zip(with_prompt, (encoding.ids for encoding in prompts), strict=True))
        masks = self._assistant_masks(records, prepared)
        return [
            self._finish(record, prepared[i], encodings[i], prompt_ids.get(i), masks[i] if masks else None)
            for i, record in enumerate(records)
        ]

    def _finish(
        self,
        record: Record,
        prepared: _Prepared,
        encoding: Any,
        prompt_ids: list[int] | None,
        assistant_mask: list[int] | None,
    ) -> Encoded:
        input_ids, offsets = encoding.ids, encoding.offsets
        labels = list(input_ids)
        notes = list(prepared.whole.notes)
        if prompt_ids is not None:
            prompt_length = common_prefix_length(prompt_ids, input_ids)
            if prompt_length < len(prompt_ids):
                lost = "".join(map(self.setup.tokenizer.piece, prompt_ids[prompt_length:]))
                notes.append(say("labels.prompt_not_prefix", lost=lost))
            if self.completion_only:
                labels[:prompt_length] = [IGNORE_INDEX] * prompt_length
        if assistant_mask is not None:
            labels = [label if seen else IGNORE_INDEX for label, seen in zip(labels, assistant_mask, strict=True)]
        dropped = None
        whole = len(input_ids)
        if self.max_length is not None:
            input_ids, labels, offsets = cut(self.setup, self.max_length, input_ids, labels, offsets)
            if labels.count(IGNORE_INDEX) == len(labels):
                why = "labels.dropped_by_trl" if whole > len(input_ids) else "labels.dropped_by_trl_whole"
                dropped = say(why, max_length=self.max_length)
        return self.setup.encoded(
            record,
            text=prepared.whole.text,
            input_ids=input_ids,
            labels=labels,
            offsets=offsets,
            spans=prepared.whole.spans,
            dropped=dropped,
            num_cut=whole - len(input_ids),
            notes=notes,
        )

    # Rendering ----------------------------------------------------------------------------------------------------

    def _render(self, record: Record) -> _Prepared:
        if record.input_ids is not None:
            raise LabelsError(say("labels.encoded_row"), where=record.where, help="--labels as-is")
        if record.shape == "alpaca" or (record.shape == "conversations" and not _is_from_value(record)):
            raise LabelsError(
                say("labels.trl_shape", shape=record.shape), where=record.where, help=say("labels.trl_shape_help")
            )
        if (record.messages is not None) != self.conversational:
            raise LabelsError(say("labels.mixed_rows"), where=record.where, help=say("labels.mixed_rows_help"))
        try:
            return self._render_turns(record) if self.conversational else self._render_plain(record)
        except FinetoothError as error:
            raise error.at(record.where) from error

    def _render_plain(self, record: Record) -> _Prepared:
        eos = self.setup.tokenizer.eos_token or ""
        prompt = record.prompt if record.text is None else None
        body = record.text if record.text is not None else record.completion or ""
        if not body.endswith(eos):
            body += eos
        if prompt is None:
            return _Prepared(whole=self.setup.renderer.render_text(body) if self.roles else _bare(body), prompt=None)
        whole = self.setup.renderer.render_pair(prompt, body) if self.roles else _bare(prompt + body)
        return _Prepared(whole=whole, prompt=prompt)

    def _render_turns(self, record: Record) -> _Prepared:
        template = self.setup.template
        if template is None:
            raise LabelsError(say("template.none"), help=say("template.none_help"))
        messages, num_prompt_messages = raw_messages(record)
        tools, variables = _tools(record), record.row.get("chat_template_kwargs") or {}
        text = template.render(messages, tools=tools, variables=variables)
        prompt = None
        if num_prompt_messages is not None:
            prompt = template.render(
                messages[:num_prompt_messages], tools=tools, variables=variables, add_generation_prompt=True
            )
        whole = _bare(text)
        if self.roles:
            rendered = self.setup.renderer.render(record)
            # Where the raw turns render otherwise than ours (other role names), ranges of ours would lie.
            if rendered.text == text:
                whole = rendered
            else:
                ours = self.setup.renderer.render(replace(record, messages=messages))
                whole = ours if ours.text == text else whole
        return _Prepared(whole=whole, prompt=prompt)

    def _assistant_masks(self, records: Sequence[Record], prepared: Sequence[_Prepared]) -> list[list[int]] | None:
        """Return the masks of transformers' `return_assistant_tokens_mask`, faults and all."""
        template = self.setup.template
        if not self.setup.labels.assistant_only_loss or template is None:
            return None
        encodings = self.setup.tokenizer.encode_as_loaded(
            [one.whole.text for one in prepared], add_special_tokens=False
        )
        masks = []
        for record, encoding in zip(records, encodings, strict=True):
            messages, _ = raw_messages(record)
            _, blocks = template.render_with_generation(
                messages, tools=_tools(record), variables=record.row.get("chat_template_kwargs") or {}
            )
            mask = assistant_mask(encoding, blocks)
            if 1 not in mask:
                raise LabelsError(
                    say("labels.no_assistant_tokens"), where=record.where, help=say("labels.no_assistant_tokens_help")
                )
            masks.append(mask)
        return masks


class _Prepared:
    """A row's text, and its prompt's alone."""

    __slots__ = ("prompt", "whole")

    def __init__(self, *, whole: Rendered, prompt: str | None) -> None:
        self.whole = whole
        self.prompt = prompt


def _bare(text: str) -> Rendered:
    spans: tuple[Span, ...] = ()
    return Rendered(text=text, spans=spans)


def assistant_mask(encoding: Any, blocks: Sequence[tuple[int, int]]) -> list[int]:
    """Return the mask that transformers 5.23 makes of generation blocks (tokenization_utils_base.py).

    A block whose last character has no token, or whose last token is the first of all, runs to the end of the text;
    a block whose first character has no token ends the search. Both are kept, since trainers see them.
    """
    mask = [0] * len(encoding.ids)
    for start, end in blocks:
        first = encoding.char_to_token(start)
        last = encoding.char_to_token(end - 1) if end > 0 else None
        if first is None:
            break
        for index in range(first, last + 1 if last else len(mask)):
            mask[index] = 1
    return mask


def common_prefix_length(left: Sequence[int], right: Sequence[int]) -> int:
    """Return how many ids two sequences have in common at their start."""
    length = min(len(left), len(right))
    if left[:length] == right[:length]:
        return length
    return next(i for i in range(length) if left[i] != right[i])


def raw_messages(record: Record) -> tuple[list[Message], int | None]:
    """Return the turns as TRL gives them to the template, and how many of them are the prompt."""
    row = record.row
    if record.shape == "prompt-completion":
        prompt, completion = _renamed(row["prompt"]), _renamed(row["completion"])
        return prompt + completion, len(prompt)
    return _renamed(row["messages"] if record.shape == "messages" else row["conversations"]), None


def _is_from_value(record: Record) -> bool:
    """Return whether SFTTrainer sees turns of `from` and `value`; it takes `conversations` in no other form."""
    turns = record.row.get("conversations")
    return isinstance(turns, list) and bool(turns) and {"from", "value"} <= set(turns[0])


def _renamed(messages: Sequence[Mapping[str, Any]]) -> list[Message]:
    names = {"from": "role", "value": "content"}
    return [{names.get(key, key): value for key, value in message.items()} for message in messages]


def _tools(record: Record) -> Any:
    tools = record.row.get("tools")
    return json.loads(tools) if isinstance(tools, str) and tools else tools


# TRL's training templates -------------------------------------------------------------------------------------------


@cache
def template_directory() -> Path | None:
    """Return the folder of an installed TRL's chat templates, or `None`. TRL itself is not imported."""
    spec = importlib.util.find_spec("trl")
    folder = Path(spec.origin).parent / "chat_templates" if spec is not None and spec.origin else None
    return folder if folder is not None and folder.is_dir() else None


def training_template(source: str) -> str:
    """Return the training template that TRL swaps in for a template of this exact source.

    Raises:
        LabelsError: TRL is not installed, or has none for it; SFTTrainer then raises as well.
    """
    folder = template_directory()
    if folder is None:
        raise LabelsError(say("labels.needs_trl"), help="pip install trl==1.16.0")
    for path in sorted(folder.glob("*.jinja")):
        training = folder / f"{path.stem}_training.jinja"
        if training.is_file() and path.read_text(encoding="utf-8") == source:
            return training.read_text(encoding="utf-8")
    raise LabelsError(say("labels.no_training_template"), help=say("labels.no_training_template_help"))
