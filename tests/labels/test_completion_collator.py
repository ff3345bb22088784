"""The removed collator, against a small reference written from its documented behaviour, and against the report."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetooth.config import Config, LabelsConfig
from finetooth.errors import LabelsError
from finetooth.labels import encode_records, make_setup
from finetooth.labels.completion_collator import mask_in_place
from finetooth.records import records_of
from finetooth.types import IGNORE_INDEX
from tests.shared_data import SHARED, needs_shared

PAD = 0


def reference(input_ids: list[int], response: list[int], instruction: list[int]) -> list[int]:
    """Say what the documentation says, position by position and without regard to speed."""
    labels = [-100 if token == PAD else token for token in input_ids]

    def found_at(wanted: list[int]) -> list[int]:
        return [i for i in range(len(labels)) if labels[i : i + len(wanted)] == wanted]

    ends = [start + len(response) for start in found_at(response)]
    if not ends:
        return [-100] * len(labels)
    if not instruction:
        return [-100 if i < ends[-1] else label for i, label in enumerate(labels)]
    starts = found_at(instruction)
    if not starts:
        return [-100] * len(labels)
    if starts[0] > ends[0]:
        starts = [0, *starts]
    masked: set[int] = set()
    for number in range(min(len(starts), len(ends))):
        masked |= set(range(0 if number == 0 else starts[number], ends[number]))
    if len(ends) < len(starts):
        masked |= set(range(starts[-1], len(labels)))
    return [-100 if i in masked else label for i, label in enumerate(labels)]


ids = st.integers(min_value=0, max_value=4)
template = st.lists(ids, min_size=1, max_size=3)


@given(st.lists(ids, max_size=30), template, st.one_of(st.just([]), template))
def test_masking_is_the_documented_one(input_ids: list[int], response: list[int], instruction: list[int]) -> None:
    labels = [IGNORE_INDEX if token == PAD else token for token in input_ids]
    mask_in_place(labels, response, instruction)
    assert labels == reference(input_ids, response, instruction)


@pytest.mark.parametrize(
    ("input_ids", "response", "instruction", "expected"),
    [
        ([1, 7, 8, 5, 2], [7, 8], [], [-100, -100, -100, 5, 2]),
        ([1, 7, 8, 5, 7, 8, 6, 2], [7, 8], [], [-100] * 6 + [6, 2]),  # the last place counts
        ([1, 3, 5, 2], [7, 8], [], [-100] * 4),  # not found
        ([1, 7, 0, 5, 2], [7, 0], [], [-100] * 5),  # a template that holds the pad id is never found
        ([9, 4, 7, 5, 9, 4, 7, 6], [7], [9], [-100, -100, -100, 5, -100, -100, -100, 6]),
        ([4, 7, 5, 9, 7, 6], [7], [9], [-100, -100, 5, -100, -100, 6]),  # H[0] > R[0]: 0 in front of H
        ([9, 7, 5, 9, 4], [7], [9], [-100, -100, 5, -100, -100]),  # R shorter than H: masked to the end
        ([4, 7, 5], [7], [9], [-100] * 3),  # no instruction
    ],
)
def test_documented_cases(
    input_ids: list[int], response: list[int], instruction: list[int], expected: list[int]
) -> None:
    labels = [IGNORE_INDEX if token == PAD else token for token in input_ids]
    mask_in_place(labels, response, instruction)
    assert labels == expected


def test_a_missing_template_is_an_error_with_a_remedy(demo_model: str) -> None:
    setup = make_setup(demo_model, Config(labels=LabelsConfig(way="completion-collator")))
    with pytest.raises(LabelsError) as caught:
        list(encode_records(setup, records_of([{"text": "a"}])))
    assert caught.value.help == '--response-template "[/INST] "'


def test_a_template_that_is_not_found_masks_the_row_and_says_so(demo_model: str) -> None:
    config = Config(labels=LabelsConfig(way="completion-collator", response_template="### Answer:"))
    (encoded,) = encode_records(make_setup(demo_model, config), records_of([{"text": "こんにちは [/INST] はい"}]))
    assert set(encoded.labels) == {IGNORE_INDEX}
    assert "nowhere in the labels" in encoded.notes[0]


def test_ids_as_template(demo_model: str) -> None:
    text = {"text": "こんにちは [/INST] はい"}
    by_text = Config(labels=LabelsConfig(way="completion-collator", response_template=" [/INST]"))
    setup = make_setup(demo_model, by_text)
    ids = setup.tokenizer.encode([" [/INST]"], add_special_tokens=False)[0].ids
    by_ids = Config(labels=LabelsConfig(way="completion-collator", response_template_ids=tuple(ids)))
    (one,) = encode_records(setup, records_of([text]))
    (other,) = encode_records(make_setup(demo_model, by_ids), records_of([text]))
    assert one.labels == other.labels


@needs_shared
@pytest.mark.parametrize("tokenizer", ["llama2-eos-normalized", "llama2-pad-is-eos", "llama2-pad-is-unk"])
def test_the_labels_that_the_report_prints(tokenizer: str) -> None:
    expected = json.loads((SHARED / "data/report-example/expected.json").read_text(encoding="utf-8"))
    row = json.loads((SHARED / "data/report-example/text.jsonl").read_text(encoding="utf-8"))
    config = Config(labels=LabelsConfig(way="completion-collator", response_template=expected["response_template"]))
    setup = make_setup(str(SHARED / "data/tokenizers" / tokenizer), config)
    (encoded,) = encode_records(setup, records_of([row]))
    assert [label for label in encoded.labels if label != IGNORE_INDEX] == expected["supervised_labels"][tokenizer]
    if tokenizer == "llama2-eos-normalized":
        assert encoded.input_ids == expected["input_ids_llama2_eos_normalized"]


def test_conversations_are_rendered_first_and_get_two_bos(demo_model: str) -> None:
    config = Config(labels=LabelsConfig(way="completion-collator", response_template=" [/INST]"))
    turns = [{"role": "user", "content": "はい"}, {"role": "assistant", "content": "ええ"}]
    (encoded,) = encode_records(make_setup(demo_model, config), records_of([{"messages": turns}]))
    assert encoded.input_ids[:2] == [1, 1]
