"""The collator: against the report, against the removed one, and on rows as trainers bring them."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

import finetooth
from finetooth.errors import ConfigError, LabelsError
from finetooth.labels.completion_collator import mask_in_place
from tests.shared_data import SHARED, needs_shared
from tests.small_tokenizers import SPECIAL_TOKENS, byte_bpe, llama_bpe, unigram, wordpiece
from tests.sources import ROOT

pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


def loaded(backend: tokenizers.Tokenizer, **options: Any) -> Any:
    """Return a small tokenizer as transformers' generic class has it."""
    copy = tokenizers.Tokenizer.from_str(backend.to_str())
    return transformers.PreTrainedTokenizerFast(tokenizer_object=copy, **{**SPECIAL_TOKENS, **options})


@cache
def llama() -> Any:
    return loaded(llama_bpe())


def collator(*args: Any, **options: Any) -> finetooth.CompletionOnlyCollator:
    return finetooth.CompletionOnlyCollator(*args, **{"tokenizer": llama(), **options})


@cache
def gpt() -> Any:
    return loaded(byte_bpe())


def learned(made: finetooth.CompletionOnlyCollator, text: str) -> str:
    """Return what is learned of a text."""
    return str(made.tokenizer.decode(kept(made.labels_of(made.tokenizer(text).input_ids))))


def kept(labels: list[int]) -> list[int]:
    return [label for label in labels if label != -100]


# The report --------------------------------------------------------------------------------------------------------


@needs_shared
@pytest.mark.parametrize(
    ("name", "tail"),
    [
        ("llama2-pad-is-eos", [31068, 30267, 2]),
        ("llama2-pad-is-unk", [31068, 30267, 2]),
        ("llama2-eos-normalized", [31068, 30267, 829, 29879, 29958]),
    ],
)
def test_the_report(name: str, tail: list[int]) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(SHARED / "data" / "tokenizers" / name))
    text = json.loads((SHARED / "data/report-example/text.jsonl").read_text(encoding="utf-8").splitlines()[0])["text"]
    made = finetooth.CompletionOnlyCollator("[/INST] ", tokenizer=tokenizer)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # A longer row beside it, so that it is padded; twice, since a finding is said once.
        batches = [made([tokenizer(text), tokenizer(text + " " + text)]) for _ in range(2)]
    labels = kept(batches[0]["labels"][0].tolist())
    assert labels[0] == 13
    assert labels[-len(tail) :] == tail
    said = [str(warning.message) for warning in caught if issubclass(warning.category, UserWarning)]
    if name == "llama2-eos-normalized":
        (finding,) = said
        assert finding.startswith("LAB001 split-eos: ")
        assert "829, 29879, 29958" in finding
        assert "TOK003" in finding
        assert "`▁</s>`" in finding
    else:
        assert said == []


# The removed collator ------------------------------------------------------------------------------------------------

WORDS = ("the cat", "お嬢様", "紅茶", "tea?", "it's 42.", "\n", "!", "猫も")
CONTENT = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join)
MARKS = (("[/INST] ", "[INST]"), ("### Response:", "### Instruction:"), (" A:", "\nQ:"), ("[/INST]", " [INST] "))
KINDS: dict[str, Callable[[], tokenizers.Tokenizer]] = {"byte_bpe": byte_bpe, "unigram": unigram}
# The small Llama cuts no mark alone as it does in a text; the real one does.
COMPARED = [*KINDS, pytest.param("llama2", marks=needs_shared)]


@cache
def of_kind(kind: str) -> Any:
    if kind == "llama2":
        return transformers.AutoTokenizer.from_pretrained(str(SHARED / "data/tokenizers/llama2-pad-is-unk"))
    return loaded(KINDS[kind]())


def count(ids: list[int], wanted: list[int]) -> int:
    return sum(ids[i : i + len(wanted)] == wanted for i in range(len(ids)))


@pytest.mark.parametrize("kind", COMPARED)
@settings(deadline=None, max_examples=80)
@given(
    turns=st.lists(st.tuples(CONTENT, CONTENT), min_size=1, max_size=3),
    marks=st.sampled_from(MARKS),
    several=st.booleans(),
    space=st.sampled_from(["", " ", "\n"]),
)
def test_agrees_with_the_removed_one(
    kind: str, turns: list[tuple[str, str]], marks: tuple[str, str], several: bool, space: str
) -> None:
    tokenizer = of_kind(kind)
    answer_mark, question_mark = marks
    text = "".join(f"{question_mark}{q}{answer_mark}{space}{a}</s>{space}" for q, a in turns)
    ids = tokenizer(text).input_ids
    response, instruction = (tokenizer.encode(mark, add_special_tokens=False) for mark in marks)
    # Where the removed one misses a place, for the context that it stands in, the two differ: that is the point.
    if count(ids, response) != len(turns) or (several and count(ids, instruction) != len(turns)):
        return
    expected = list(ids)
    mask_in_place(expected, response, instruction if several else [])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = finetooth.CompletionOnlyCollator(answer_mark, question_mark if several else None, tokenizer=tokenizer)
        assert made.labels_of(ids) == expected
        by_ids = finetooth.CompletionOnlyCollator(response, instruction if several else None, tokenizer=tokenizer)
        assert by_ids.labels_of(ids) == expected


@pytest.mark.parametrize("kind", COMPARED)
def test_the_differential_test_compares_something(kind: str) -> None:
    tokenizer = of_kind(kind)
    compared = 0
    for answer_mark, question_mark in MARKS:
        ids = tokenizer(f"{question_mark} tea? {answer_mark}\nthe cat</s>{question_mark}").input_ids
        response, instruction = (tokenizer.encode(m, add_special_tokens=False) for m in (answer_mark, question_mark))
        compared += count(ids, response) == 1 and count(ids, instruction) == 2
    assert compared


# Marks -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mark", "text", "expected"),
    [
        ("[/INST] ", "[INST] a [/INST] Paris.</s>", " Paris.</s>"),  # ` P` straddles the end of the mark
        ("[/INST]", "[INST] a [/INST] Paris.</s>", " Paris.</s>"),
        ("[/INST] ", "[INST] a [/INST]Paris.</s>", "Paris.</s>"),
        ("[/INST] ", "[INST] a[/INST] \nParis.</s>", "\nParis.</s>"),
        ("\n### A:\n", "x ### A:\n y\n### A:\nParis.</s>", "Paris.</s>"),  # the one with the white space
        ("\n### A:\n", "x ### A:\nParis.</s>", "Paris.</s>"),
        ("### A:\n", "### A: Paris.</s>", " Paris.</s>"),
        ("### A:\n", "### A:\nParis ### A: and\n.</s>", "Paris ### A: and\n.</s>"),
        ("[/INST]", "[INST] a [/INST] b</s>[INST] c [/INST] Paris.</s>", " Paris.</s>"),  # the last place
        ("お嬢様：", "猫お嬢様：紅茶</s>", "紅茶</s>"),  # characters of several bytes
        ("\n\n", "a\n\nParis", "Paris"),  # white space alone
    ],
)
def test_where_labels_begin(mark: str, text: str, expected: str) -> None:
    assert learned(collator(mark, tokenizer=gpt()), text) == expected


def test_context_does_not_hide_a_mark() -> None:
    tokenizer = loaded(byte_bpe())
    text = "a[INST] tea[/INST]Paris.</s>"
    ids = tokenizer(text).input_ids
    alone = tokenizer.encode(" [/INST]", add_special_tokens=False)
    assert count(ids, alone) == 0  # the removed one finds nothing here
    for mark in (" [/INST]", alone):
        labels = finetooth.CompletionOnlyCollator(mark, tokenizer=tokenizer).labels_of(ids)
        assert tokenizer.decode(kept(labels)) == "Paris.</s>"


def test_normalized_text_is_found() -> None:
    tokenizer = loaded(unigram())
    made = finetooth.CompletionOnlyCollator("ＡＢＣ：", tokenizer=tokenizer)  # NFKC makes `ABC:` of it
    assert tokenizer.decode(kept(made.labels_of(tokenizer("the cat ＡＢＣ： the tea").input_ids))) == "the tea</s>"


def test_several_turns() -> None:
    made = collator("[/INST]", "[INST]", tokenizer=gpt())
    text = "[INST] a [/INST] b.</s> [INST] c [/INST] d.</s>\n[INST] e"
    # The space before a mark of questions is learned unless one token holds both.
    space = "" if " [" in [gpt().decode([one]) for one in gpt()(text).input_ids] else " "
    assert learned(made, text) == f" b.</s>{space} d.</s>\n"


def test_white_space_that_one_token_holds_with_the_next_mark_is_not_learned() -> None:
    tokenizer = loaded(byte_bpe())
    tokenizer.add_tokens([" [INST]"])
    made = collator("[/INST]", "[INST]", tokenizer=tokenizer)
    assert learned(made, "[INST] a [/INST] b.</s> [INST] c [/INST] d.</s>") == " b.</s> d.</s>"


def test_a_token_that_straddles_the_start_of_an_answer_is_learned() -> None:
    tokenizer = loaded(byte_bpe())
    tokenizer.add_tokens([":\n"])
    assert learned(collator("### A:", tokenizer=tokenizer), "### A:\nParis.</s>") == ":\nParis.</s>"
    assert learned(collator("### A:\n", tokenizer=tokenizer), "### A:\nParis.</s>") == "Paris.</s>"


def test_a_question_mark_that_is_not_found_masks_the_row() -> None:
    made = collator("[/INST]", "<question>")
    with pytest.warns(UserWarning, match="instruction_template '<question>' is nowhere"):
        assert learned(made, "[INST] a [/INST] b.</s>") == ""


def test_a_mark_that_is_not_found_is_said_once_with_what_is_near() -> None:
    made = collator("### Response:\n")
    ids = llama()("the cat ### Answer: tea.</s>").input_ids
    with pytest.warns(UserWarning) as caught:
        labels = [made.labels_of(ids) for _ in range(3)]
    assert labels == [[-100] * len(ids)] * 3
    (said,) = caught
    assert "response_template '### Response:\\n' is nowhere in a row" in str(said.message)
    assert "### Answer:" in str(said.message)


def test_without_likeness_the_beginning_is_shown() -> None:
    with pytest.warns(UserWarning, match="the row begins '<s> tea and"):
        learned(collator("%%%"), "tea and cake")


# Padding -------------------------------------------------------------------------------------------------------------

SHORT, LONG = "[INST] a [/INST] b.</s>", "[INST] a cat [/INST] a small dog, an old letter.</s>"


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("pad", ["</s>", "<unk>", "<pad>", None])
def test_padding_is_masked_by_position(side: str, pad: str | None) -> None:
    tokenizer = loaded(llama_bpe(), pad_token=pad, padding_side=side)
    made = finetooth.CompletionOnlyCollator("[/INST] ", None, tokenizer, pad_to_multiple_of=8)
    batch = made([tokenizer(SHORT), tokenizer(LONG), tokenizer(SHORT).input_ids])
    ids, mask, labels = (batch[name].tolist() for name in ("input_ids", "attention_mask", "labels"))
    assert batch["labels"].shape == batch["input_ids"].shape == batch["attention_mask"].shape
    assert batch["labels"].shape[1] % 8 == 0
    for row, text in enumerate((SHORT, LONG, SHORT)):
        length = sum(mask[row])
        part = slice(-length, None) if side == "left" else slice(length)
        assert ids[row][part] == tokenizer(text).input_ids
        assert labels[row][part] == made.labels_of(ids[row][part])
        assert kept(labels[row])[-1] == 2
        assert kept(labels[row]) == kept(labels[row][part])


@pytest.mark.parametrize("side", ["left", "right"])
def test_rows_that_are_padded_already(side: str) -> None:
    tokenizer = loaded(llama_bpe(), pad_token="</s>", padding_side=side)
    made = finetooth.CompletionOnlyCollator("[/INST] ", tokenizer=tokenizer)
    padded = tokenizer([SHORT, LONG], padding=True, return_tensors="np")
    batch = made([{name: padded[name][row] for name in padded} for row in range(2)])
    assert batch["attention_mask"].tolist() == padded["attention_mask"].tolist()
    assert [kept(row) for row in batch["labels"].tolist()] == [
        kept(made.labels_of(tokenizer(text).input_ids)) for text in (SHORT, LONG)
    ]


def test_padding_without_a_mask_is_said() -> None:
    ids = llama()(SHORT).input_ids
    with pytest.warns(UserWarning, match="several tokens of the padding id 3"):
        collator("[/INST]")([[*ids, 3, 3], ids])


def test_padding_free() -> None:
    tokenizer = llama()
    rows = [tokenizer(SHORT), tokenizer(LONG), {"input_ids": []}]
    padded = tokenizer([SHORT, LONG], padding="max_length", max_length=64)
    flat = collator("[/INST] ", padding_free=True)(rows)
    assert sorted(flat) == ["input_ids", "labels", "position_ids"]
    short, long = (row.input_ids for row in rows[:2])
    assert flat["input_ids"].tolist() == [short + long]
    assert flat["position_ids"].tolist() == [[*range(len(short)), *range(len(long))]]
    made = collator("[/INST] ")
    assert flat["labels"].tolist() == [made.labels_of(short) + made.labels_of(long)]
    again = collator("[/INST] ", padding_free=True)([{k: padded[k][i] for k in padded} for i in range(2)])
    assert again["labels"].tolist() == flat["labels"].tolist()


def test_padding_free_masks_the_first_token_of_each_row() -> None:
    ids = llama()("[/INST] a</s>", add_special_tokens=False).input_ids
    made = collator("</s>", padding_free=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        batch = made([[2, *ids[-2:-1]], ids[:1]])
        assert made.labels_of([2, 2, 9])[1:] == [-100, 9]
    assert batch["labels"][0, 0] == -100


def test_odd_rows() -> None:
    made = collator("[/INST]")
    ids = llama()(SHORT).input_ids
    batch = made([{"input_ids": []}, {"input_ids": ids, "labels": [7] * len(ids), "length": 3}])
    assert sorted(batch) == ["attention_mask", "input_ids", "labels"]
    assert batch["labels"].tolist() == [[-100] * len(ids), made.labels_of(ids)]  # made anew
    assert batch["attention_mask"].tolist()[0] == [0] * len(ids)
    assert made([[]])["input_ids"].shape == (1, 0)
    assert made.labels_of([*ids, 999_999])[-1] == 999_999  # an id beyond the vocabulary, at the end of an answer


def test_a_row_that_was_cut_is_learned_as_far_as_it_goes() -> None:
    ids = llama()(LONG).input_ids
    made = collator("[/INST]")
    assert made.labels_of(ids[:-3]) == made.labels_of(ids)[:-3]


def test_another_ignore_index() -> None:
    ids = llama()(SHORT).input_ids
    labels = collator("[/INST]", ignore_index=-1)([ids, [*ids, 7]])["labels"].tolist()
    assert -100 not in labels[0]
    assert [label if label != -1 else -100 for label in labels[0][: len(ids)]] == collator("[/INST]").labels_of(ids)


# What is wrong with the ends ---------------------------------------------------------------------------------------


def test_a_stop_token_that_a_question_mark_takes_is_said() -> None:
    made = collator("[/INST]", "</s>[INST]")
    with pytest.warns(UserWarning, match="LAB002 masked-eos: `</s>` \\(2\\)"):
        made.labels_of(llama()("</s>[INST] a [/INST] b</s>[INST] c [/INST] d</s>").input_ids)


def test_rows_that_none_of_them_ends_are_said() -> None:
    made = collator("[/INST]")
    ids = llama()("[INST] a [/INST] b.").input_ids
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made([ids] * 7)
    with pytest.warns(UserWarning, match="LAB003 absent-eos: none of the first 8 rows"):
        made([ids])


def test_a_few_rows_that_were_cut_are_not_said() -> None:
    made = collator("[/INST]")
    rows = [llama()(text).input_ids for text in (SHORT, "[INST] a [/INST] b.")]
    made(rows * 20)


def test_an_end_in_pieces_between_turns_is_said() -> None:
    made = collator("[/INST]", "[INST]")
    with pytest.warns(UserWarning, match="LAB001 split-eos: .*`<\\|end\\|>`"):
        made.labels_of(llama()("[INST] a [/INST] b<|end|>[INST] c [/INST] d</s>").input_ids)


def test_a_bos_between_turns_is_no_end_in_pieces() -> None:
    made = collator("[/INST]", "[INST]")
    made.labels_of(llama()("[INST] a [/INST] b</s><s>[INST] c [/INST] d</s>").input_ids)


# Tokenizers --------------------------------------------------------------------------------------------------------


def test_pieces_that_are_no_text_are_searched_by_ids() -> None:
    tokenizer = loaded(wordpiece(), eos_token="[SEP]")
    made = finetooth.CompletionOnlyCollator("tea:", tokenizer=tokenizer)
    ids = tokenizer("The cat, tea: an old letter").input_ids
    expected = list(ids)
    mask_in_place(expected, tokenizer.encode("tea:", add_special_tokens=False), [])
    with pytest.warns(UserWarning, match="by the ids that they have alone") as caught:
        assert made([ids, ids])["labels"].tolist() == [expected, expected]
    assert len(caught) == 1
    assert 0 < len(kept(expected)) < len(ids)
    with pytest.warns(UserWarning, match=r"response_template 'tea:' has the ids \[.*nowhere"):
        made.labels_of(tokenizer("the cat").input_ids)


def test_what_is_set_after_it_was_made_holds() -> None:
    tokenizer = loaded(llama_bpe(), eos_token=None)
    made = finetooth.CompletionOnlyCollator("[/INST]", tokenizer=tokenizer)
    tokenizer.eos_token = "</s>"  # as SFTTrainer does
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|new|>"]})
    assert learned(made, "[INST] a [/INST] b <|new|></s>").endswith("<|new|></s>")


def test_the_tokenizer_is_left_as_it_is() -> None:
    tokenizer = loaded(llama_bpe())
    before = tokenizer.backend_tokenizer.to_str()
    finetooth.CompletionOnlyCollator("[/INST]", tokenizer=tokenizer)([tokenizer(SHORT)])
    assert tokenizer.backend_tokenizer.to_str() == before


def test_workers_get_a_copy() -> None:
    made = collator("[/INST] ")
    batch = made([llama()(SHORT)])
    copy = pickle.loads(pickle.dumps(made))
    assert copy([llama()(SHORT)])["labels"].tolist() == batch["labels"].tolist()


def test_a_processor_lends_its_tokenizer() -> None:
    class Processor:
        tokenizer = llama()

    assert collator("[/INST]", tokenizer=Processor()).labels_of(llama()(SHORT).input_ids)[-1] == 2


# Errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "options", "said"),
    [
        (("[/INST]",), {"mlm": True}, "mlm=True asks for another loss"),
        (("",), {}, "response_template is empty"),
        (("[/INST]", []), {}, "instruction_template is empty"),
        (("[/INST]",), {"tokenizer": None}, "needs the tokenizer"),
        (("[/INST]",), {"return_tensors": "tf"}, "'tf'"),
        (("[/INST]", None, None, False), {}, "4 positional arguments"),
    ],
)
def test_wrong_arguments(args: tuple[Any, ...], options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as error:
        collator(*args, **options)
    assert error.value.help


@pytest.mark.parametrize(
    ("example", "said"),
    [
        ({"text": "a"}, r"no input_ids \(columns: text\)"),
        ({"input_ids": [[1, 2]]}, "not a flat list"),
        ({"input_ids": [1, 2], "attention_mask": [1]}, "attention_mask has 1 entries"),
    ],
)
def test_wrong_examples(example: Any, said: str) -> None:
    with pytest.raises(LabelsError, match=said) as error:
        collator("[/INST]")([[1, 2], example])
    assert error.value.where == "example 1"


# Trainers ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("trainer", ["trainer", "sft"])
def test_the_example_trains(trainer: str, tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    if trainer == "sft":
        pytest.importorskip("trl")
    script = ROOT / "examples" / "completion_only_trainer.py"
    command = [sys.executable, str(script), trainer]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert "collator.py" not in done.stderr  # no warning of ours
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("learned:")] == ["learned: 'ごきげんよう。</s>' ends in 2"] * 2
    assert lines[-1] == "steps: 2"
