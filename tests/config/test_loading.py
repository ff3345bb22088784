from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import yaml

from finetooth.config import Config, ConfigErrors, Flag, Resolved, flatten, keys, load_config, nest
from finetooth.documents import pdf
from finetooth.errors import ConfigError

Load = Callable[..., Resolved]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load in an empty folder with an empty environment, or with the file and the variables given."""

    def load(
        text: str | None = None,
        *sets: str,
        flags: Mapping[str, object] | None = None,
        environ: Mapping[str, str] | None = None,
        name: str = "finetooth.yaml",
    ) -> Resolved:
        (tmp_path / ".git").mkdir(exist_ok=True)
        if text is not None:
            (tmp_path / name).write_text(text, encoding="utf-8")
        return load_config(flags, sets, None, environ or {}, tmp_path)

    return load


def refusal(load: Load, *arguments: str, **more: object) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(*arguments, **more)
    errors = caught.value.errors if isinstance(caught.value, ConfigErrors) else (caught.value,)
    return [str(error) for error in errors]


def test_nothing_given_is_the_defaults(load: Load) -> None:
    resolved = load()
    assert resolved.config == Config()
    assert set(resolved.origins.values()) == {"default"}
    assert resolved.file is None


def test_origins_and_their_order(load: Load) -> None:
    text = "labels:\n  way: trl\n  train_on: last\n  max_length: 1\n\n  truncation_mode: keep_end\n"
    environ = {"FINETOOTH_LABELS_TRAIN_ON": "all", "FINETOOTH_LABELS_MAX_LENGTH": "2", "FINETOOTH_DATA_SPLIT": "dev"}
    flags = {"labels.max_length": Flag("--max-length", "3"), "data.split": "test", "data.name": Flag("--name", "x")}
    resolved = load(text, "data.name=y", flags=flags, environ=environ)
    labels, data = resolved.config.labels, resolved.config.data
    assert (labels.way, resolved.origins["labels.way"]) == ("trl", "finetooth.yaml:2")
    assert (labels.truncation_mode, resolved.origins["labels.truncation_mode"]) == ("keep_end", "finetooth.yaml:6")
    assert (labels.train_on, resolved.origins["labels.train_on"]) == ("all", "FINETOOTH_LABELS_TRAIN_ON")
    assert (labels.max_length, resolved.origins["labels.max_length"]) == (3, "--max-length")
    assert (data.split, resolved.origins["data.split"]) == ("test", "argument")
    assert (data.name, resolved.origins["data.name"]) == ("y", "--set")
    assert resolved.origins["output.color"] == "default"


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("max_length: none", "none"),
        ("max_length: 2048", 2048),
        ('max_length: "2048"', 2048),
        ("response_template_ids: [1, 2]", (1, 2)),
        ("response_template_ids: []", ()),
        ("response_template: null", None),
        ("response_template: '### Answer:'", "### Answer:"),
        ("completion_only_loss: yes", True),
        ("completion_only_loss: ~", None),
        ("assistant_only_loss: true", True),
    ],
)
def test_values_of_a_file(load: Load, line: str, value: object) -> None:
    name = line.partition(":")[0]
    assert flatten(load(f"labels:\n  {line}\n").config)[f"labels.{name}"] == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("max_length=2048", 2048),
        ("max_length=none", "none"),
        ("response_template_ids=1,2", (1, 2)),
        ("response_template_ids=[1, 2]", (1, 2)),
        ("response_template_ids=null", None),
        ("response_template=a=b", "a=b"),
        ("response_template=no", "no"),
        ("completion_only_loss=no", False),
        ("completion_only_loss=null", None),
        ("assistant_only_loss=1", True),
    ],
)
def test_values_of_set(load: Load, text: str, value: object) -> None:
    name = text.partition("=")[0]
    assert flatten(load(None, f"labels.{text}").config)[f"labels.{name}"] == value


def test_dotted_keys_may_stand_in_a_file(load: Load) -> None:
    resolved = load("labels.way: trl\n")
    assert (resolved.config.labels.way, resolved.origins["labels.way"]) == ("trl", "finetooth.yaml:1")


@pytest.mark.parametrize("text", ["", "# nothing\n", "labels:\n", "---\n", "null\n"])
def test_a_file_that_says_nothing(load: Load, text: str) -> None:
    assert load(text).config == Config()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            "labels:\n  trian_on: last\n",
            "unknown key `labels.trian_on`\n --> finetooth.yaml:2\nhelp: did you mean `labels.train_on`?",
        ),
        (
            "lables:\n  way: trl\n",
            "unknown key `lables`\n --> finetooth.yaml:1\nhelp: did you mean `labels`?",
        ),
        (
            "labels:\n  way: trll\n",
            "`labels.way` cannot be `trll`\n --> finetooth.yaml:2\nhelp: did you mean `trl`?",
        ),
        (
            "labels:\n  max_length: yes\n",
            "`labels.max_length` cannot be `true`\n --> finetooth.yaml:2\n"
            "help: YAML reads yes, no, on and off as booleans: put the word in quotes",
        ),
        (
            "data:\n  text_field: no\n",
            "`data.text_field` cannot be `false`\n --> finetooth.yaml:2\n"
            "help: YAML reads yes, no, on and off as booleans: put the word in quotes",
        ),
        (
            "data:\n  revision: 1234567\n",
            '`data.revision` cannot be `1234567`\n --> finetooth.yaml:2\nhelp: put it in quotes: "1234567"',
        ),
        (
            "qqqq: 1\n",
            "unknown key `qqqq`\n --> finetooth.yaml:1\nhelp: `finetooth config` lists the keys",
        ),
        (
            "labels:\n  max_length: 1.5\n",
            "`labels.max_length` cannot be `1.5`\n --> finetooth.yaml:2\nhelp: it takes INTEGER | none | default",
        ),
        (
            "labels:\n  way: trl\n  way: finetooth\n",
            "key `labels.way` is given twice, first at finetooth.yaml:2\n --> finetooth.yaml:3",
        ),
        (
            "labels: trl\n",
            "`labels` is a section and cannot be `trl`\n --> finetooth.yaml:1\nhelp: `finetooth config` lists the keys",
        ),
        ("- a\n", "the file does not hold keys and values\n --> finetooth.yaml:1"),
        ("a: [\n", "not valid YAML: expected the node content, but found '<stream end>'\n --> finetooth.yaml:2"),
        (
            "data:\n  split: !!python/object/apply:os.getcwd []\n",
            "not valid YAML: could not determine a constructor for the tag 'tag:yaml.org,2002:python/object/apply:"
            "os.getcwd'\n --> finetooth.yaml:2",
        ),
    ],
)
def test_what_a_file_is_refused_for(load: Load, text: str, error: str) -> None:
    assert refusal(load, text) == [error]


def test_a_mapping_that_holds_itself_is_refused(load: Load) -> None:
    (error,) = refusal(load, "labels: &a\n  way: *a\n")
    assert "unconstructable recursive node" in error


def test_all_errors_are_reported_at_once(load: Load) -> None:
    errors = refusal(
        load,
        "labels:\n  wey: trl\n  max_length: x\n",
        "labels.train_on=some",
        "data.splt=a",
        "nothing",
        environ={"FINETOOTH_LABELS_WAYS": "trl"},
    )
    assert [error.splitlines()[0] for error in errors] == [
        "unknown key `labels.wey`",
        "unknown variable `FINETOOTH_LABELS_WAYS`",
        "unknown key `data.splt`",
        "`--set nothing` is not of the form key=value",
        "`labels.train_on` cannot be `some`",
        "`labels.max_length` cannot be `x`",
    ]
    assert "did you mean `FINETOOTH_LABELS_WAY`?" in errors[1]


def test_a_value_that_is_overruled_is_not_judged(load: Load) -> None:
    assert load("labels:\n  max_length: x\n", "labels.max_length=1").config.labels.max_length == 1


@pytest.mark.parametrize(("value", "lang"), [("ja", "ja"), ("ja_JP.UTF-8", "ja"), ("en", "en"), ("EN-us", "en")])
def test_the_language_variable(load: Load, value: str, lang: str) -> None:
    resolved = load(environ={"FINETOOTH_LANG": value})
    assert (resolved.config.output.lang, resolved.origins["output.lang"]) == (lang, "FINETOOTH_LANG")


def test_a_language_that_is_not_spoken_is_an_error(load: Load) -> None:
    with pytest.raises(ConfigError) as caught:
        load(environ={"FINETOOTH_LANG": "fr_FR"})
    assert caught.value.what == "`output.lang` cannot be `fr_FR`"
    assert (caught.value.where, caught.value.help) == ("FINETOOTH_LANG", "it takes en | ja | null")


def test_an_empty_variable_is_none(load: Load) -> None:
    assert load(environ={"FINETOOTH_LABELS_WAY": "", "FINETOOTH_LANG": ""}).config == Config()


def test_the_variable_of_the_browser_sets_no_key(load: Load) -> None:
    assert load(environ={pdf.VARIABLE: "/opt/chrome"}).config == Config()
    with pytest.raises(ConfigError) as caught:
        load(environ={"FINETOOTH_CHROMIM": "/opt/chrome"})
    assert pdf.VARIABLE in (caught.value.help or "")


def test_pyproject(load: Load) -> None:
    text = '[project]\nname = "x"\n[tool.finetooth.labels]\nway = "trl"\n[tool.finetooth]\ndata.split = "dev"\n'
    resolved = load(text, name="pyproject.toml")
    assert resolved.config.labels.way == "trl"
    assert resolved.origins["labels.way"] == "pyproject.toml [tool.finetooth.labels]"
    assert resolved.config.data.split == "dev"


def test_an_unknown_key_of_pyproject(load: Load) -> None:
    (error,) = refusal(load, '[tool.finetooth.labels]\nwey = "trl"\n', name="pyproject.toml")
    assert error.splitlines()[1] == " --> pyproject.toml [tool.finetooth.labels]"


def test_a_broken_pyproject(load: Load) -> None:
    (error,) = refusal(load, "[tool.finetooth.labels]\nway = \n", name="pyproject.toml")
    assert error.startswith("not valid TOML: invalid value")


def test_a_pyproject_without_the_table_is_passed_over(load: Load) -> None:
    assert load('[project]\nname = "x"\n', name="pyproject.toml").file is None


def test_the_nearest_file_is_found(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "finetooth.yaml").write_text("labels:\n  way: trl\n")
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    resolved = load_config(environ={}, cwd=folder)
    assert resolved.file == tmp_path / "finetooth.yaml"
    assert resolved.origins["labels.way"] == "../../finetooth.yaml:2"


def test_no_file_is_looked_for_beyond_the_repository(tmp_path: Path) -> None:
    (tmp_path / "finetooth.yaml").write_text("labels:\n  way: trl\n")
    folder = tmp_path / "repository"
    (folder / ".git").mkdir(parents=True)
    assert load_config(environ={}, cwd=folder).file is None


def test_a_file_that_is_named(tmp_path: Path) -> None:
    path = tmp_path / "other.yaml"
    path.write_text("labels:\n  way: trl\n")
    (tmp_path / "finetooth.yaml").write_text("labels:\n  way: causal-lm\n")
    resolved = load_config(file=path, environ={}, cwd=tmp_path)
    assert (resolved.config.labels.way, resolved.origins["labels.way"]) == ("trl", "other.yaml:2")


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("none.yaml", None, "cannot read none.yaml: no such file or directory"),
        ("latin.yaml", b"data:\n  split: \xe9\n", "latin.yaml is not UTF-8"),
        ("pyproject.toml", b"[project]\n", "pyproject.toml has no table [tool.finetooth]"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, name: str, content: bytes | None, error: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_config(file=tmp_path / name, environ={}, cwd=tmp_path)
    assert caught.value.what == error


@pytest.mark.parametrize("separator", ["\n", "\r\n"])
def test_what_is_written_is_read_again(load: Load, separator: str) -> None:
    values = flatten(load(None, "labels.max_length=none", "labels.response_template_ids=1,2", "data.split=no").config)
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
    text = yaml.safe_dump(nest(plain)).replace("\n", separator)
    resolved = load(text)
    assert flatten(resolved.config) == values
    assert all(resolved.origins[name].startswith("finetooth.yaml:") for name in keys())
