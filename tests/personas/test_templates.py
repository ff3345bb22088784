from __future__ import annotations

from pathlib import Path

import pytest

from finetooth.config import ConfigErrors
from finetooth.errors import ConfigError
from finetooth.personas.prompt import PersonaPrompt
from finetooth.personas.reading import load_persona
from finetooth.personas.sheet import Length, Persona, PromptTemplates
from finetooth.personas.templates import MessageTemplate, length_asked, system_values
from tests.personas.personas import SHEET, demo_persona, llama2, sheet


def refused(folder: Path, which: str, template: str) -> str:
    indented = "\n".join(f"    {line}" for line in template.split("\n"))
    path = sheet(folder, f"{SHEET}prompt:\n  {which}: |\n{indented}\n")
    with pytest.raises(ConfigError) as caught:
        load_persona(path)
    assert not isinstance(caught.value, ConfigErrors)
    assert (caught.value.where or "").startswith(f"{path}:{SHEET.count(chr(10)) + 2}")
    return caught.value.what


@pytest.mark.parametrize(
    "template",
    [
        "Background:\n{{ facts }}\n\n{{ user }}",
        "[Background] {{ facts }}\n{{ user }}",
        "【参考情報】\n{{ facts }}\n\n{{ user }}",
        "({{ facts }})\n{{ user }}",
        "{{ user }}\n\n{% if facts %}{% endif %}# Facts\n{{ facts }}",
        "{{ user }}\nNotes: {{ facts }}",
        "Read this.\n\n{{ facts }}\n\n{{ user }}",
        "{{ facts }}\n\n{{ user }}",
        "{{ user }}\n{% if facts %}{{ facts }}{% endif %}",
    ],
)
def test_nothing_is_left_of_the_place_of_facts(tmp_path: Path, template: str) -> None:
    assert "where no fact is found" in refused(tmp_path, "user", template)


@pytest.mark.parametrize("template", ["{{ user }} ", "{% if facts %}{{ facts }}{% endif %}\t{{ user }}"])
def test_no_white_space_is_left_either(tmp_path: Path, template: str) -> None:
    assert "white space" in refused(tmp_path, "user", template)


@pytest.mark.parametrize(
    "template",
    [
        "{{ user }}",
        "{% if facts %}\n# Facts\n{{ facts }}\n\n{% endif %}\n{{ user }}",
        "Question: {{ user }}{% if facts %}\n\nFacts: {{ facts }}{% endif %}",
        "{% if facts %}({{ facts }}) {% endif %}Says to {{ name }}: {{ user }}",
    ],
)
def test_templates_that_leave_nothing(tmp_path: Path, template: str) -> None:
    indented = "\n".join(f"    {line}" for line in template.split("\n"))
    load_persona(sheet(tmp_path, f"{SHEET}prompt:\n  user: |\n{indented}\n"))


def test_facts_in_the_system_message_are_refused(tmp_path: Path) -> None:
    assert refused(tmp_path, "system", "{{ system }} {{ facts }}") == (
        "the template of the system message has the slot `facts`"
    )


@pytest.mark.parametrize(
    ("which", "template", "what"),
    [
        ("system", "{{ sytem }}", "no slot `sytem`"),
        ("system", "{{ system }}\n\nInformation:\n{{ examples }}", "left blank: `Information:`"),
        ("system", "{{ system }} {{ '{{name}}' }}", "left blank: `{{name}}`"),
        ("system", "{{ examples }}", "gives an empty one"),
        ("system", "{{ system }}\n\n{{ examples }}", "white space"),
        ("user", "{{ facts }}", "exactly once"),
        ("user", "{{ user }} {{ user }}", "exactly once"),
        ("user", "{{ user }} {{ rules }}", "no slot `rules`"),
        ("user", "{{ user }} {{ strftime_now('%H') }}", "no slot `strftime_now`"),
        ("user", "{{ user }", "not valid jinja"),
        ("user", "{{ user }}{{ raise_exception('no') }}", "no"),
    ],
)
def test_what_a_template_must_not_do(tmp_path: Path, which: str, template: str, what: str) -> None:
    assert what in refused(tmp_path, which, template)


def test_a_persona_made_in_python_is_held_to_the_same() -> None:
    persona = Persona(name="A", system_prompt="B", prompt=PromptTemplates(system="{{ facts }}"))
    with pytest.raises(ConfigError, match="slot `facts`"):
        PersonaPrompt(persona, llama2().tokenizer)


def test_the_default_system_messages() -> None:
    text = MessageTemplate(demo_persona("ja"), "system").render(system_values(demo_persona("ja")))
    assert "簡潔にお願いします。\n\n話し方の決まり:\n・一人称は" in text
    # The role text asks for the length itself.
    assert text.endswith("上品に断ります。")
    persona = Persona(
        name="A", system_prompt="You are A.", tone=("Be kind.",), length=Length(sentences=2, characters=90)
    )
    text = MessageTemplate(persona, "system").render(system_values(persona))
    assert text == "You are A.\n\nRules of speech:\n- Be kind.\n\nAnswer in 2 sentences of about 90 characters."
    assert MessageTemplate(Persona(name="A", system_prompt=" B\n"), "system").render({"system": "B"}) == "B"


@pytest.mark.parametrize(
    ("role", "asks"),
    [
        ("Answer in one short sentence.", True),
        ("Keep to about 75 characters.", True),
        ("応答は一文、三十文字程度で。", True),
        ("応答は２０字以内で。", True),
        ("She likes few words, and Japanese characters.", False),
        ("文字を書くのが好きです。", False),
    ],
)
def test_a_length_is_not_asked_twice(role: str, asks: bool) -> None:
    persona = Persona(name="A", system_prompt=role, length=Length(sentences=3))
    assert (system_values(persona)["length"] == "") is asks


@pytest.mark.parametrize(
    ("length", "english", "japanese"),
    [
        (Length(), "", ""),
        (Length(sentences=1), "Answer in 1 sentence.", "応答は1文にしてください。"),
        (
            Length(characters=30, max_characters=45, min_characters=20),
            "Answer in about 30 characters (20 to 45 characters).",
            "応答は30文字程度（20〜45文字）にしてください。",
        ),
        (Length(max_characters=40), "Answer in at most 40 characters.", "応答は40文字以内にしてください。"),
        (
            Length(sentences=2, min_characters=9),
            "Answer in 2 sentences (at least 9 characters).",
            "応答は2文（9文字以上）にしてください。",
        ),
    ],
)
def test_how_a_length_is_asked(length: Length, english: str, japanese: str) -> None:
    assert (length_asked(length, "en"), length_asked(length, "ja")) == (english, japanese)
