"""A probe's report in a notebook's cell."""

from __future__ import annotations

import pytest

from finetooth.messages import set_language
from finetooth.probing.judging import Answer
from finetooth.probing.prompts import Prompt
from finetooth.probing.report import ProbeReport
from tests.documents.samples import HOSTILE, Page, complaints


def report(*texts: str, leaked: str | None = None) -> ProbeReport:
    made = ProbeReport(model="runs/a/model", stop_ids=(2,), max_new_tokens=64)
    for number, text in enumerate(texts):
        prompt = Prompt(record=number, where=f"a.jsonl:{number + 1}", question=f"q{number}", input_ids=[1])
        made.add(
            Answer(
                prompt=prompt,
                ids=[5],
                text=text,
                shown=text,
                stopped=leaked is None,
                leaked=leaked,
                passed_over=None,
                echoed=False,
                repeats=False,
                first=None,
            )
        )
    return made


@pytest.mark.parametrize(("language", "stopped"), [("en", "stopped"), ("ja", "停止2 / 2")])
def test_rates_and_answers(language: str, stopped: str) -> None:
    set_language(language)
    page = Page(report("はい。", "いいえ。")._repr_html_())
    text = page.text()
    assert stopped in text
    assert "2 / 2" in text
    assert "34%–100%" in text  # Wilson's interval of two of two
    assert "q1いいえ。" in "".join(text.split())
    assert [one for one in page.named("span") if one["class"] == "bad"] == []


def test_a_literal_terminator_is_marked() -> None:
    page = Page(report("はい。</s> はい。</s>", leaked="</s>")._repr_html_())
    assert [one["class"] for one in page.named("span")].count("differs") == 2
    assert "▷ went on to the limit" in page.text()


def test_hostile_answers_stay_text() -> None:
    assert list(complaints(report(HOSTILE, "")._repr_html_())) == []
    assert list(complaints(report(HOSTILE, leaked="<script>")._repr_html_())) == []
    long = report("x" * 5000)._repr_html_()
    assert "x" * 300 not in long


def test_nothing_was_asked() -> None:
    assert "0 / 0" in report()._repr_html_()
