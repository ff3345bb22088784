"""A real small model is asked through the persona's prompt."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetooth.config import Config, TokenizerConfig
from finetooth.demo import data_path
from finetooth.errors import DataError
from finetooth.personas.asking import ask_model
from tests.personas.personas import demo_persona
from tests.shared_data import SHARED, needs_shared

MODEL = SHARED / "data" / "stories260K"


@needs_shared
def test_a_model_is_asked(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    seen: list[int] = []
    data = [str(data_path("dialogues.en.jsonl"))]
    report = ask_model(
        MODEL, demo_persona("en"), data=data, limit=3, max_new_tokens=8, batch_size=2, on_progress=seen.append
    )
    assert (report.num_answers, seen) == (3, [2, 3])
    assert report.worst[0].spoken.question in ("Hello!", "Good morning.", "What's your name?")
    path = tmp_path / "prompts.txt"
    path.write_text("Can you whistle?\n\nHello!\n")
    report = ask_model(MODEL, demo_persona("en"), prompts=path, max_new_tokens=8)
    assert report.num_answers == 2
    assert {one.spoken.where for one in report.worst} == {f"{path}:1", f"{path}:3"}


@needs_shared
def test_nothing_to_ask(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"messages": [{"role": "assistant", "content": "x"}]}\n')
    with pytest.raises(DataError, match="nothing to ask"):
        ask_model(MODEL, demo_persona("en"), data=[str(path)], config=Config(tokenizer=TokenizerConfig()))
