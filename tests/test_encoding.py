"""Overlap labelling: what is supervised covers the spans, and no token outside is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend

from finetooth.encoding import encode_rendered, labels_by_overlap
from finetooth.tokenizer import Tokenizer
from finetooth.types import IGNORE_INDEX, Rendered, Span
from tests.small_tokenizers import byte_bpe, llama_bpe, unigram, wordpiece

KINDS = {"byte BPE": byte_bpe, "byte fallback": llama_bpe, "unigram, NFKC": unigram, "WordPiece": wordpiece}

letters = st.sampled_from("abz AZ09.,!\n\t。、」ですわ嬢鷗🦜é\u0301ﬁ½　\u200d👩‍👧")
texts = st.one_of(st.text(letters, max_size=60), st.text(st.characters(exclude_categories=["Cs"]), max_size=40))


def supervised_span(start: int, end: int) -> Span:
    return Span(start=start, end=end, role="assistant", message_index=None, supervised=True)


@st.composite
def texts_with_spans(draw: st.DrawFn) -> tuple[str, list[Span]]:
    text = draw(texts)
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pairs = zip(cuts[::2], cuts[1::2], strict=False)
    return text, [supervised_span(start, end) for start, end in pairs]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=150, deadline=None)
@given(given_text=texts_with_spans())
def test_supervised_tokens_cover_the_spans_and_no_more(kind: str, given_text: tuple[str, list[Span]]) -> None:
    text, spans = given_text
    tokenizer = Tokenizer(name=kind, backend=KINDS[kind]())
    ((input_ids, labels, offsets),) = encode_rendered(tokenizer, [Rendered(text=text, spans=tuple(spans))])
    wanted = {position for span in spans for position in range(span.start, span.end)}
    held = {position for start, end in offsets for position in range(start, end)}
    covered: set[int] = set()
    for token_id, label, (start, end) in zip(input_ids, labels, offsets, strict=True):
        if label == IGNORE_INDEX:
            assert wanted.isdisjoint(range(start, end)), "a token of the span is masked"
        else:
            assert label == token_id
            assert not wanted.isdisjoint(range(start, end)), "a token outside every span is supervised"
            covered |= set(range(start, end))
    # What no token stands for (WordPiece's white space, what NFKC drops) nothing can cover.
    assert wanted & held <= covered


@pytest.mark.parametrize("kind", [byte_bpe, llama_bpe])
def test_all_bytes_of_a_character_are_supervised_together(kind: Callable[[], Backend]) -> None:
    tokenizer = Tokenizer(name="small", backend=kind())
    text = "a鷗z"
    rendered = Rendered(text=text, spans=(supervised_span(1, 2),))
    ((_, labels, offsets),) = encode_rendered(tokenizer, [rendered])
    of_the_kanji = [label for label, offset in zip(labels, offsets, strict=True) if offset[0] <= 1 < offset[1]]
    assert len(of_the_kanji) >= 3
    assert IGNORE_INDEX not in of_the_kanji


def test_white_space_that_the_model_writes_is_supervised() -> None:
    """A byte-level post-processor trims ranges; a token of spaces alone would then be in no span."""
    tokenizer = Tokenizer(name="small", backend=byte_bpe())
    text = "q    a"
    rendered = Rendered(text=text, spans=(supervised_span(1, len(text)),))
    ((_, labels, _),) = encode_rendered(tokenizer, [rendered])
    assert labels[0] == IGNORE_INDEX
    assert IGNORE_INDEX not in labels[1:]
    trimmed = tokenizer.backend.encode(text, add_special_tokens=False).offsets
    assert any(start == end for start, end in trimmed), "the trap is there"


@pytest.mark.parametrize(
    ("offsets", "expected"),
    [
        ([(0, 1), (0, 1), (0, 3), (3, 4)], [1, 1, 1, 0]),  # a space mark shares the word's first character
        ([(0, 0), (0, 2), (2, 4), (4, 4)], [0, 1, 0, 0]),  # tokens without text are in no span
        ([(0, 4)], [1]),
        ([], []),
    ],
)
def test_ranges_that_repeat_overlap_and_are_empty(offsets: list[tuple[int, int]], expected: list[int]) -> None:
    labels = labels_by_overlap(range(len(offsets)), offsets, [supervised_span(0, 2)])
    assert [int(label != IGNORE_INDEX) for label in labels] == expected


class TestEndOfSequence:
    """The id that ends a completion which nothing else ends."""

    def encode(self, text: str, *, supervised: bool = True, eos: str | None = "</s>") -> tuple[list[int], list[int]]:
        special = {} if eos is None else {"eos_token": eos}
        tokenizer = Tokenizer(name="small", backend=byte_bpe(), special_tokens=special)
        span = Span(start=0, end=len(text), role="assistant", message_index=None, supervised=supervised)
        rendered = Rendered(text=text, spans=(span,), append_eos=True)
        ((input_ids, labels, offsets),) = encode_rendered(tokenizer, [rendered])
        assert len(input_ids) == len(labels) == len(offsets)
        return input_ids, labels

    def test_it_is_appended_and_supervised(self) -> None:
        eos = byte_bpe().token_to_id("</s>")
        input_ids, labels = self.encode("はい")
        assert input_ids[-1] == labels[-1] == eos

    def test_it_is_not_doubled(self) -> None:
        eos = byte_bpe().token_to_id("</s>")
        input_ids, labels = self.encode("はい</s>")
        assert [token_id for token_id in input_ids if token_id == eos] == [eos]
        assert labels[-1] == eos

    def test_it_is_masked_where_the_end_is_not_learned(self) -> None:
        assert self.encode("はい", supervised=False)[1][-1] == IGNORE_INDEX

    def test_a_tokenizer_without_one_appends_nothing(self) -> None:
        assert byte_bpe().token_to_id("</s>") not in self.encode("はい", eos=None)[0]
