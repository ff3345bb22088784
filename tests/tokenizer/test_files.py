"""What the files beside a tokenizer say, and where a model is found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from finetooth.errors import TemplateError, TokenizerError
from finetooth.tokenizer import TokenizerFiles, locate
from tests.small_tokenizers import byte_bpe, save_model, write_json

# JSON -----------------------------------------------------------------------------------------------------------------


def test_a_file_that_is_absent_says_nothing(tmp_path: Path) -> None:
    files = TokenizerFiles(tmp_path)
    assert files.json("config.json") == {}
    assert files.tokenizer_config == files.model_config == files.generation_config == {}


@pytest.mark.parametrize(
    ("content", "place", "what"),
    [
        (b'{\n  "a": 1,\n  "b": oops\n}', ":3", "not valid JSON: Expecting value"),
        (b"", ":1", "not valid JSON"),
        (b'{"a": "\xff"}', "", "not valid JSON: 'utf-8' codec"),
        (b"[1, 2]", "", "a JSON list where an object is due"),
        (b"null", "", "a JSON NoneType where an object is due"),
    ],
)
def test_damaged_json_is_placed(tmp_path: Path, content: bytes, place: str, what: str) -> None:
    path = tmp_path / "tokenizer_config.json"
    path.write_bytes(content)
    with pytest.raises(TokenizerError) as caught:
        _ = TokenizerFiles(tmp_path).tokenizer_config
    assert what in caught.value.what
    assert caught.value.where == f"{path}{place}"


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    # A directory of that name stands for any OSError; whoever runs tests as root may read every file.
    (tmp_path / "config.json").mkdir()
    with pytest.raises(TokenizerError, match="cannot be read") as caught:
        _ = TokenizerFiles(tmp_path).model_config
    assert caught.value.where == str(tmp_path / "config.json")


@pytest.mark.parametrize(
    ("names", "vocabulary"),
    [
        ([], None),
        (["config.json", "tokenizer_config.json", "model.safetensors"], None),
        (["tokenizer.model", "tokenizer.json"], "tokenizer.json"),
        (["tokenizer.model"], "tokenizer.model"),
        (["spiece.model", "config.json"], "spiece.model"),
        (["vocab.json", "merges.txt"], "vocab.json"),
        (["vocab.txt"], "vocab.txt"),
        (["tekken.json"], "tekken.json"),
        (["qwen.tiktoken"], "qwen.tiktoken"),
    ],
    ids=str,
)
def test_the_file_that_holds_the_vocabulary(tmp_path: Path, names: list[str], vocabulary: str | None) -> None:
    for name in names:
        (tmp_path / name).touch()
    assert TokenizerFiles(tmp_path).vocabulary == vocabulary


# Where generation stops -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("generation", "config", "stops"),
    [
        (None, None, []),
        ({"eos_token_id": 2}, None, [("generation_config.json", [2])]),
        ({"eos_token_id": [2, 7]}, {"eos_token_id": 3}, [("generation_config.json", [2, 7]), ("config.json", [3])]),
        ({"eos_token_id": None}, {"eos_token_id": 3}, [("config.json", [3])]),
        ({"eos_token_id": []}, {"eos_token_id": 3}, [("config.json", [3])]),
        ({}, {"text_config": {"eos_token_id": [1, 106]}}, [("config.json", [1, 106])]),
        ({}, {"eos_token_id": 1, "text_config": {"eos_token_id": 106}}, [("config.json", [1])]),
        ({"eos_token_id": "</s>"}, {"eos_token_id": [1, "x"]}, [("config.json", [1])]),
    ],
    ids=str,
)
def test_stop_ids_by_file_the_one_that_wins_first(
    tmp_path: Path, generation: object, config: object, stops: list[tuple[str, list[int]]]
) -> None:
    for name, content in (("generation_config.json", generation), ("config.json", config)):
        if content is not None:
            write_json(tmp_path / name, content)
    assert list(TokenizerFiles(tmp_path).stop_ids.items()) == stops


# Chat templates -------------------------------------------------------------------------------------------------------


def test_chat_templates_in_files_win_over_the_configuration(tmp_path: Path) -> None:
    write_json(tmp_path / "tokenizer_config.json", {"chat_template": "old"})
    assert TokenizerFiles(tmp_path).chat_templates == {"default": "old"}
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates" / "rag.jinja").write_text("rag", encoding="utf-8")
    assert TokenizerFiles(tmp_path).chat_templates == {"rag": "rag"}
    (tmp_path / "chat_template.jinja").write_text("new", encoding="utf-8")
    assert TokenizerFiles(tmp_path).chat_templates == {"default": "new", "rag": "rag"}


def test_a_list_of_named_templates(tmp_path: Path) -> None:
    named = [{"name": "default", "template": "a"}, {"name": "tool_use", "template": "b"}, {"name": "broken"}, "x"]
    write_json(tmp_path / "tokenizer_config.json", {"chat_template": named})
    assert TokenizerFiles(tmp_path).chat_templates == {"default": "a", "tool_use": "b"}


def test_a_processor_s_template_serves_where_the_tokenizer_has_none(tmp_path: Path) -> None:
    write_json(tmp_path / "chat_template.json", {"chat_template": "vision"})
    assert TokenizerFiles(tmp_path).chat_templates == {"default": "vision"}
    write_json(tmp_path / "tokenizer_config.json", {"chat_template": "own"})
    assert TokenizerFiles(tmp_path).chat_templates == {"default": "own"}


def test_a_template_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_bytes(b"\xff\xfe")
    with pytest.raises(TemplateError):
        _ = TokenizerFiles(tmp_path).chat_templates


# Finding a model ------------------------------------------------------------------------------------------------------


def test_a_directory_or_its_tokenizer_json(tmp_path: Path) -> None:
    save_model(tmp_path, byte_bpe())
    assert locate(str(tmp_path)).directory == tmp_path
    assert locate(str(tmp_path / "tokenizer.json")).directory == tmp_path


def test_a_path_from_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    save_model(tmp_path / "model", byte_bpe())
    assert locate("~/model").directory == tmp_path / "model"


def test_another_file_of_a_model_names_its_directory(tmp_path: Path) -> None:
    path = write_json(tmp_path / "config.json", {})
    with pytest.raises(TokenizerError) as caught:
        locate(str(path))
    assert caught.value.where == str(path)
    assert caught.value.help == f"give the directory: `--model {tmp_path}`"


def test_a_directory_that_is_misspelt(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-100").mkdir()
    (tmp_path / "checkpoint-1OO.txt").touch()
    with pytest.raises(TokenizerError, match="no such directory") as caught:
        locate(str(tmp_path / "chekpoint-100"))
    assert caught.value.where == str(tmp_path / "chekpoint-100")
    assert caught.value.help == f"did you mean `{tmp_path / 'checkpoint-100'}`?"


@pytest.mark.parametrize("model", ["./nothing/here", "/nothing/here/at/all", "a/b/c", "../x", "~/no-such-thing"])
def test_a_path_is_not_looked_for_on_the_hub(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(TokenizerError, match="no such directory") as caught:
        locate(model)
    assert "tokenizer.json" in str(caught.value.help)


# The hub --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    cache = tmp_path / "cache"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    return cache


def test_a_hub_id_that_is_not_in_the_cache_offline(offline: Path) -> None:
    with pytest.raises(TokenizerError, match="the hub does not give such a model") as caught:
        locate("nobody/nothing")
    assert caught.value.where == "nobody/nothing"
    assert "\n" not in caught.value.what


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("model", ["two words", "-dash", "a..b", "модель"])
def test_what_can_be_neither_a_directory_nor_a_hub_id(model: str) -> None:
    with pytest.raises(TokenizerError, match="no such directory, and the hub does not give such a model") as caught:
        locate(model)
    assert caught.value.where == model


@pytest.mark.usefixtures("offline")
def test_a_misspelt_directory_here_is_named_where_the_hub_has_no_such_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my-model").mkdir()
    with pytest.raises(TokenizerError) as caught:
        locate("my-modl")
    assert caught.value.help == "did you mean `my-model`?"


def cached_model(cache: Path, *revisions: str) -> None:
    """Lay out a hub cache with one snapshot a revision, each with an EOS of its own."""
    repository = cache / "models--someone--small"
    for number, revision in enumerate(revisions):
        commit = f"{number:040x}"
        (repository / "refs").mkdir(parents=True, exist_ok=True)
        (repository / "refs" / revision).write_text(commit, encoding="utf-8")
        save_model(repository / "snapshots" / commit, byte_bpe(), eos_token="<|im_end|>" if number else "</s>")


def test_a_hub_id_is_found_in_the_cache_by_revision(offline: Path) -> None:
    cached_model(offline, "main", "v2")
    assert locate("someone/small").tokenizer_config["eos_token"] == "</s>"
    assert locate("someone/small", revision="v2").tokenizer_config["eos_token"] == "<|im_end|>"
    assert locate("someone/small", revision=f"{1:040x}").tokenizer_config["eos_token"] == "<|im_end|>"
    with pytest.raises(TokenizerError):
        locate("someone/small", revision="v3")


@pytest.mark.parametrize("variable", ["HF_HOME", "HF_HUB_CACHE"])
def test_the_cache_is_where_the_environment_says(tmp_path: Path, variable: str) -> None:
    cached_model(tmp_path / "hub", "main")
    script = (
        "import json\n"
        "from finetooth.tokenizer import load_tokenizer\n"
        "tokenizer = load_tokenizer('someone/small')\n"
        "(encoding,) = tokenizer.encode(['the cat</s>'], add_special_tokens=False)\n"
        "print(json.dumps([tokenizer.name, tokenizer.unchecked, encoding.ids]))\n"
    )
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGINGFACE_"))}
    environ |= {"HF_HUB_OFFLINE": "1", variable: str(tmp_path if variable == "HF_HOME" else tmp_path / "hub")}
    process = subprocess.run(
        [sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=True, encoding="utf-8"
    )
    assert json.loads(process.stdout) == ["someone/small", None, byte_bpe().encode("the cat</s>").ids]
