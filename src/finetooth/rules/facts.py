"""`SetupFacts`: what rules ask of a set-up, worked out once."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from finetooth.labels import Setup
from finetooth.template import ChatTemplate, Stops
from finetooth.tokenizer import Tokenizer, TokenizerFiles

CONTEXTS = ("a", "7", ".", "!", ")", "`", "\n", "。", "」", "、", "！", "わ", "嬢", " ")
"""Characters that stand before a special token in real text: letters, digits, closing marks, kana, kanji, space."""


class SetupFacts:
    """A set-up, and what follows from it alone."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer."""
        return self.setup.tokenizer

    @property
    def template(self) -> ChatTemplate | None:
        """The chat template in force."""
        return self.setup.template

    @property
    def files(self) -> TokenizerFiles | None:
        """The files beside the tokenizer, where there are any."""
        return self.tokenizer.files

    @property
    def way(self) -> str:
        """The way of making labels."""
        return self.setup.labels.way

    @property
    def stops(self) -> Stops:
        """The texts that end a turn."""
        return self.tokenizer.stops

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """The ids at which inference stops."""
        return self.tokenizer.stop_ids

    @cached_property
    def generation_stop_ids(self) -> frozenset[int]:
        """The ids at which transformers' generate stops: those of the file in force alone, where one lists any.

        The tokenizer's EOS is not added to them; engines that go by the tokenizer stop there as well (RUN001).
        """
        listed = self.files.stop_ids if self.files is not None else {}
        return frozenset(next(iter(listed.values()), self.stop_ids))

    @cached_property
    def masks_pad_by_id(self) -> bool:
        """Whether this way of making labels masks every token that has the padding id, wherever it stands."""
        return self.way in ("completion-collator", "causal-lm")

    @cached_property
    def special_ids(self) -> dict[str, int]:
        """The ids of the added tokens by their text."""
        return {token.content: index for index, token in self.tokenizer.added_tokens.items()}

    @cached_property
    def normalized(self) -> dict[str, str]:
        """What the normalizer makes of each added token that it is let at: the pattern that is really searched.

        An added token with `normalized: true` is matched against the normalized text by its own text normalized; where
        the normalizer puts a `▁` in front, that is found after a space or at the start alone.
        """
        normalizer = self.tokenizer.backend.normalizer
        if normalizer is None:
            return {}
        found = {}
        for token in self.tokenizer.added_tokens.values():
            if token.normalized:
                pattern = normalizer.normalize_str(token.content)
                if pattern != token.content:
                    found[token.content] = pattern
        return found

    def ids_in_context(self, before: str, literal: str) -> list[int]:
        """Return the ids that a literal has after some text: those that its characters have in the whole."""
        encoding = self.tokenizer.encode([before + literal], add_special_tokens=False)[0]
        start, end = len(before), len(before) + len(literal)
        return [
            token_id
            for token_id, (first, last) in zip(encoding.ids, encoding.offsets, strict=True)
            if first < end and last > start
        ]

    def is_whole_in_context(self, before: str, literal: str) -> bool:
        """Return whether a literal is its one added token after some text."""
        return self.ids_in_context(before, literal) == [self.special_ids.get(literal)]

    def file_of(self, key: str) -> str:
        """Return the name of the file in which a key of the tokenizer's configuration stands."""
        if self.files is None:
            return self.tokenizer.name
        for name, values in (
            ("tokenizer_config.json", self.files.tokenizer_config),
            ("special_tokens_map.json", self.files.json("special_tokens_map.json")),
            ("generation_config.json", self.files.generation_config),
            ("config.json", self.files.model_config),
        ):
            if key in values:
                return str(self.files.directory / name)
        return str(self.files.directory / "tokenizer.json")

    def pieces(self, token_ids: list[int]) -> list[str]:
        """Return the pieces of some ids."""
        return [self.tokenizer.piece(token_id) for token_id in token_ids]

    @cached_property
    def normalizer_name(self) -> str:
        """The kinds of normalizer that the tokenizer has, for evidence: `Prepend, Replace`."""
        normalizer = self.tokenizer.backend.normalizer
        if normalizer is None:
            return ""
        import json

        from finetooth.tokenizer.pieces import kinds

        state: Any = json.loads(normalizer.__getstate__())
        return ", ".join(sorted(kinds(state) - {"Sequence"}))

    @cached_property
    def prefix_ids(self) -> list[int]:
        """The ids that the tokenizer puts in front of every text that it encodes with special tokens."""
        bare = self.tokenizer.encode(["a"], add_special_tokens=False)[0].ids
        whole = self.tokenizer.encode(["a"], add_special_tokens=True)[0].ids
        for start in range(len(whole) - len(bare) + 1):
            if whole[start : start + len(bare)] == bare:
                return list(whole[:start])
        return []

    def reproduction(self, text: str, *, add_special_tokens: bool = False) -> tuple[str, ...]:
        """Return two lines of Python that print the ids of a text, read from the user's own files."""
        if self.files is None:
            return ()
        directory = str(self.files.directory)
        # tokenizer.json alone does not show what other files change: the class, or the flags of added tokens.
        if self.tokenizer.loader == "transformers" or "added_tokens_decoder" in self.files.tokenizer_config:
            return (
                f"from transformers import AutoTokenizer; t = AutoTokenizer.from_pretrained({directory!r})",
                f"print(t({text!r}, add_special_tokens={add_special_tokens}).input_ids)",
            )
        path = str(self.files.tokenizer_json)
        return (
            f"from tokenizers import Tokenizer; t = Tokenizer.from_file({path!r})",
            f"print(t.encode({text!r}, add_special_tokens={add_special_tokens}).ids)",
        )
