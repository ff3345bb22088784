"""The rules that count over the data set: what is content is left alone, and parts add up to the whole."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, models, normalizers

from finetooth.checking import check_records
from finetooth.config import Config, LabelsConfig
from finetooth.demo import tokenizer_path
from finetooth.labels import make_labeller, make_setup
from finetooth.messages import set_language
from finetooth.records import records_of
from finetooth.rules import Hit, NotRun, rule_of, select_rules
from finetooth.rules.facts import SetupFacts
from finetooth.rules.literals import broken_contexts, is_whole_everywhere, scaffolding
from finetooth.rules.row import Row
from finetooth.tokenizer import Tokenizer as LoadedTokenizer
from tests.rules.fixtures import check_fixture, fixture_paths, load

TALLIES = ("TOK003", "TOK009", "RUN001", "RUN002")


def turns(question: str, answer: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


ROWS = [
    turns("こんにちは。", "ごきげんよう。"),
    turns("Hello!", "Good day, I am sure."),
    turns("お元気？", "はい、元気ですわ！"),
    turns("さようなら", "さようなら、また明日"),
]


def rows_of(rows: Sequence[dict[str, Any]], tokenizer: str, config: Config | None = None) -> list[Row]:
    setup = make_setup(str(tokenizer_path(tokenizer)), config)
    facts, records = SetupFacts(setup), list(records_of(rows))
    encoded = make_labeller(setup)(records)
    return [Row(facts, record, one) for record, one in zip(records, encoded, strict=True)]


def judged(tally: Any, facts: SetupFacts) -> list[Hit | NotRun]:
    return list(tally.hits(facts))


@pytest.mark.parametrize("code", TALLIES)
@pytest.mark.parametrize("tokenizer", ["split", "masked", "supervised"])
def test_parts_add_up_to_the_whole(code: str, tokenizer: str) -> None:
    collator = Config(labels=LabelsConfig(way="completion-collator", response_template="[/INST]"))
    rows = rows_of(ROWS, tokenizer, collator)
    rule = rule_of(code)
    whole, first, second = rule.run(), rule.run(), rule.run()
    for index, row in enumerate(rows):
        whole.add(row)
        (first if index < 2 else second).add(row)
    # As they come from another process.
    first, second = pickle.loads(pickle.dumps((first, second)))
    first.merge(second)
    assert judged(first, rows[0].facts) == judged(whole, rows[0].facts)


def test_a_split_terminator_is_counted_once_a_row() -> None:
    rows = rows_of(ROWS, "split")
    tally = rule_of("TOK003").run()
    for row in rows:
        tally.add(row)
    hit = next(hit for hit in tally.hits(rows[0].facts) if hit.because.evidence["token"] == "</s>")
    assert hit.values["count"] == 4
    assert [place.record for place in hit.values["places"]] == [0, 1, 2]
    assert all("[</" in view for view in hit.values["views"])


@pytest.mark.parametrize("code", ["TOK003", "TOK009"])
@pytest.mark.parametrize("literal", ["</s>", "<s>", "<|im_end|>"])
def test_what_a_user_writes_is_not_scaffolding(code: str, literal: str) -> None:
    rows = [turns(f"What does{literal}mean?", "It ends a turn.")]
    report = check_records(
        records_of(rows), [make_setup(str(tokenizer_path("supervised")))], select_rules((code,))
    ).parts[0]
    assert report.findings == ()


def test_scaffolding_beside_the_same_words_in_content() -> None:
    (row,) = rows_of([turns("What does </s> mean?", "It ends a turn.")], "supervised")
    assert [row.text[:start].count("</s>") for start, _ in scaffolding(row, "</s>")] == [1]


def facts_of(backend: Tokenizer, **special_tokens: str) -> SetupFacts:
    return SetupFacts(make_setup(LoadedTokenizer(name="small", backend=backend, special_tokens=special_tokens)))


def test_a_vocabulary_entry_that_is_no_added_token() -> None:
    vocabulary = {character: index for index, character in enumerate("</s>ab.")}
    backend = Tokenizer(models.BPE(vocab={**vocabulary, "<END>": 7}, merges=[]))
    facts = facts_of(backend, eos_token="<END>")
    assert not is_whole_everywhere(facts, "<END>")
    rows = [{"text": "ab.<END>"}]
    part = check_records(records_of(rows), [facts.setup], select_rules(("TOK009",))).parts[0]
    (finding,) = part.findings
    assert finding.cause is not None
    assert finding.cause.code == "not-an-added-token"


def test_contexts_in_which_a_literal_breaks() -> None:
    facts = SetupFacts(make_setup(str(tokenizer_path("split"))))
    broken = broken_contexts(facts, "</s>", ["ね", " "])
    assert "。" in broken
    assert "ね" in broken
    assert " " not in broken
    assert broken_contexts(SetupFacts(make_setup(str(tokenizer_path("supervised")))), "</s>", ["ね"]) == ()


def test_a_pattern_of_another_normalizer() -> None:
    backend = Tokenizer(models.WordLevel({"<unk>": 0, "a": 1}, unk_token="<unk>"))
    backend.normalizer = normalizers.Sequence([normalizers.Replace("|", "/")])
    backend.add_tokens([AddedToken("<|x|>", normalized=True, special=True)])
    facts = facts_of(backend)
    # The text is altered as the pattern is, so nothing breaks.
    assert facts.normalized == {"<|x|>": "</x/>"}
    assert broken_contexts(facts, "<|x|>") == ()


STAGES = ("TOK", "RUN")
OURS = [path for path in fixture_paths() if path.parent.name.startswith(STAGES)]


@pytest.mark.parametrize("path", OURS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_sentence_can_be_said_in_japanese(path: Path, tmp_path: Path) -> None:
    set_language("ja")
    for finding in check_fixture(load(path), tmp_path).findings:
        if finding.code.startswith(STAGES):
            assert "{" not in finding.message
            assert finding.cause is not None
            assert any("\u3041" <= character <= "\u30ff" for character in finding.cause.text)
