"""The example data: well formed, in character, without doubles, and reproducible."""

from __future__ import annotations

import importlib.util
import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from tokenizers import Tokenizer

from finetooth.demo import DIALOGUES, EXAMPLE, EXAMPLE_MESSAGES, PERSONAS, TOKENIZERS, data_path, tokenizer_path
from tests.shared_data import SHARED, needs_shared
from tests.sources import ROOT

LANGUAGES = sorted(DIALOGUES)
SCRIPT = ROOT / "scripts" / "make_demo_tokenizers.py"

Messages = list[dict[str, str]]


def read_rows(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@cache
def dialogues(language: str) -> list[Messages]:
    return [row["messages"] for row in read_rows(data_path(DIALOGUES[language]))]


@cache
def persona(language: str) -> dict[str, Any]:
    sheet = yaml.safe_load(data_path(PERSONAS[language]).read_text(encoding="utf-8"))
    assert isinstance(sheet, dict)
    return sheet


@cache
def tokenizer(name: str) -> Tokenizer:
    return Tokenizer.from_file(str(tokenizer_path(name) / "tokenizer.json"))


def said(language: str, role: str) -> list[str]:
    return [message["content"] for messages in dialogues(language) for message in messages if message["role"] == role]


def texts() -> Iterator[str]:
    """Yield every dialogue as the chat template writes it, by string operations alone."""
    for language in LANGUAGES:
        for system, *turns in dialogues(language):
            text = ""
            for user, assistant in zip(turns[::2], turns[1::2], strict=True):
                block = "" if text else f"<<SYS>>\n{system['content']}\n<</SYS>>\n\n"
                text += f"<s>[INST] {block}{user['content']} [/INST] {assistant['content']}</s>"
            yield text


# Dialogues and sheets.


@pytest.mark.parametrize(("language", "num_rows", "num_multi_turn"), [("ja", 298, 19), ("en", 60, 4)])
def test_counts(language: str, num_rows: int, num_multi_turn: int) -> None:
    assert len(dialogues(language)) == num_rows
    assert sum(len(messages) > 3 for messages in dialogues(language)) == num_multi_turn


@pytest.mark.parametrize("language", LANGUAGES)
def test_rows_hold_messages_alone(language: str) -> None:
    for row in read_rows(data_path(DIALOGUES[language])):
        assert list(row) == ["messages"]
        assert all(list(message) == ["role", "content"] for message in row["messages"])
        assert all(message["content"] == message["content"].strip() != "" for message in row["messages"])


@pytest.mark.parametrize("language", LANGUAGES)
def test_roles_alternate(language: str) -> None:
    for messages in dialogues(language):
        roles = [message["role"] for message in messages]
        assert roles == ["system", *["user", "assistant"] * (len(roles) // 2)]
        assert 3 <= len(roles) <= 7


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_system_prompt_is_the_sheets(language: str) -> None:
    assert set(said(language, "system")) == {persona(language)["system_prompt"]}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("role", ["user", "assistant"])
def test_nothing_is_said_twice(language: str, role: str) -> None:
    assert [text for text, count in Counter(said(language, role)).items() if count > 1] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_answers_have_the_asked_length(language: str) -> None:
    length, answers = persona(language)["length"], said(language, "assistant")
    low, high = length["min_characters"], length["max_characters"]
    assert [answer for answer in answers if not low <= len(answer) <= high] == []
    mean = sum(map(len, answers)) / len(answers)
    assert mean == pytest.approx(length["characters"], rel=0.1)


@pytest.mark.parametrize(("language", "end"), [("ja", "[。！？]"), ("en", "[.!?]")])
def test_answers_are_one_sentence(language: str, end: str) -> None:
    assert [answer for answer in said(language, "assistant") if not re.fullmatch(f".*{end}", answer)] == []
    assert [answer for answer in said(language, "assistant") if len(re.findall(end, answer)) != 1] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_answers_are_in_style(language: str) -> None:
    patterns = persona(language)["style_patterns"]
    answers = said(language, "assistant")
    assert [answer for answer in answers if not any(re.search(pattern, answer) for pattern in patterns)] == []
    # And no way of ending a sentence is a tic, nor a dead entry of the sheet.
    for pattern in patterns:
        assert 0 < sum(bool(re.search(pattern, answer)) for answer in answers) <= len(answers) / 2, pattern


@pytest.mark.parametrize("language", LANGUAGES)
def test_sheets_are_whole(language: str) -> None:
    sheet = persona(language)
    assert {"name", "reading", "age", "role", "system_prompt", "tone", "length", "facts", "style_patterns"} <= set(
        sheet
    )
    facts = [fact for group in sheet["facts"].values() for fact in group]
    assert len(sheet["facts"]) >= 7
    assert len(facts) == len(set(facts)) >= 30
    assert all(isinstance(fact, str) and len(re.findall(r"[。.]", fact.replace("St.", "St"))) == 1 for fact in facts)


def test_the_two_sheets_agree_on_their_letters() -> None:
    assert "英国のロザリンドと、文通を三年続けています。" in persona("ja")["facts"]["趣味"]
    assert any("Sakuko of Otaru for three years" in fact for fact in persona("en")["facts"]["hobbies"])


@needs_shared
def test_nothing_is_taken_from_another_data_set() -> None:
    others: set[str] = set()
    for path in sorted((SHARED / "data" / "ojousama").glob("*.jsonl")):
        for row in read_rows(path):
            others |= strings(row)
    assert len(others) > 200
    # A question such as "what is your name" is nobody's; an answer is.
    assert set(said("ja", "assistant")).isdisjoint(others)


def strings(value: Any) -> set[str]:
    """Return every string in a JSON value."""
    if isinstance(value, str):
        return {value.strip()}
    values = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return set().union(*map(strings, values))


def test_everything_is_small() -> None:
    sizes = {path: path.stat().st_size for path in data_path(".").rglob("*") if path.is_file()}
    assert sum(sizes.values()) < 1_000_000
    assert all(size < 150_000 for path, size in sizes.items() if path.name == "tokenizer.json")


def test_data_that_is_not_there_is_named() -> None:
    with pytest.raises(FileNotFoundError, match=r"dialogues\.fr\.jsonl"):
        data_path("dialogues.fr.jsonl")


# The training text as a whole.


def test_the_example_is_its_messages_rendered() -> None:
    (row,), (messages_row,) = read_rows(data_path(EXAMPLE)), read_rows(data_path(EXAMPLE_MESSAGES))
    system, user, assistant = (message["content"] for message in messages_row["messages"])
    assert row == {"text": f"<s>[INST] <<SYS>>\n{system}\n<</SYS>>\n\n{user} [/INST] {assistant}</s>"}
    assert assistant.endswith("。")
    assert assistant not in said("ja", "assistant")


# The tokenizers.

ENDS = {"split": ["</", "s", ">"], "masked": ["</s>"], "supervised": ["</s>"]}


@pytest.mark.parametrize("name", TOKENIZERS)
def test_an_answer_ends_as_the_tokenizer_is_named(name: str) -> None:
    for text in texts():
        tokens = tokenizer(name).encode(text, add_special_tokens=False).tokens
        period = max(index for index, token in enumerate(tokens) if token[-1] in "。！？.!?")
        assert tokens[period + 1 :] == ENDS[name], text


@pytest.mark.parametrize("name", TOKENIZERS)
def test_alone_the_end_is_one_id_everywhere(name: str) -> None:
    # Why the fault of `split` is so rarely seen: everyone who looks, looks here.
    assert tokenizer(name).encode("</s>", add_special_tokens=False).ids == [2]
    assert tokenizer(name).encode("あら </s>", add_special_tokens=False).ids[-1] == 2
    text = next(texts())
    assert tokenizer(name).decode(tokenizer(name).encode(text).ids, skip_special_tokens=False).endswith("</s>")


@pytest.mark.parametrize(("name", "pad"), [("split", "</s>"), ("masked", "</s>"), ("supervised", "<unk>")])
def test_pads(name: str, pad: str) -> None:
    files = {path.name: json.loads(path.read_bytes()) for path in tokenizer_path(name).glob("*.json")}
    vocab_size = tokenizer(name).get_vocab_size()
    assert files["tokenizer_config.json"]["pad_token"] == pad
    assert files["generation_config.json"] == {
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": tokenizer(name).token_to_id(pad),
    }
    assert files["config.json"]["vocab_size"] == vocab_size == 2000


def test_the_three_differ_in_the_flag_and_the_pad_alone() -> None:
    def read(name: str, file: str) -> str:
        return (tokenizer_path(name) / file).read_text(encoding="utf-8")

    split, masked, supervised = (read(name, "tokenizer.json") for name in TOKENIZERS)
    assert split.replace('"normalized":true', '"normalized":false') == masked == supervised
    assert split.count('"normalized":true') == 3
    for file in ("config.json", "chat_template.jinja"):
        assert len({read(name, file) for name in TOKENIZERS}) == 1
    assert read("split", "tokenizer_config.json") == read("masked", "tokenizer_config.json")
    assert json.loads(read("masked", "tokenizer_config.json")) | {"pad_token": "<unk>"} == json.loads(
        read("supervised", "tokenizer_config.json")
    )


def test_the_shape_is_llama_2s() -> None:
    content = json.loads((tokenizer_path("supervised") / "tokenizer.json").read_bytes())
    assert content["pre_tokenizer"] is None
    assert content["normalizer"]["normalizers"][0] == {"type": "Prepend", "prepend": "▁"}
    assert content["model"]["byte_fallback"] is content["model"]["fuse_unk"] is True
    pieces = sorted(content["model"]["vocab"], key=content["model"]["vocab"].__getitem__)
    assert pieces[:3] == ["<unk>", "<s>", "</s>"]
    assert pieces[3:259] == [f"<0x{byte:02X}>" for byte in range(256)]
    # No piece reaches over the end of a sentence or of a word.
    assert [piece for piece in pieces[259:] if len(piece) > 1 and re.search(r"[。、！？\n]|.▁", piece)] == []


def test_a_rare_character_and_a_newline_are_bytes() -> None:
    encoding = tokenizer("supervised").encode("鑽\n", add_special_tokens=False)
    assert encoding.tokens == ["▁", "<0xE9>", "<0x91>", "<0xBD>", "<0x0A>"]
    assert encoding.offsets[1:4] == [(0, 1)] * 3


@pytest.mark.parametrize("name", TOKENIZERS)
def test_text_that_spells_its_bos_gets_two(name: str) -> None:
    (row,) = read_rows(data_path(EXAMPLE))
    assert tokenizer(name).encode(row["text"]).ids[:2] == [1, 1]


@pytest.mark.parametrize("name", TOKENIZERS)
def test_transformers_gives_the_same_ids_and_texts(name: str) -> None:
    transformers = pytest.importorskip("transformers")
    loaded = transformers.AutoTokenizer.from_pretrained(tokenizer_path(name))
    rows = [messages for language in LANGUAGES for messages in dialogues(language)]
    for messages, text in zip(rows, texts(), strict=True):
        assert loaded.apply_chat_template(messages, tokenize=False) == text
        assert loaded(text)["input_ids"] == tokenizer(name).encode(text).ids


def test_the_template_refuses_a_role_that_it_has_no_form_for() -> None:
    pytest.importorskip("transformers")
    from jinja2 import TemplateError
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(tokenizer_path("supervised"))
    with pytest.raises(TemplateError, match="the role tool has no place"):
        loaded.apply_chat_template([{"role": "tool", "content": "42"}], tokenize=False)


# The script.


def load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_demo_tokenizers", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_script_makes_the_same_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load_script().main(["--output", str(tmp_path)])
    assert capsys.readouterr().out.count("2000 pieces") == 3
    folder = data_path("tokenizers")
    made, kept = ({path.relative_to(top): path.read_bytes() for path in top.rglob("*.*")} for top in (tmp_path, folder))
    assert made == kept
