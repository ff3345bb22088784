"""`CompletionOnlyCollator`: loss on answers alone, for `transformers.Trainer` and TRL.

collator = finetooth.CompletionOnlyCollator("[/INST] ", tokenizer=tokenizer)
Trainer(..., data_collator=collator)
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from finetooth.errors import ConfigError, LabelsError, TokenizerError
from finetooth.integrations.ends import Ends
from finetooth.integrations.markers import Marker, answers_in, label, marker_of
from finetooth.labels.as_is import text_of
from finetooth.labels.completion_collator import mask_in_place
from finetooth.messages import say
from finetooth.tokenizer import Tokenizer, TokenizerFiles, from_transformers
from finetooth.types import IGNORE_INDEX

_BEGINNING = 80
"""Characters of a row that are shown where nothing in it is like a mark."""


class CompletionOnlyCollator:
    """Pad rows to a batch, with labels on what follows the mark of an answer.

    It takes what TRL's `DataCollatorForCompletionOnlyLM` took until TRL 0.20 removed it. It differs in two things.
    Marks are looked for in the text, rebuilt from the bytes of the tokens, where that one looked for the ids that a
    mark has alone. And padding is what the attention mask leaves out, where that one masked every token of the padding
    id, an end-of-sequence token of the same id among them.

    Args:
        response_template: The mark before answers, as text or ids. The labels begin at its end; of several, at that of
            the last one. White space at its ends is found where the text has less of it.
        instruction_template: The mark before questions, for rows of several turns. The labels then go from the end of
            each mark of answers to the start of the next mark of questions.
        mlm: As it was: only `False` makes sense.
        ignore_index: The label of what is not learned.
        padding_free: Whether rows are laid end to end, without padding: `input_ids`, `labels` and `position_ids` of
            one row, and no attention mask. The model must keep such rows apart by their positions.
        tokenizer: A fast tokenizer of transformers, or a processor that has one; may also be the third positional one.
        pad_to_multiple_of: What the length of a batch is rounded up to.
        return_tensors: `pt`.

    Raises:
        ConfigError: An argument is wrong.
    """

    def __init__(
        self,
        response_template: str | Sequence[int],
        instruction_template: str | Sequence[int] | None = None,
        *args: Any,
        mlm: bool = False,
        ignore_index: int = IGNORE_INDEX,
        padding_free: bool = False,
        tokenizer: Any = None,
        pad_to_multiple_of: int | None = None,
        return_tensors: str = "pt",
    ) -> None:
        where = type(self).__name__
        if len(args) > 1:
            raise ConfigError(say("collator.positional", count=2 + len(args)), where=where, help="mlm=False")
        tokenizer = args[0] if args else tokenizer
        if not (hasattr(tokenizer, "backend_tokenizer") or hasattr(tokenizer, "padding_side")):
            tokenizer = getattr(tokenizer, "tokenizer", None)  # a processor's
        if tokenizer is None:
            raise ConfigError(say("collator.no_tokenizer"), where=where, help="tokenizer=tokenizer")
        if mlm:
            raise ConfigError(say("collator.mlm"), where=where, help="mlm=False")
        if return_tensors != "pt":
            raise ConfigError(say("collator.tensors", value=return_tensors), where=where, help='return_tensors="pt"')
        for name, template in (
            ("response_template", response_template),
            ("instruction_template", instruction_template),
        ):
            if template is not None and len(template) == 0:
                raise ConfigError(say("collator.empty", name=name), where=where, help=f'{name}="[/INST] "')
        self.response_template = response_template
        self.instruction_template = instruction_template
        self.mlm = mlm
        self.ignore_index = ignore_index
        self.padding_free = padding_free
        self.tokenizer = tokenizer
        self.pad_to_multiple_of = pad_to_multiple_of
        self.return_tensors = return_tensors
        self._said: set[str] = set()
        self._reader: _TextReader | _IdReader | None = None

    def __getstate__(self) -> dict[str, Any]:
        # Made anew where it is needed: workers of a DataLoader get a pickle.
        return self.__dict__ | {"_reader": None}

    def __call__(self, examples: Sequence[Any], return_tensors: str | None = None) -> dict[str, Any]:
        """Make a batch.

        Args:
            examples: Mappings with `input_ids` and, where they are padded, `attention_mask`; or lists of ids. Labels
                that they hold are made anew, and no other column is taken.
            return_tensors: `pt`, or `None`.

        Returns:
            `input_ids`, `attention_mask` and `labels`, tensors of the shape (rows, tokens); padded on the tokenizer's
            side with its padding token, or with any id where it has none.

        Raises:
            LabelsError: An example holds no ids.
        """
        if return_tensors not in (None, "pt"):
            raise ConfigError(say("collator.tensors", value=return_tensors), help='return_tensors="pt"')
        rows = [_ids_and_mask(example, index) for index, example in enumerate(examples)]
        labels = [self.labels_of(ids, mask) for ids, mask in rows]
        masks = [[1] * len(ids) if mask is None else mask for ids, mask in rows]
        if self.padding_free:
            return self._flat([ids for ids, _ in rows], masks, labels)
        return self._padded([ids for ids, _ in rows], masks, labels)

    def labels_of(self, input_ids: list[int], attention_mask: list[int] | None = None) -> list[int]:
        """Return the labels of one row; `ignore_index` wherever the attention mask is 0."""
        if attention_mask is None:
            self._look_for_padding(input_ids)
            attended = list(range(len(input_ids)))
        else:
            attended = [index for index, seen in enumerate(attention_mask) if seen]
        if self._reader is None:
            self._reader = self._make_reader()
        labels, warned = self._reader.read([input_ids[index] for index in attended])
        for key, sentence in warned:
            self._say_once(key, sentence)
        whole = [self.ignore_index] * len(input_ids)
        for index, one in zip(attended, labels, strict=True):
            if one != IGNORE_INDEX:
                whole[index] = one
        return whole

    def _make_reader(self) -> _TextReader | _IdReader:
        # At the first batch, not before: trainers set the padding and the end token of a tokenizer that they are given.
        try:
            name = str(getattr(self.tokenizer, "name_or_path", "") or "")
            files = TokenizerFiles(Path(name)) if name and Path(name).is_dir() else None
            tokenizer = from_transformers(self.tokenizer, files=files)
        except TokenizerError:
            tokenizer = None  # not one of the `tokenizers` library: nothing tells the bytes of its pieces
        if tokenizer is not None:
            table = tokenizer.piece_table
            if table.byte_level or table.space_mark:
                return _TextReader(tokenizer, self.response_template, self.instruction_template)
        self._say_once("by_ids", say("collator.by_ids", name=type(self.tokenizer).__name__))
        return _IdReader(self.tokenizer, self.response_template, self.instruction_template)

    def _look_for_padding(self, input_ids: list[int]) -> None:
        pad_id = self.tokenizer.pad_token_id
        if pad_id is not None and "padded" not in self._said:
            for end in (input_ids[-2:], input_ids[:2]):
                # One may be an end-of-sequence token of the same id.
                if end == [pad_id, pad_id]:
                    self._say_once("padded", say("collator.padded", pad_id=pad_id))

    def _say_once(self, key: str, sentence: str) -> None:
        if key not in self._said:
            self._said.add(key)
            warnings.warn(sentence, UserWarning, stacklevel=2)

    def _padded(self, ids: list[list[int]], masks: list[list[int]], labels: list[list[int]]) -> dict[str, Any]:
        import torch

        width, multiple = max(map(len, ids), default=0), self.pad_to_multiple_of or 1
        width = -(-width // multiple) * multiple
        # What the id is does not matter: the attention mask and the labels leave it out.
        pad_id = next((i for i in (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id) if i is not None), 0)
        left = self.tokenizer.padding_side == "left"

        def tensor(rows: list[list[int]], fill: int) -> torch.Tensor:
            padding = [[fill] * (width - len(row)) for row in rows]
            both = zip(rows, padding, strict=True)
            whole = [pad + row if left else row + pad for row, pad in both]
            return torch.tensor(whole, dtype=torch.long).reshape(len(rows), width)

        return {
            "input_ids": tensor(ids, pad_id),
            "attention_mask": tensor(masks, 0),
            "labels": tensor(labels, self.ignore_index),
        }

    def _flat(self, ids: list[list[int]], masks: list[list[int]], labels: list[list[int]]) -> dict[str, Any]:
        import torch

        flat: dict[str, list[int]] = {"input_ids": [], "labels": [], "position_ids": []}
        for row_ids, mask, row_labels in zip(ids, masks, labels, strict=True):
            attended = [index for index, seen in enumerate(mask) if seen]
            flat["input_ids"] += [row_ids[index] for index in attended]
            # The token before the first is the last one of another row.
            flat["labels"] += [row_labels[i] if n else self.ignore_index for n, i in enumerate(attended)]
            flat["position_ids"] += range(len(attended))
        return {name: torch.tensor([values], dtype=torch.long) for name, values in flat.items()}


_Read = tuple[list[int], list[tuple[str, str]]]
"""The labels of a row, and what is to be said once: a key, and the sentence."""


class _TextReader:
    """Finds marks in the text of a row."""

    def __init__(
        self, tokenizer: Tokenizer, response: str | Sequence[int], instruction: str | Sequence[int] | None
    ) -> None:
        self._tokenizer = tokenizer
        self._response = marker_of(tokenizer, response)
        self._instruction = None if instruction is None else marker_of(tokenizer, instruction)
        self._ends = Ends(tokenizer)

    def read(self, input_ids: list[int]) -> _Read:
        text, offsets = text_of(self._tokenizer, input_ids)
        answers = answers_in(text, self._response, self._instruction)
        labels = label(input_ids, text, offsets, answers)
        if answers.missing is not None:
            return labels, [self._not_found(answers.missing, text)] if input_ids else []
        seen = self._ends.see(input_ids, labels, text, offsets, answers.ranges)
        return labels, [(sentence, sentence) for sentence in seen]

    def _not_found(self, missing: Marker, text: str) -> tuple[str, str]:
        name = "response_template" if missing is self._response else "instruction_template"
        near = missing.near(text)
        shown = repr(near if near is not None else text[:_BEGINNING])
        key = "collator.not_found" if near is None else "collator.not_found_near"
        return name, say(key, name=name, marker=repr(missing.text), shown=shown)


class _IdReader:
    """Finds marks as the removed collator did: by the ids that they have alone."""

    def __init__(self, tokenizer: Any, response: str | Sequence[int], instruction: str | Sequence[int] | None) -> None:
        def ids(template: str | Sequence[int]) -> list[int]:
            encoded = tokenizer.encode(template, add_special_tokens=False) if isinstance(template, str) else template
            return list(encoded)

        self._given = {"response_template": response, "instruction_template": instruction}
        self._response = ids(response)
        self._instruction = [] if instruction is None else ids(instruction)
        self._tokenizer = tokenizer

    def read(self, input_ids: list[int]) -> _Read:
        labels = list(input_ids)
        notes = mask_in_place(labels, self._response, self._instruction)
        if not notes or not input_ids:
            return labels, []
        name = "response_template" if notes == ["labels.response_not_found"] else "instruction_template"
        marker = self._given[name]
        ids = self._response if name == "response_template" else self._instruction
        shown = repr(self._tokenizer.decode(input_ids)[:_BEGINNING])
        return labels, [(name, say("collator.ids_not_found", name=name, marker=repr(marker), ids=ids, shown=shown))]


def _ids_and_mask(example: Any, index: int) -> tuple[list[int], list[int] | None]:
    where = say("collator.example", index=index)
    mask = None
    ids = example
    if isinstance(example, Mapping):
        if "input_ids" not in example:
            raise LabelsError(
                say("collator.no_ids", columns=", ".join(map(str, example)) or "-"),
                where=where,
                help='dataset.map(lambda row: tokenizer(row["text"]))',
            )
        ids, mask = example["input_ids"], example.get("attention_mask")
    ids, mask = _plain(ids), None if mask is None else _plain(mask)
    if not all(isinstance(one, int) for one in ids):
        raise LabelsError(say("collator.nested"), where=where, help="tokenizer(text, return_tensors=None)")
    if mask is not None and len(mask) != len(ids):
        raise LabelsError(
            say("collator.mask_length", mask=len(mask), ids=len(ids)), where=where, help="del example['attention_mask']"
        )
    return ids, mask


def _plain(values: Any) -> list[Any]:
    """Return a list of what is a list, an array or a tensor."""
    return list(values.tolist() if hasattr(values, "tolist") else values)
