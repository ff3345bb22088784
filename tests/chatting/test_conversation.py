"""Conversations with models that stop, leak, run on, and write anything."""

from __future__ import annotations

import json
from pathlib import Path
from threading import Event
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from finetooth.chatting.answering import answer, stop_probabilities  # noqa: E402
from finetooth.chatting.conversation import Conversation  # noqa: E402
from finetooth.chatting.diagnosing import diagnose, ended  # noqa: E402
from finetooth.chatting.settings import Settings  # noqa: E402
from finetooth.chatting.speaker import Speaker, load_speaker  # noqa: E402
from finetooth.chatting.transcript import save, transcript  # noqa: E402
from finetooth.config import DataConfig, config_of  # noqa: E402
from finetooth.errors import ConfigError, DataError, FinetoothError  # noqa: E402
from finetooth.labels import encode_records  # noqa: E402
from finetooth.personas.prompt import PersonaPrompt  # noqa: E402
from finetooth.personas.reading import load_persona  # noqa: E402
from finetooth.probing.generating import generate  # noqa: E402
from finetooth.probing.judging import shown  # noqa: E402
from finetooth.records import read_records  # noqa: E402
from finetooth.types import IGNORE_INDEX  # noqa: E402
from tests.chatting.scripted import (  # noqa: E402
    WORDS,
    ids_of,
    save_leaking,
    save_running_on,
    save_scripted,
    save_stopping,
)
from tests.shared_data import SHARED, needs_shared  # noqa: E402
from tests.training.recipes import save_model  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save_stopping(folder / "stops")
    save_leaking(folder / "leaks")
    save_running_on(folder / "runs-on")
    save_model(folder / "babbles")
    return folder


def conversation(folder: Path, name: str, **more: Any) -> Conversation:
    settings = Settings(**{"max_new_tokens": 24, **more.pop("settings", {})})
    return Conversation(load_speaker(folder / name), settings=settings, **more)


def ask(conversation: Conversation, text: str = "こんにちは") -> str:
    return "".join(piece.text for piece in conversation.ask(text))


# How answers end ------------------------------------------------------------------------------------------------------


def test_an_answer_that_stops(folder: Path) -> None:
    talk = conversation(folder, "stops")
    assert ask(talk) == f"{WORDS}⟨</s>⟩"
    (turn,) = talk.turns
    assert (turn.end, turn.stop_file, turn.fault, turn.is_sound) == ("stop", "generation_config.json", None, True)
    assert (turn.text, turn.ids[-1], turn.seed) == (WORDS, 2, None)
    assert ended(turn) == "stopped at ⟨</s>⟩ (2), a stop id of generation_config.json"
    assert diagnose(turn) is None


def test_a_stop_id_of_config_json(folder: Path, tmp_path: Path) -> None:
    save_stopping(tmp_path / "m")
    (tmp_path / "m" / "generation_config.json").unlink()
    talk = conversation(tmp_path, "m")
    ask(talk)
    assert talk.turns[0].stop_file == "config.json"


def test_an_answer_that_leaks_its_terminator(folder: Path) -> None:
    talk = conversation(folder, "leaks")
    pieces = list(talk.ask("こんにちは"))
    assert next(piece.text for piece in pieces if piece.kind == "literal") == "</s>"
    (turn,) = talk.turns
    assert (turn.end, turn.fault, turn.answer.leaked) == ("limit", "leaked", "</s>")
    assert turn.text.startswith(f"{WORDS}</s>")
    diagnosis = diagnose(turn)
    assert diagnosis is not None
    assert "ids 999 308 267" in diagnosis.cause
    assert diagnosis.command == f"finetooth check DATA --model {folder / 'leaks'} --select LAB001"
    # What leaked is part of the next prompt, in the ids that the model wrote.
    ask(talk)
    assert "999 308 267" in " ".join(map(str, talk.turns[1].prompt.ids))


def test_an_answer_that_runs_on(folder: Path) -> None:
    talk = conversation(folder, "runs-on")
    assert "⟨" not in ask(talk)
    (turn,) = talk.turns
    assert (turn.end, turn.fault, len(turn.ids)) == ("limit", "repeats", 24)
    assert ended(turn) == "cut at the limit of 24 tokens: no stop id (2) came"
    diagnosis = diagnose(turn)
    assert diagnosis is not None
    assert "--select LAB001,LAB002,LAB003" in str(diagnosis.command)
    assert "the labels taught no end, as when" in diagnosis.cause


def test_the_command_names_the_template_that_was_asked_for(folder: Path) -> None:
    speaker = load_speaker(folder / "babbles", config=config_of({"tokenizer.template": "alpaca"}))
    talk = Conversation(speaker, settings=Settings(max_new_tokens=4))
    say_ids(talk, ids_of(WORDS)[:4])
    ask(talk)
    diagnosis = diagnose(talk.turns[0])
    assert diagnosis is not None
    assert f"--model {folder / 'babbles'} --template alpaca --select" in str(diagnosis.command)


def test_an_answer_that_is_only_cut_short(folder: Path) -> None:
    talk = conversation(folder, "stops", settings={"max_new_tokens": 3})
    ask(talk)
    (turn,) = talk.turns
    assert (turn.end, turn.fault) == ("limit", "runs-on")
    diagnosis = diagnose(turn)
    assert diagnosis is not None
    assert "either the answer is longer than 3 tokens" in diagnosis.cause


def test_a_stop_that_was_near(folder: Path) -> None:
    talk = conversation(folder, "babbles", settings={"max_new_tokens": 8})
    speaker = talk.speaker

    def lean(module: Any, args: Any, output: Any) -> Any:
        logits = torch.zeros_like(output)
        logits[..., 300], logits[..., 2] = 20.0, 19.0
        return logits

    speaker.model.lm_head.register_forward_hook(lean)
    ask(talk)
    assert talk.turns[0].fault == "runs-on"
    diagnosis = diagnose(talk.turns[0])
    assert diagnosis is not None
    assert "a stop was near: before token 0 its probability was 27%; the limit was 8 tokens" in diagnosis.cause
    assert diagnosis.command is None


def test_a_terminator_that_nothing_stops_at(tmp_path: Path) -> None:
    save_scripted(tmp_path / "m", [*ids_of(WORDS), 2, *ids_of("はい")[1:]], then=1, stop_ids=7)
    talk = conversation(tmp_path, "m")
    assert "⟨</s>⟩" in ask(talk)
    (turn,) = talk.turns
    assert (turn.fault, turn.answer.passed_over, turn.end) == ("passed-over", "</s>", "limit")
    assert f"{WORDS}</s>" in turn.text
    diagnosis = diagnose(turn)
    assert diagnosis is not None
    assert "(2)" in diagnosis.cause
    assert "RUN001" in str(diagnosis.command)
    ask(talk)
    assert 2 in talk.turns[1].prompt.ids[len(turn.prompt.ids) :]


def test_a_run_tells_what_its_check_had_found(folder: Path, tmp_path: Path) -> None:
    save_leaking(tmp_path / "run" / "model")
    found = {"code": "LAB001", "name": "split-eos", "count": 7, "cause": {"code": "TOK003"}}
    report = {"num_records": 9, "findings": [found, {"code": "LAB005", "count": 1}]}
    (tmp_path / "run" / "findings.json").write_text(json.dumps(report))
    recipe = "data: {train: [my data.jsonl]}\nlabels: {way: completion-collator, response_template: '[/INST]'}\n"
    (tmp_path / "run" / "recipe.yaml").write_text(recipe)
    talk = conversation(tmp_path, "run")
    ask(talk)
    diagnosis = diagnose(talk.turns[0])
    assert diagnosis is not None
    (line,) = diagnosis.found
    assert "LAB001 split-eos (TOK003), in 7 of 9 records" in line
    labels = "--labels completion-collator --response-template '[/INST]'"
    model = tmp_path / "run" / "model"
    expected = f"finetooth check 'my data.jsonl' --model {model} {labels} --select LAB001"
    assert diagnosis.command == expected


# What generates -------------------------------------------------------------------------------------------------------


def test_answers_are_those_of_a_probe(folder: Path) -> None:
    talk = conversation(folder, "babbles")
    text = ask(talk)
    (turn,) = talk.turns
    assert [list(turn.ids)] == generate(talk.speaker.model, [turn.prompt.ids], max_tokens=24)
    assert text == shown(turn.ids, talk.speaker.tokenizer)


def test_a_seed_makes_an_answer_again_and_leaves_other_random_numbers_alone(folder: Path) -> None:
    drawn = {"temperature": 2.0, "top_p": 0.95, "seed": 7}
    first, second = (conversation(folder, "babbles", settings=drawn) for _ in range(2))
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    ask(first)
    assert torch.equal(torch.rand(3), expected)
    ask(second)
    assert first.turns[0].ids == second.turns[0].ids
    assert first.turns[0].seed == 7
    ask(first)
    assert first.turns[1].seed == 8
    other = conversation(folder, "babbles", settings={**drawn, "seed": 8})
    ask(other)
    assert other.turns[0].ids != first.turns[0].ids


def test_an_unnamed_seed_is_told(folder: Path) -> None:
    talk = conversation(folder, "babbles", settings={"temperature": 1.5})
    ask(talk)
    seed = talk.turns[0].seed
    again = conversation(folder, "babbles", settings={"temperature": 1.5, "seed": seed})
    ask(again)
    assert again.turns[0].ids == talk.turns[0].ids


def test_probabilities_of_a_stop_are_those_before_each_id(folder: Path) -> None:
    talk = conversation(folder, "stops")
    ask(talk)
    chances = stop_probabilities(talk.speaker.model, talk.turns[0].prompt.ids, talk.turns[0].ids, frozenset({2}))
    assert len(chances) == len(talk.turns[0].ids)
    assert max(range(len(chances)), key=chances.__getitem__) == len(chances) - 1
    assert chances[-1] > 0.9 > 0.01 > max(chances[:-1])
    assert stop_probabilities(talk.speaker.model, [1], [], frozenset({2})) == []


def test_a_stream_that_is_left_ends_its_thread(folder: Path) -> None:
    speaker = load_speaker(folder / "runs-on")
    stop = Event()
    ids = answer(speaker.model, [1, 300], max_tokens=400, settings=Settings(), seed=0, stop=stop)
    next(ids)
    ids.close()  # type: ignore[attr-defined]
    assert stop.is_set()


def test_a_model_that_fails_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    talk = conversation(folder, "stops")

    def fail(*args: Any, **more: Any) -> None:
        raise RuntimeError("CUDA out of memory\nmore")

    monkeypatch.setattr(talk.speaker.model, "generate", fail)
    with pytest.raises(FinetoothError, match=r"the model failed: CUDA out of memory\n"):
        ask(talk)
    assert talk.turns == []


# History --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [None, "alpaca", "ja-instruct", "llama2", "mistral", "vicuna"])
def test_the_history_holds_the_ids_that_were_written(name: str | None, folder: Path) -> None:
    """An answer that was learned from the template comes back from it as the same ids."""
    config = config_of({"tokenizer.template": name} if name else {})
    speaker = load_speaker(folder / "babbles", config=config)
    tokenizer, template = speaker.tokenizer, speaker.template
    question = [{"role": "user", "content": "こんにちは"}]
    whole = template.render([*question, {"role": "assistant", "content": WORDS}])
    prompt = template.render(question, add_generation_prompt=True)
    learned = tokenizer.encode([whole], add_special_tokens=False)[0].ids
    begun = tokenizer.encode([prompt], add_special_tokens=False)[0].ids
    assert learned[: len(begun)] == begun, "the answer is not parted from the prompt"
    written = learned[len(begun) : learned.index(2, len(begun)) + 1]
    talk = Conversation(speaker)
    say_ids(talk, written)
    ask(talk)
    assert talk.turns[0].text == WORDS
    ask(talk, "それから？")
    prompt_ids = talk.turns[1].prompt.ids
    assert list(prompt_ids[: len(begun) + len(written)]) == [*begun, *written]


def say_ids(talk: Conversation, ids: list[int]) -> None:
    """Make a model write these ids, whatever it is asked."""
    state = {"told": 0}
    last = talk.speaker.model.lm_head

    def steer(module: Any, args: Any, output: Any) -> Any:
        logits = torch.zeros_like(output)
        logits[..., ids[state["told"] % len(ids)]] = 1.0
        state["told"] += 1
        return logits

    last.register_forward_hook(steer)


def test_spaces_of_the_models_own_are_kept(folder: Path) -> None:
    speaker = load_speaker(folder / "babbles", config=config_of({"tokenizer.template": "chatml"}))
    talk = Conversation(speaker)
    say_ids(talk, [*ids_of(f" {WORDS}"), 2])
    ask(talk)
    assert talk.turns[0].text.lstrip(" ") == WORDS
    assert talk.turns[0].text.startswith(" ")


def test_a_stream_that_is_closed_is_an_interrupted_answer(folder: Path) -> None:
    talk = conversation(folder, "runs-on", settings={"max_new_tokens": 400})
    pieces = talk.ask("こんにちは")
    first = next(pieces)
    pieces.close()  # type: ignore[attr-defined]
    (turn,) = talk.turns
    assert (turn.end, turn.fault, turn.is_sound) == ("interrupted", None, False)
    assert turn.text.startswith(first.text)
    assert diagnose(turn) is None


def test_an_interrupt_ends_an_answer(tmp_path: Path) -> None:
    # So long that no machine has finished it before it is interrupted.
    save_running_on(tmp_path / "runs-on", context=16_384)
    talk = conversation(tmp_path, "runs-on", settings={"max_new_tokens": 12_000})
    text = ""
    for piece in talk.ask("こんにちは"):
        text += piece.text
        talk.interrupt()
    (turn,) = talk.turns
    assert turn.end == "interrupted"
    assert 0 < len(turn.ids) < 12_000
    assert text == shown(turn.ids, talk.speaker.tokenizer)
    talk.settings = Settings(max_new_tokens=24)
    ask(talk)
    assert talk.turns[1].end == "limit", "an interrupt holds for one answer"


def test_the_oldest_turns_are_dropped_whole(tmp_path: Path) -> None:
    save_scripted(tmp_path / "m", [*ids_of(WORDS), 2], context=96)
    talk = conversation(tmp_path, "m", system="短く。")
    for _ in range(6):
        ask(talk)
        turn = talk.turns[-1]
        assert turn.end == "stop"
        assert len(turn.prompt.ids) + 24 <= 96
        assert turn.prompt.messages[0]["role"] == "system"
        assert len(turn.prompt.messages) == 2 + 2 * (len(talk.turns) - 1 - turn.num_dropped)
    dropped = [turn.num_dropped for turn in talk.turns]
    assert dropped[0] == 0
    assert dropped[-1] > 0
    assert dropped == sorted(dropped)
    with pytest.raises(DataError, match="nothing is left for an answer"):
        ask(talk, "長い" * 100)
    assert len(talk.turns) == 6


def test_an_answer_ends_with_the_context(tmp_path: Path) -> None:
    save_scripted(tmp_path / "m", ids_of(WORDS), context=40, then=1)
    talk = conversation(tmp_path, "m", settings={"max_new_tokens": 500})
    ask(talk)
    (turn,) = talk.turns
    assert turn.end == "context"
    assert len(turn.prompt.ids) + len(turn.ids) == 40
    assert "the context of 40 is full" in ended(turn)


# Where prompts come from ----------------------------------------------------------------------------------------------


def test_every_token_of_a_prompt_came_from_somewhere(folder: Path) -> None:
    talk = conversation(folder, "stops", system="あなたはお嬢様です。")
    ask(talk)
    ask(talk, "お元気ですか。")
    first, second = (turn.prompt for turn in talk.turns)
    assert set(first.origins) == {"template", "system", "question"}
    assert set(second.origins) == {"template", "system", "history", "question"}
    for prompt in (first, second):
        assert sum(prompt.origins.values()) == len(prompt.ids)
    assert first.origins["system"] == second.origins["system"] == len(ids_of("あなたはお嬢様です。")) - 1


def test_a_persona_writes_what_it_writes_in_training(folder: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "persona.yaml"
    facts = "facts: {猫: [朔子の猫の名前はミルです。], 家: [朔子は小樽の洋館に住んでいます。]}\n"
    sheet.write_text(f"name: 朔子\nsystem_prompt: あなたは朔子です。\n{facts}", encoding="utf-8")
    speaker = load_speaker(folder / "stops")
    prompt = PersonaPrompt(load_persona(sheet), speaker.tokenizer)
    talk = Conversation(speaker, persona=prompt)
    ask(talk, "猫の名前は何ですか。")
    (turn,) = talk.turns
    assert turn.prompt.messages == prompt.messages([{"role": "user", "content": "猫の名前は何ですか。"}]).messages
    assert [fact.text for fact in turn.prompt.facts] == ["朔子の猫の名前はミルです。"]
    assert turn.prompt.origins["facts"] > 0
    assert talk.system == prompt.system_message["content"]
    assert talk.facts("猫の名前は何ですか。") == turn.prompt.facts
    assert transcript(talk)["messages"][:2] == turn.prompt.messages
    with pytest.raises(ConfigError, match="the persona writes"):
        talk.begin("別の")
    with pytest.raises(ConfigError, match="cannot be given"):
        Conversation(speaker, system="x", persona=prompt)


# Files ----------------------------------------------------------------------------------------------------------------


def test_what_is_saved_is_data(folder: Path, tmp_path: Path) -> None:
    sound = conversation(folder, "stops", system="短く。")
    cut = conversation(folder, "runs-on")
    for talk in (sound, cut):
        ask(talk)
    path = tmp_path / "chat.jsonl"
    save([sound, cut], path)
    records = list(read_records([str(path)], DataConfig()))
    assert records[0].messages == [
        {"role": "system", "content": "短く。"},
        {"role": "user", "content": "こんにちは"},
        {"role": "assistant", "content": WORDS},
    ]
    learned = [
        [one for one in encoded.labels if one != IGNORE_INDEX]
        for encoded in encode_records(sound.speaker.setup, records)
    ]
    assert learned[0] == list(sound.turns[0].ids)
    assert learned[1] == [], "nothing is learned from an answer that did not end"
    with pytest.raises(DataError, match="exists already") as error:
        save([sound], path)
    assert error.value.help == f"/save! {path}"
    save([sound], path, force=True)
    assert len(path.read_text(encoding="utf-8").splitlines()) == 1
    sound.begin()
    with pytest.raises(DataError, match="nothing has been asked"):
        save([sound], tmp_path / "none.jsonl")
    assert not (tmp_path / "none.jsonl").exists()


# What is refused ------------------------------------------------------------------------------------------------------


def test_a_model_without_a_template(folder: Path, tmp_path: Path) -> None:
    save_stopping(tmp_path / "m")
    for name in ("chat_template.jinja",):
        (tmp_path / "m" / name).unlink()
    with pytest.raises(DataError, match="no chat template") as error:
        load_speaker(tmp_path / "m")
    assert error.value.help == "--template chatml"
    speaker = load_speaker(tmp_path / "m", config=config_of({"tokenizer.template": "chatml"}))
    assert isinstance(speaker, Speaker)
    # Where the tokenizer has no such token, what the template prints as an end is known all the same.
    assert "<|im_end|>" in speaker.terminators


@pytest.mark.parametrize("more", [{"top_p": 0.5}, {"seed": 1}])
def test_settings_without_effect_are_refused(more: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="has no effect"):
        Settings(**more)


@needs_shared
def test_a_real_model() -> None:
    talk = Conversation(load_speaker(SHARED / "data" / "stories260K"), settings=Settings(max_new_tokens=40))
    text = ask(talk, "Once upon a time")
    (turn,) = talk.turns
    assert text == shown(turn.ids, talk.speaker.tokenizer)
    assert [list(turn.ids)] == generate(talk.speaker.model, [turn.prompt.ids], max_tokens=40)
