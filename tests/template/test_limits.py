"""What ends the templates that would never end, or take all memory."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from finetooth.errors import TemplateError
from finetooth.messages import set_language
from finetooth.template import ChatTemplate, sandbox
from finetooth.types import Message
from tests.sources import ROOT
from tests.template.attacks import ATTACKS

MESSAGES: list[Message] = [
    {"role": "system", "content": "Be brief & <kind>."},
    {"role": "user", "content": "  Où est la gare?\n"},
    {
        "role": "assistant",
        "content": "「あちら」ですわ。",
        "tags": ["b", "A", "c", "A"],
        "n": 3,
        "map": {"b": 1, "a": None},
    },
]


def render(source: str, **variables: Any) -> str:
    return ChatTemplate(source, name="t.jinja").render(copy.deepcopy(MESSAGES), variables=variables)


def error_of(source: str, **variables: Any) -> TemplateError:
    with pytest.raises(TemplateError) as caught:
        render(source, **variables)
    return caught.value


@pytest.mark.skipif(sys.platform == "win32", reason="limits on memory and forks are POSIX's")
@pytest.mark.parametrize("group", ATTACKS)
def test_no_template_runs_for_ever_or_takes_all_memory(group: str) -> None:
    command = [sys.executable, "-m", "tests.template.attacks", group]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    outcomes = dict(json.loads(line) for line in process.stdout.splitlines())
    assert list(outcomes) == list(ATTACKS[group]), process.stderr
    # A MemoryError is caught as well, but then it was the process's limit that ended the template, not ours.
    ours = ("LimitReachedError", "OverflowError", "RecursionError", "SecurityError")
    assert {
        name: end for name, end in outcomes.items() if end not in [f"TemplateError from {one}" for one in ours]
    } == {}


ENDLESS = "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}"


def test_the_limit_of_time_is_an_error_with_place_and_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "MAX_SECONDS", 0.05)
    error = error_of(ENDLESS)
    assert error.what == "the template runs for more than 0.05 seconds"
    assert error.where == "t.jinja"
    assert error.help and "--template" in error.help


def test_the_limit_of_time_holds_in_any_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "MAX_SECONDS", 0.05)
    template = ChatTemplate(ENDLESS, name="t")
    ends: list[Any] = []

    def work() -> None:
        try:
            ends.append(template.render([]))
        except TemplateError as error:
            ends.append(error.what)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert ends == ["the template runs for more than 0.05 seconds"] * 2


def test_threads_that_render_one_template_do_not_share_what_they_have_spent() -> None:
    template = ChatTemplate(
        "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}", name="t"
    )
    expected = template.render_with_generation(MESSAGES)
    results: list[Any] = []

    def work() -> None:
        results.extend(template.render_with_generation(MESSAGES) for _ in range(50))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected] * 200


def test_a_rendering_may_render_another() -> None:
    """A template's own data may be rendered by another template meanwhile, as where rendering is lazy."""
    inner = ChatTemplate("{% generation %}inner{% endgeneration %}", name="inner")

    class Late(dict[str, Any]):
        def __missing__(self, key: str) -> str:
            return inner.render([])

    source = "a{% generation %}{{ x['late'] }}{% endgeneration %}"
    text, blocks = ChatTemplate(source, name="outer").render_with_generation([], variables={"x": Late()})
    assert (text, blocks) == ("ainner", [(1, 6)])


def test_a_long_conversation_is_within_the_limits() -> None:
    messages = [{"role": ("user", "assistant")[index % 2], "content": "word " * 2000} for index in range(1000)]
    source = "{% for m in messages %}{{ '<' + m.role + '>' + m.content|trim + '\\n' }}{% endfor %}"
    text = ChatTemplate(source, name="t").render(messages)
    assert len(text) == sum(len(f"<{m['role']}>{m['content'].strip()}\n") for m in messages)


def test_limits_speak_japanese() -> None:
    set_language("ja")
    assert error_of("{{ 'x' * 300000000 }}").what == "テンプレートの出力が 67,108,864 文字を超えました"


@pytest.mark.parametrize(
    ("source", "make"),
    [
        ("{{ a + a }}", lambda n: {"a": "x" * n}),
        ("{{ a ~ a }}", lambda n: {"a": "x" * n}),
        ("{{ a }}{{ a }}", lambda n: {"a": "x" * n}),
        ("{{ a|join }}", lambda n: {"a": ["x" * n, "y" * n]}),
    ],
)
def test_the_limit_is_on_the_text_and_not_on_its_parts(
    source: str, make: Callable[[int], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from finetooth.template import budget

    monkeypatch.setattr(budget, "MAX_CHARACTERS", 2000)
    assert len(render(source, **make(900))) == 1800
    assert error_of(source, **make(1001)).what == "the template makes a text of more than 2,000 characters"
