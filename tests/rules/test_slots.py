"""Slots that nobody filled are told from code, JSON, mathematics, HTML and talk about templates."""

from __future__ import annotations

import pytest

from finetooth.rules.slots import blank_slots, unfilled_slots


@pytest.mark.parametrize(
    ("text", "slot"),
    [
        ("Hello {name}, welcome.", "{name}"),
        ("あなたは{キャラクター名}です。", "{キャラクター名}"),
        ("{{ user_name }}さん、こんにちは", "{{ user_name }}"),
        ("Dear ${customer},", "${customer}"),
        ("I am <your name>.", "<your name>"),
        ("Call <FIRST_NAME> now.", "<FIRST_NAME>"),
        ("<ここに質問を入力>", "<ここに質問を入力>"),
        ('The "facts" are: {facts}', "{facts}"),
    ],
)
def test_a_slot(text: str, slot: str) -> None:
    found = unfilled_slots(text, is_prompt=True)
    assert [text[one.start : one.end] for one in found] == [slot]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "a {x} b",
        "```\nprint({name})\n```",
        "~~~\n{name}\n~~~",
        "Use `{name}` here.",
        "print(f'{name} is here')",
        'logger.info(f"{name}")',
        '{"name": {"first": "Ann"}}',
        '"name": {first}',
        r"\frac{abc}{def}",
        "x_{max} and y^{min}",
        "const { name } = props;",
        "public class Ann { int age; }",
        "GET https://example.com/users/{user_id}",
        "console.log(`${name}`)",
        "Write a template with {name} in it.",
        "プレースホルダ{name}を置いてください。",
        "The tag <name>Ann</name> is fine.",
        "a < b and <b>bold</b> and <div class='x'>",
        "List<String> names; if (a<NAME && b>c)",
        "The set {1, 2, 3} and {apple, pear}.",
        "gitの {HEAD}@{upstream}",
    ],
)
def test_no_slot(text: str) -> None:
    assert unfilled_slots(text, is_prompt=True) == []


def test_answers_hold_angle_brackets_by_design() -> None:
    assert unfilled_slots("Set it to <YOUR_API_KEY>.", is_prompt=False) == []
    assert unfilled_slots("I am {{name}}.", is_prompt=False) != []


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Facts follow.\n\n\n\nHello", "blank-lines"),
        ("Facts follow.\n \n\t\n\u3000\nHello", "blank-lines"),
        ("Facts follow.\r\n\r\n\r\n\r\nHello", "blank-lines"),
        ("情報:\n質問: どこですか", "empty-heading"),
        ("お嬢様の情報：\n\n質問：どこですか", "empty-heading"),
        ("## Background\n\n## Question\nWhere?", "empty-heading"),
        ("**Context:**\n\n**Question:**\nWhere?", "empty-heading"),
    ],
)
def test_a_blank(text: str, kind: str) -> None:
    assert {one.kind for one in blank_slots(text, is_system=False)} == {kind}


@pytest.mark.parametrize(
    "text",
    [
        "One.\n\nTwo.\n\n\nThree.",
        "```\na\n\n\n\nb\n```",
        "\n\n\n\nHello\n\n\n\n",
        "情報:\n・猫が好き\n\n質問: 何が好きですか",
        "Text: Hello.\n\nContext:",
        "Profile:\nName: Ann\nAge: 12",
        "We talked about the context:\nit was long.",
        "## Background\nIt rained.\n\n## Question\nWhere?",
    ],
)
def test_no_blank(text: str) -> None:
    assert blank_slots(text, is_system=False) == []


def test_a_heading_at_the_end_of_a_system_prompt_is_blank_and_at_the_end_of_a_question_is_not() -> None:
    assert [one.kind for one in blank_slots("Be brief.\n\n# Facts", is_system=True)] == ["empty-heading"]
    assert blank_slots("Be brief.\n\n# Facts", is_system=False) == []
