"""Whether a persona's facts are found: 20 questions checked by hand, and how fast rows are built.

    python benchmarks/bench_persona.py

The facts are those that the README of a public data set of dialogues gives of its character, in sentences of our own;
questions that are numbers are rows of that data set, read where it lies. The floor of the score was chosen by questions
to the package's own sheets alone; docs/personas.md tells how, and what the first run of this gave.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple

from tokenizers import AddedToken, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as Backend

from finetooth.demo import data_path
from finetooth.personas.building import BuildReport, build_rows
from finetooth.personas.lookup import FactIndex
from finetooth.personas.prompt import PersonaPrompt
from finetooth.personas.sheet import Fact, Persona
from finetooth.records import records_of
from finetooth.tokenizer import Tokenizer, load_tokenizer
from finetooth.view.visible import cells

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
DATA = SHARED / "ojousama" / "ojousamatalkscript200_gpt-3.5-1106ver.jsonl"
SOURCE = "facts and questions: github matsuvr/OjousamaTalkScriptDataset, MIT License (facts retold, questions by row)"

FACTS = {
    "学校": ("高校に通っています。",),
    "憧れ": ("ミュージカルが好きで、その舞台に立つ女優を夢見たことがあります。",),
    "家族": (
        "両親の仕事は不動産業です。",
        "兄はアメリカへ留学しています。",
        "長野にある祖父の家で暮らした時期があります。",
    ),
    "習い事": ("バイオリンを幼いころから習っています。",),
    "住まい": ("今は東京に住んでいます。",),
}


class Question(NamedTuple):
    """A question: a row of the data, or words of our own; and a stretch of the fact that answers it, or `None`."""

    row: int | str
    fact: str | None


QUESTIONS = (
    Question(60, "バイオリン"),
    Question(71, "留学"),
    Question(73, "東京"),
    Question(74, "家族:"),
    Question(77, "兄は"),
    Question(78, "家族:"),
    Question(80, "兄は"),
    Question(89, "高校"),
    Question("ミュージカルは好きですか", "ミュージカル"),
    Question("ご両親のお仕事は何ですか", "不動産"),
    Question("お祖父さまはどちらにいらっしゃいますか", "祖父"),
    Question("長野に行ったことはありますか", "長野"),
    Question("アメリカに行ったことはある？", "アメリカ"),
    Question("東京のおすすめの場所は？", "東京"),
    Question("女優になりたいと思ったことは？", "女優"),
    Question("不動産の仕事を継ぐのですか", "不動産"),
    Question(0, None),
    Question(4, None),
    Question(162, None),
    Question(199, None),
)


def persona() -> Persona:
    """Return the sheet."""
    return Persona(
        name="お嬢様",
        system_prompt="あなたは東京に住む、ミュージカルの好きなお嬢様です。",
        facts={group: tuple(Fact(text=text) for text in texts) for group, texts in FACTS.items()},
        language="ja",
    )


def byte_level() -> Tokenizer:
    """Train a byte-level tokenizer on the package's own dialogues."""
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=4000,
        special_tokens=[AddedToken("<|im_start|>", special=True), AddedToken("<|im_end|>", special=True)],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    lines = [line for lang in ("ja", "en") for line in data_path(f"dialogues.{lang}.jsonl").open(encoding="utf-8")]
    texts = (message["content"] for line in lines for message in json.loads(line)["messages"])
    backend.train_from_iterator(texts, trainer)
    return Tokenizer(name="byte-level, 4,000 pieces", backend=backend)


def tokenizers() -> Iterator[Tokenizer]:
    """Yield the tokenizers of the table."""
    for path in sorted((SHARED / "tokenizers").iterdir()):
        yield load_tokenizer(str(path))
    yield byte_level()


def is_right(question: Question, found: list[tuple[str, str]]) -> bool:
    if question.fact is None:
        return not found
    if question.fact.endswith(":"):
        return any(group == question.fact[:-1] for group, _ in found)
    return any(question.fact in text for _, text in found)


def main() -> int:
    if not DATA.is_file():
        print(f"no data at {DATA}: nothing to measure")
        return 0
    rows = [json.loads(line) for line in DATA.open(encoding="utf-8")]
    sheet = persona()
    print(SOURCE, end="\n\n")
    for tokenizer in tokenizers():
        index = FactIndex(sheet, tokenizer)
        num_right = 0
        print(f"{Path(tokenizer.name).name}: top {sheet.lookup.top_k}, floor {sheet.lookup.floor}")
        for question in QUESTIONS:
            words = question.row if isinstance(question.row, str) else rows[question.row]["messages"][1]["content"]
            found = index.find(words)
            right = is_right(question, [(one.group, one.text) for one in found])
            num_right += right
            shown = "、".join(f"{one.text} {one.score:.2f}" for one in found) or "-"
            print(f"  {'hit ' if right else 'MISS'}  {words}{' ' * max(0, 44 - cells(words))}  {shown}")
        print(f"  {num_right} of {len(QUESTIONS)} right\n")
    speed(sheet, rows)
    return 0


def speed(sheet: Persona, rows: list[dict[str, object]], num_rows: int = 20_000) -> None:
    """Print how many rows are built in a second."""
    prompt = PersonaPrompt(sheet, next(tokenizers()))
    report = BuildReport()
    start = time.perf_counter()
    for row in build_rows(records_of(islice(cycle(rows), num_rows)), prompt, report):
        json.dumps(row, ensure_ascii=False)
    seconds = time.perf_counter() - start
    print(f"{report.num_rows:,} rows in {seconds:.1f} s: {report.num_rows / seconds:,.0f} rows/s on one core")


if __name__ == "__main__":
    sys.exit(main())
