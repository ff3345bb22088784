"""Every branch of the tree of endings is reached, on several tokenizers and ways, and each answer has one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken

from finetooth.config import Config, LabelsConfig, TokenizerConfig
from finetooth.demo import DIALOGUES, data_path, tokenizer_path
from finetooth.labels import make_labeller, make_setup
from finetooth.records import read_records, records_of
from finetooth.rules.endings import BRANCHES, Branch, Ending, ending_of, endings_of, predict
from finetooth.rules.facts import SetupFacts
from finetooth.rules.row import Row
from tests.small_tokenizers import KINDS, byte_bpe, copy_of, llama_bpe, save_model, unigram

INST = "[INST] the cat [/INST]"
PAIR = {"prompt": "the cat ->", "completion": " a small dog."}
TURNS = [
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "It is a cat."},
    {"role": "user", "content": "the cat"},
    {"role": "assistant", "content": "Two cats."},
]
BLOCKS = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['role'] == 'assistant' %}"
    "{% generation %}{{ m['content'] }}{% endgeneration %}{% else %}{{ m['content'] }}{% endif %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def rows_of(model: str | Path, data: list[dict[str, Any]], *, template: str | None = None, **labels: Any) -> list[Row]:
    config = Config(tokenizer=TokenizerConfig(template=template), labels=LabelsConfig(**labels))
    setup = make_setup(str(model), config)
    records = list(records_of(data))
    facts = SetupFacts(setup)
    return [Row(facts, r, e) for r, e in zip(records, make_labeller(setup)(records), strict=True)]


def ending(model: str | Path, row: dict[str, Any], *, template: str | None = None, **labels: Any) -> Ending:
    return ending_of(rows_of(model, [row], template=template, **labels)[0])


def chatml(directory: Path, **config: Any) -> Path:
    return save_model(directory / "model", byte_bpe(), **{"eos_token": "<|im_end|>", **config})


# stops --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["finetooth", "trl"])
def test_an_appended_terminator_stops(kind: str, way: str, tmp_path: Path) -> None:
    eos = "[SEP]" if kind == "wordpiece" else "</s>"
    found = ending(save_model(tmp_path / "model", KINDS[kind](), eos_token=eos), PAIR, way=way)
    assert (found.branch, found.cause) == ("stops", "")


def test_the_stop_token_of_the_post_processor_counts(tmp_path: Path) -> None:
    found = ending(save_model(tmp_path / "model", unigram()), PAIR, way="causal-lm")
    assert found.branch == "stops"
    assert found.terminator is None


def test_white_space_after_the_terminator_is_passed_over(tmp_path: Path) -> None:
    row = {"prompt": "the cat ->", "completion": " a small dog.</s>\n"}
    found = ending(save_model(tmp_path / "model", llama_bpe()), row, way="causal-lm")
    assert (found.branch, found.terminator) == ("stops", "</s>")


def test_every_answer_has_an_ending(tmp_path: Path) -> None:
    (row,) = rows_of(chatml(tmp_path), [{"messages": TURNS}], template="chatml")
    found = endings_of(row)
    assert [one.branch for one in found] == ["stops", "stops"]
    assert [row.input_ids[one.first_token : one.end_token] for one in found] == [[5], [5]]
    assert found[-1] is ending_of(row)


# split --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", ["。", ".", "」", "a"])
def test_a_normalized_token_is_split(before: str, tmp_path: Path) -> None:
    tokenizer = copy_of(llama_bpe())
    tokenizer.add_tokens([AddedToken("</s>", special=True, normalized=True)])
    row = {"prompt": "the cat ->", "completion": f" a dog{before}"}
    found = ending(save_model(tmp_path / "model", tokenizer), row, way="trl")
    assert (found.branch, found.cause) == ("split-by-normalizer", "TOK003")
    assert found.evidence["previous_character"] == before
    assert found.evidence["stored_pattern"] == "▁</s>"
    assert found.evidence["token_id"] == 2
    assert found.evidence["file"].endswith("tokenizer.json")
    assert len(found.evidence["ids"]) == len(found.evidence["pieces"]) > 1


def test_a_lower_casing_normalizer_splits_a_token_in_capitals(tmp_path: Path) -> None:
    tokenizer = copy_of(
        byte_bpe(),
        normalizer={"type": "Sequence", "normalizers": [{"type": "Lowercase"}, {"type": "Prepend", "prepend": "_"}]},
    )
    tokenizer.add_tokens([AddedToken("<EOS>", special=True, normalized=True)])
    found = ending(save_model(tmp_path / "model", tokenizer, eos_token="<EOS>"), PAIR, way="trl")
    assert (found.branch, found.cause) == ("split-by-normalizer", "TOK003")
    assert found.evidence["stored_pattern"] == "_<eos>"
    assert "Lowercase" in found.evidence["normalizer"]


def test_a_tokenizer_that_cuts_special_tokens_splits(tmp_path: Path) -> None:
    setup = make_setup(str(save_model(tmp_path / "model", byte_bpe())), Config(labels=LabelsConfig(way="trl")))
    setup.tokenizer.backend.encode_special_tokens = True
    (record,) = records_of([PAIR])
    found = ending_of(Row(SetupFacts(setup), record, make_labeller(setup)([record])[0]))
    assert (found.branch, found.cause) == ("split-by-normalizer", "split-special-tokens")


def test_ids_of_another_tokenizer_are_told_apart(tmp_path: Path) -> None:
    model = save_model(tmp_path / "model", byte_bpe())
    plain = copy_of(byte_bpe())
    plain.encode_special_tokens = True
    ids = plain.encode("the cat.</s>").ids
    found = ending(model, {"input_ids": ids, "labels": ids}, way="as-is")
    assert (found.branch, found.cause) == ("split-by-normalizer", "encoded-otherwise")


def test_a_literal_that_the_vocabulary_lacks_is_split() -> None:
    found = ending(tokenizer_path("supervised"), {"messages": TURNS}, template="chatml")
    assert (found.branch, found.cause, found.terminator) == ("split-no-token", "TOK009", "<|im_end|>")
    assert found.evidence["in_vocabulary"] is False


@pytest.mark.parametrize("spelling", ["</S>", "< /s>", "<\\s>", "＜/s＞", "[/s]", "</s"])
def test_another_spelling_is_told(spelling: str, tmp_path: Path) -> None:
    row = {"prompt": "the cat ->", "completion": f" a small dog.{spelling}"}
    found = ending(save_model(tmp_path / "model", byte_bpe()), row, way="causal-lm")
    assert (found.branch, found.cause, found.terminator) == ("split-no-token", "spelling", spelling)
    assert found.evidence["intended"] == "</s>"


@pytest.mark.parametrize("tail", ["a > b", "x[0]", "<b>bold</b>", "List<String>", "(see [3])"])
def test_other_brackets_are_no_spelling(tail: str, tmp_path: Path) -> None:
    row = {"prompt": "the cat ->", "completion": f" {tail}"}
    assert ending(save_model(tmp_path / "model", byte_bpe()), row, way="finetooth").branch == "stops"


# masked -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["byte_bpe", "llama_bpe"])
@pytest.mark.parametrize("way", ["causal-lm", "completion-collator"])
def test_a_padding_token_that_is_the_eos_is_masked(kind: str, way: str, tmp_path: Path) -> None:
    model = save_model(tmp_path / "model", KINDS[kind](), pad_token="</s>")
    row = {"prompt": "the cat ->", "completion": " a small dog.</s>"}
    found = ending(model, row, way=way, response_template="->", response_template_ids=_ids_of(model, "t ->")[-1:])
    assert (found.branch, found.cause) == ("masked-by-pad", "pad-is-eos")
    assert found.evidence["pad_token_id"] == found.evidence["eos_token_id"] == 2


def _ids_of(model: Path, text: str) -> list[int]:
    return list(make_setup(str(model)).tokenizer.encode([text], add_special_tokens=False)[0].ids)


def test_padding_masked_by_a_live_collator_is_seen(tmp_path: Path) -> None:
    model = save_model(tmp_path / "model", byte_bpe(), pad_token="</s>")
    ids = _ids_of(model, "the cat.</s>")
    found = ending(model, {"input_ids": ids, "labels": [*ids[:-1], -100]}, way="as-is")
    assert (found.branch, found.cause) == ("masked-by-pad", "pad-is-eos")


def test_a_generation_block_that_ends_early_masks(tmp_path: Path) -> None:
    template = tmp_path / "early.jinja"
    template.write_text(BLOCKS, encoding="utf-8")
    found = ending(chatml(tmp_path), {"messages": TURNS}, template=str(template), way="trl", assistant_only_loss=True)
    assert (found.branch, found.cause, found.terminator) == ("masked-by-template", "generation-block", "<|im_end|>")


def test_a_terminator_of_the_next_message_is_masked(tmp_path: Path) -> None:
    template = tmp_path / "next.jinja"
    source = BLOCKS.replace("<|im_end|>\n{% endfor %}", "{% endfor %}").replace(
        "<|im_start|>{{ m", "{% if not loop.first %}<|im_end|>\n{% endif %}<|im_start|>{{ m"
    )
    template.write_text(source, encoding="utf-8")
    (row,) = rows_of(
        chatml(tmp_path), [{"messages": TURNS}], template=str(template), way="trl", assistant_only_loss=True
    )
    first, last = endings_of(row)
    assert (first.branch, first.cause) == ("masked-by-template", "next-message")
    assert first.evidence["next_role"] == "user"
    assert (last.branch, last.cause) == ("absent", "nobody-appends")


def test_a_terminator_that_is_not_the_eos_is_masked(tmp_path: Path) -> None:
    model = chatml(tmp_path, eos_token="</s>")
    ids = _ids_of(model, "the cat.<|im_end|>")
    found = ending(model, {"input_ids": ids, "labels": [*ids[:-1], -100]}, way="as-is")
    assert (found.branch, found.cause) == ("masked-other-terminator", "other-terminator")


def test_labels_that_end_with_the_content(tmp_path: Path) -> None:
    model = chatml(tmp_path)
    ids = _ids_of(model, "the cat.<|im_end|>")
    found = ending(model, {"input_ids": ids, "labels": [*ids[:-1], -100]}, way="as-is")
    assert (found.branch, found.cause) == ("masked-by-template", "content-only")


# absent, cut, forged, others ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["byte_bpe", "llama_bpe"])
def test_nobody_appends(kind: str, tmp_path: Path) -> None:
    found = ending(save_model(tmp_path / "model", KINDS[kind]()), PAIR, way="causal-lm")
    assert (found.branch, found.cause) == ("absent", "nobody-appends")


def test_a_flag_that_the_post_processor_ignores(tmp_path: Path) -> None:
    model = save_model(tmp_path / "model", llama_bpe(), add_eos_token=True)
    config = Config(tokenizer=TokenizerConfig(loader="tokenizers"), labels=LabelsConfig(way="causal-lm"))
    setup = make_setup(str(model), config)
    (record,) = records_of([PAIR])
    found = ending_of(Row(SetupFacts(setup), record, make_labeller(setup)([record])[0]))
    assert (found.branch, found.cause) == ("absent", "add-eos-ignored")
    assert found.evidence["file"].endswith("tokenizer_config.json")


@pytest.mark.parametrize("max_length", [10, 20, 22])
def test_a_cut_answer(max_length: int, tmp_path: Path) -> None:
    row = {"messages": TURNS[:2]}
    found = ending(chatml(tmp_path), row, template="chatml", max_length=max_length)
    assert found.branch == "cut"
    assert found.evidence["kept"] == max_length


def test_a_cut_of_the_appended_id_alone_is_a_cut(tmp_path: Path) -> None:
    model = save_model(tmp_path / "model", byte_bpe())
    whole = rows_of(model, [PAIR])[0]
    found = ending(model, PAIR, max_length=len(whole.input_ids) - 1)
    assert (ending_of(whole).branch, found.branch) == ("stops", "cut")


def test_a_row_cut_after_an_earlier_turn_is_not_forged(tmp_path: Path) -> None:
    model = chatml(tmp_path)
    (whole,) = rows_of(model, [{"messages": TURNS}], template="chatml")
    length = endings_of(whole)[0].end_token
    assert ending(model, {"messages": TURNS}, template="chatml", max_length=length).branch == "cut"


def test_an_end_where_the_source_goes_on_is_forged(tmp_path: Path) -> None:
    model = save_model(tmp_path / "model", byte_bpe())
    source = "the cat drinks a cup of tea. my neighbour looks at the blue garden."
    ids = [*_ids_of(model, source[:40]), 2]
    whole = [*_ids_of(model, source), 2]
    assert ending(model, {"input_ids": ids, "labels": ids, "text": source}, way="as-is").branch == "forged"
    assert ending(model, {"input_ids": whole, "labels": whole, "text": source}, way="as-is").branch == "stops"


def test_a_learned_terminator_outside_the_stop_set(tmp_path: Path) -> None:
    found = ending(chatml(tmp_path, eos_token="</s>"), {"messages": TURNS}, template="chatml")
    assert (found.branch, found.cause, found.terminator) == ("not-in-stop-set", "RUN001", "<|im_end|>")
    assert found.evidence["stop_ids"] == [2]


@pytest.mark.parametrize(
    "messages",
    [
        [TURNS[0], {**TURNS[1], "train": False}],
        [TURNS[0]],
        [
            TURNS[0],
            {
                "role": "assistant",
                "content": "It is a cat.",
                "train_detail": [{"begin_offset": 6, "end_offset": 11, "train": False}],
            },
        ],
    ],
    ids=["turn", "no answer", "end of a turn"],
)
def test_what_is_not_to_be_learned_has_no_fault(messages: list[dict[str, Any]], tmp_path: Path) -> None:
    assert ending(chatml(tmp_path), {"messages": messages}, template="chatml").branch == "unsupervised"


# the demo -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "way", "branch"),
    [
        ("split", "finetooth", "split-by-normalizer"),
        ("masked", "causal-lm", "masked-by-pad"),
        ("supervised", "finetooth", "stops"),
        ("supervised", "trl", "stops"),
        ("supervised", "causal-lm", "stops"),
    ],
)
def test_every_record_of_the_demo_has_its_branch(name: str, way: str, branch: str) -> None:
    data = [dict(record.row) for record in read_records([str(data_path(DIALOGUES["ja"]))])]
    found = {ending_of(row).branch for row in rows_of(tokenizer_path(name), data, way=way)}
    assert found == {branch}


def test_branches_are_named_once() -> None:
    assert len(BRANCHES) == len(set(BRANCHES)) == 11


@pytest.mark.parametrize(
    ("endings", "expected"),
    [
        ({"stops": 10}, {"stops": 1.0}),
        ({"split-by-normalizer": 1, "split-no-token": 1}, {"shows-literal": 1.0}),
        ({"not-in-stop-set": 4}, {"runs-on": 1.0}),
        ({"masked-by-pad": 4}, {"runs-on": 1.0}),
        # What was measured at toy size, 202 records, 30 answers: 30 ran on, 25 stopped, 29 ran on, 29 stopped.
        ({"cut": 201, "stops": 1}, {"runs-on": 201 / 202, "stops": 1 / 202}),
        ({"cut": 199, "stops": 3}, {"stops": 1.0}),
        ({"absent": 194, "stops": 8}, {"runs-on": 194 / 202, "stops": 8 / 202}),
        ({"absent": 186, "stops": 16}, {"stops": 1.0}),
        ({"cut": 150, "absent": 50, "stops": 2}, {"runs-on": 200 / 202, "stops": 2 / 202}),
        ({"absent": 50, "stops": 30, "split-by-normalizer": 10}, {"stops": 0.75, "shows-literal": 0.25}),
        ({"forged": 1, "not-in-stop-set": 1, "unsupervised": 2}, {"stops": 0.5, "runs-on": 0.5}),
    ],
)
def test_predictions(endings: dict[Branch, int], expected: dict[str, float]) -> None:
    shares = predict(endings)
    assert sum(shares.values()) == pytest.approx(1)
    assert {name: share for name, share in shares.items() if share} == pytest.approx(expected)
