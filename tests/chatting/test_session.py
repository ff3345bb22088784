"""What a session prints, at every width, in both languages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch")

from finetooth.chatting.conversation import Conversation
from finetooth.chatting.screen import Screen
from finetooth.chatting.session import COMMANDS, Session
from finetooth.chatting.settings import Settings
from finetooth.chatting.speaker import Speaker, load_speaker
from finetooth.messages import set_language
from finetooth.view.visible import cells
from tests.chatting.scripted import WORDS, save_leaking, save_running_on, save_stopping

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")

SGR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture(scope="module")
def speakers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Speaker]:
    folder = tmp_path_factory.mktemp("models")
    makers = {"stops": save_stopping, "leaks": save_leaking, "runs-on": save_running_on}
    return {name: load_speaker(make(folder / name)) for name, make in makers.items()}


def session(*speakers: Speaker, color: bool = False, system: str | None = None) -> Session:
    talks = [Conversation(one, settings=Settings(max_new_tokens=40), system=system) for one in speakers]
    return Session(conversations=talks, screen=Screen(color=color, is_terminal=True), is_interactive=False)


@pytest.fixture(params=[40, 79, 80, 120])
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("COLUMNS", str(request.param))
    return int(request.param)


@pytest.fixture(params=["en", "ja"])
def lang(request: pytest.FixtureRequest) -> Iterator[str]:
    set_language(request.param)
    yield request.param
    set_language("en")


LINES = ["こんにちは。", "/why", "/why all", "/help", "/facts", "/system", "/wy", "/nothing of the kind", "/save"]


@pytest.mark.parametrize("names", [("stops",), ("leaks",), ("runs-on",), ("stops", "leaks")], ids="+".join)
def test_every_line_fits(
    names: tuple[str, ...],
    width: int,
    lang: str,
    speakers: dict[str, Speaker],
    capsys: pytest.CaptureFixture[str],
) -> None:
    session(*(speakers[name] for name in names), system="あなたはお嬢様です。" * 9).run(iter(LINES))
    out, err = capsys.readouterr()
    # A command is to be pasted, folded it could not be.
    lines = [line for line in (out + err).splitlines() if not line.lstrip().startswith("finetooth ")]
    assert [line for line in lines if cells(line) > width] == []
    assert len(lines) > 40
    assert (" │ " in out) is (len(names) == 2 and width >= 80)


def test_an_answer_and_its_end(speakers: dict[str, Speaker], capsys: pytest.CaptureFixture[str]) -> None:
    session(speakers["stops"]).run(iter(["こんにちは。"]))
    expected = f"{WORDS}⟨</s>⟩\n─ stopped at ⟨</s>⟩ (2), a stop id of generation_config.json\n\n"
    assert capsys.readouterr().out == expected


def test_the_letters_and_the_token_look_different(
    speakers: dict[str, Speaker], capsys: pytest.CaptureFixture[str]
) -> None:
    session(speakers["stops"], color=True).run(iter(["こんにちは。"]))
    token = capsys.readouterr().out
    session(speakers["leaks"], color=True).run(iter(["こんにちは。"]))
    letters = capsys.readouterr().out
    (token_style,) = re.findall(r"(\x1b\[[0-9;]*m)⟨</s>⟩\x1b\[0m", token.splitlines()[0])
    found = re.findall(r"(\x1b\[[0-9;]*m)</s>\x1b\[0m", letters)
    assert found
    assert set(found) != {token_style}
    assert "</s>" in SGR.sub("", letters)


def test_why_shows_the_ids_that_the_model_was_given(
    speakers: dict[str, Speaker], capsys: pytest.CaptureFixture[str]
) -> None:
    talk = session(speakers["leaks"], system="短く。")
    talk.run(iter(["こんにちは。", "/why all"]))
    out = capsys.readouterr().out
    turn = talk.conversations[0].turns[0]
    shown = [int(one) for one in re.findall(r"(\d+) (?=['⟨])", out.partition("prompt:")[2].partition("end\n")[0])]
    assert shown == [*turn.prompt.ids, *turn.ids]
    assert "prompt: " in out
    assert "(greedy)" in out
    assert "(ids 999 308 267)" in " ".join(out.split())


def test_a_part_of_the_ids_holds_the_leak_and_the_end(
    speakers: dict[str, Speaker], capsys: pytest.CaptureFixture[str]
) -> None:
    talk = session(speakers["leaks"])
    talk.run(iter(["こんにちは。" * 9, "/why"]))
    out = capsys.readouterr().out
    turn = talk.conversations[0].turns[0]
    after = out.partition("answer:")[2]
    assert "… " in out.partition("prompt:")[2].partition("answer:")[0]
    assert re.search(r"999 '</'\s+308 's'\s+267 '>'", after)
    assert str(turn.ids[-1]) in after


def test_commands(speakers: dict[str, Speaker], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    talk = session(speakers["stops"])
    (conversation,) = talk.conversations

    def told(line: str) -> str:
        talk.take(line)
        out, err = capsys.readouterr()
        return out + err

    assert "nothing has been asked yet" in told("/why")
    assert told("") == told("   ") == ""
    assert "stopped" in told("//why")
    assert conversation.turns[0].question == "/why"
    assert "did you mean `/why`?" in told("/whi")
    assert "/why takes no `x`" in told("/why x")
    assert "There is no system message." in told("/system")
    assert "begins anew" in told("/system 短く。")
    assert (conversation.system, conversation.turns) == ("短く。", [])
    assert told("/system") == "  短く。\n\n"
    told('/system ""')
    assert conversation.system is None
    told("はい")
    assert "begins anew" in told("/reset")
    assert conversation.turns == []
    assert "help: /reset" in told("/reset now")
    assert "no persona" in told("/facts x")
    told("はい")
    path = tmp_path / "chat.jsonl"
    assert "written: " in (said := told(f"/save {path}")) and "user turns: 1" in said.replace("\n", " ")
    assert f"/save! {path}" in told(f"/save {path}").replace("\n", "")
    assert "written" in told(f"/save! {path}")
    assert "help: " in told(f"/save {tmp_path}/none/chat.jsonl")
    assert all(command in told("/help") for command in COMMANDS)
    assert talk.take("/quit") is False


def test_a_message_goes_on_after_a_backslash(speakers: dict[str, Speaker]) -> None:
    talk = session(speakers["stops"])
    talk.run(iter(["一行目\\", "二行目", "/quit", "はい"]))
    assert [turn.question for turn in talk.conversations[0].turns] == ["一行目\n二行目"]


@pytest.mark.parametrize("hostile", ["\x1b[2J\x1b]0;owned\x07", "\u202eabc", "\x9b31m"])
def test_nothing_that_is_shown_moves_the_cursor(
    hostile: str, speakers: dict[str, Speaker], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    talk = session(speakers["stops"], system=f"短く{hostile}")
    lines = [f"はい{hostile}", "/why all", "/system", f"/{hostile}", f"/why {hostile}", f"/save {tmp_path}/{hostile}x"]
    talk.run(iter([*lines, lines[-1], f"/save {tmp_path}/none{hostile}/x"]))
    out, err = capsys.readouterr()
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", out + err)
    assert len(list(tmp_path.iterdir())) == 1
