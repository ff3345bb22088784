"""Compiled chat templates: what they are given, and what is found out about them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from finetooth.errors import TemplateError
from finetooth.template import ChatTemplate, part_text, read_template
from finetooth.template.chat import as_templates_see_it
from finetooth.types import Message
from tests.template.sources import CHATML, GLM, LLAMA2, PARTS, THINKING, TOOL, call, template_of, turns

SHOW = "{{ messages|tojson }}{{ tools|tojson }}{{ documents|tojson }}{{ add_generation_prompt }}{{ x is defined }}"


def test_a_template_sees_what_transformers_gives_it() -> None:
    template = ChatTemplate(SHOW, name="t")
    assert template.render(turns("a")) == '[{"role": "user", "content": "a"}]nullnullFalseFalse'
    text = template.render([], tools=[TOOL], add_generation_prompt=True, variables={"x": 1})
    assert text.startswith('[][{"type": "function", ')
    assert text.endswith("nullTrueTrue")


def test_no_tools_are_null() -> None:
    """As TRL hands them on; Llama prints a tool's heading for an empty list."""
    assert ChatTemplate("{{ tools is none }}", name="t").render([], tools=[]) == "True"


def test_documents_come_from_the_row() -> None:
    variables = {"documents": [{"title": "T", "text": "U"}]}
    assert ChatTemplate("{{ documents[0].title }}", name="t").render([], variables=variables) == "T"


def test_special_tokens_are_variables_that_the_row_may_overrule() -> None:
    template = ChatTemplate("{{ bos_token }}{{ eos_token }}", name="t", special_tokens={"bos_token": "<s>"})
    assert template.render([]) == "<s>"
    assert template.render([], variables={"bos_token": "<b>", "eos_token": "</s>"}) == "<b></s>"


def test_a_row_cannot_overrule_the_messages() -> None:
    template = ChatTemplate("{{ messages|length }}{{ add_generation_prompt }}", name="t")
    assert template.render(turns("a"), variables={"messages": [], "add_generation_prompt": True}) == "1False"


def test_the_source_and_the_name_are_kept() -> None:
    template = ChatTemplate(CHATML, name="chatml.jinja", special_tokens={"bos_token": "<s>"})
    assert (template.source, template.name, template.special_tokens) == (CHATML, "chatml.jinja", {"bos_token": "<s>"})


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": "a"},
        {"role": "user", "content": None},
        {"role": "user", "content": [{"type": "text", "text": "a"}]},
        {"role": "assistant", "content": None, "tool_calls": [call()]},
        {"role": "assistant", "content": "a", "tool_calls": None, "name": None},
        {"role": "assistant", "content": "a", "reasoning_content": "r"},
        {"role": "assistant", "content": "a", "thinking": "t"},
        {"role": "assistant", "content": "a", "reasoning": "s"},
        {"role": "assistant", "content": "a", "reasoning": "s", "thinking": "t"},
        {"role": "assistant", "content": "a", "reasoning_content": "r", "thinking": "t", "reasoning": "s"},
        {"role": "assistant", "content": "a", "reasoning_content": None, "thinking": "t"},
        {"role": "assistant", "content": "a", "reasoning_content": ""},
        {"role": "tool", "content": "", "tool_call_id": "x", "n": 0},
        {"content": "a"},
        {"role": "user"},
        {"role": "user", "name": "x"},
    ],
)
def test_messages_are_seen_as_transformers_shows_them(message: Message) -> None:
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models

    blank: Any = transformers.PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE(vocab={}, merges=[])))
    source = "{% for m in messages %}{{ m|tojson }}{% endfor %}"
    expected = blank.apply_chat_template([copy.deepcopy(message)], chat_template=source, tokenize=False)
    given = copy.deepcopy(message)
    assert ChatTemplate(source, name="t").render([given]) == expected
    assert given == message


def test_a_plain_message_is_not_copied() -> None:
    message = {"role": "user", "content": "a"}
    assert as_templates_see_it(message) is message


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{% generation %}{% endgeneration %}", True),
        ("{%- generation -%}{%- endgeneration -%}", True),
        ("{%generation%}{%endgeneration%}", True),
        ("{%   generation\n%}{% endgeneration %}", True),
        ("{{ 'generation' }}{% if add_generation_prompt %}{% endif %}", False),
        ("", False),
    ],
)
def test_generation_blocks_are_seen_in_the_source(source: str, expected: bool) -> None:
    assert ChatTemplate(source, name="t").has_generation_blocks is expected


EITHER = (
    "{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}"
    "{% for p in m.content %}{{ p.text }}{% endfor %}{% endif %}{% endfor %}"
)


@pytest.mark.parametrize(
    ("source", "form"),
    [
        (CHATML, "string"),
        (LLAMA2, "string"),
        (PARTS, "parts"),
        (EITHER, "string"),
        ("{% for m in messages %}{{ m.content[0].text }}{% endfor %}", "parts"),
        ("{{ raise_exception('never') }}", "string"),
        ("{% for m in messages %}{% for c in m.content %}{{ c }}.{% endfor %}{% endfor %}", "string"),
        (
            "{% for m in messages %}{{ raise_exception('') if m.content is string }}{{ m.content }}{% endfor %}",
            "string",
        ),
        ("", "string"),
    ],
)
def test_content_form(source: str, form: str) -> None:
    assert template_of(source).content_form == form


def test_messages_take_the_form_of_the_template() -> None:
    plain, parts = template_of(CHATML), template_of(PARTS)
    text, list_ = {"role": "user", "content": "ab"}, {"role": "user", "content": [{"type": "text", "text": "ab"}]}
    assert plain.in_content_form(text) is text
    assert plain.in_content_form(list_) == text
    assert parts.in_content_form(list_) is list_
    assert parts.in_content_form(text) == list_
    assert plain.message("user", "ab") == text
    assert parts.message("user", "ab") == list_


def test_parts_are_joined_where_a_template_takes_a_text() -> None:
    content = [{"type": "text", "text": "a "}, "b", {"type": "text", "value": "c"}]
    assert template_of(CHATML).in_content_form({"role": "user", "content": content})["content"] == "a bc"


@pytest.mark.parametrize("content", [None, 3, {"a": 1}])
def test_other_content_stays_as_it_is(content: Any) -> None:
    message = {"role": "user", "content": content}
    assert template_of(CHATML).in_content_form(message) is message
    assert template_of(PARTS).in_content_form(message) is message


def test_keys_of_a_message_stay() -> None:
    message = {"role": "user", "content": [{"type": "text", "text": "a"}], "name": "x"}
    assert template_of(CHATML).in_content_form(message) == {"role": "user", "content": "a", "name": "x"}


HEADERS = {
    "chatml": (CHATML, "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n", "<|im_end|>\n<|im_start|>user\n"),
    "glm": (GLM, "[gMASK]<sop><|user|>\n", "<|assistant|>\n", "<|user|>\n"),
    "llama2": (LLAMA2, "<s>[INST] ", " [/INST]", " </s><s>[INST] "),
    "parts": (PARTS, "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n", "<|im_end|>\n<|im_start|>user\n"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_headers(name: str) -> None:
    source, user, answer, next_user = HEADERS[name]
    template = template_of(source)
    assert template.user_header == user
    assert template.generation_prompt_header == answer
    assert template.next_user_header == next_user


def test_the_header_of_an_answer_in_training_is_another_than_at_inference() -> None:
    """Inference opens a thinking part that training texts may have closed, or may not have at all."""
    opens = CHATML.replace("assistant\\n' }}{% endif %}", "assistant\\n<think>\\n' }}{% endif %}")
    template = template_of(opens)
    assert template.generation_prompt_header == "<|im_end|>\n<|im_start|>assistant\n<think>\n"
    assert template.answer_header == "<|im_end|>\n<|im_start|>assistant\n"
    assert template_of(LLAMA2).answer_header == " [/INST] "
    assert template_of(THINKING).answer_header == "<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize("source", ["{{ raise_exception('never') }}", "nothing", "{{ messages[5].content.x }}"])
def test_headers_are_empty_where_they_are_unknown(source: str) -> None:
    template = template_of(source)
    headers = (
        template.user_header,
        template.generation_prompt_header,
        template.answer_header,
        template.next_user_header,
    )
    assert headers == ("", "", "", "")


@pytest.mark.parametrize(
    ("part", "text"),
    [("a", "a"), ({"type": "text", "text": "a"}, "a"), ({"text": ""}, ""), ({"value": "b"}, "b")],
)
def test_part_text(part: Any, text: str) -> None:
    assert part_text(part) == text


@pytest.mark.parametrize("part", [{"type": "image"}, {"text": None}, {"text": 3}, None, 3, [], {}])
def test_a_part_without_a_text_is_an_error_with_a_remedy(part: Any) -> None:
    with pytest.raises(TemplateError) as caught:
        part_text(part)
    assert caught.value.what == f"content part {part!r} holds no text"
    assert caught.value.help == 'write it as {"type": "text", "text": "..."}'


def test_a_template_is_read_as_utf8(tmp_path: Path) -> None:
    path = tmp_path / "t.jinja"
    path.write_bytes("{{ 'お嬢様' }}\n".encode())
    assert read_template(path) == "{{ 'お嬢様' }}\n"


def test_a_template_that_is_not_utf8_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "t.jinja"
    path.write_bytes(b"ab\xff")
    with pytest.raises(TemplateError) as caught:
        read_template(path)
    assert caught.value.what == "the template is not UTF-8 (byte 2)"
    assert (caught.value.where, caught.value.help) == (str(path), "save the file as UTF-8")


@pytest.mark.parametrize("name", ["missing.jinja", ""])
def test_a_template_that_cannot_be_read_is_an_error(name: str, tmp_path: Path) -> None:
    with pytest.raises(TemplateError) as caught:
        read_template(tmp_path / name)
    assert caught.value.what.startswith("the template cannot be read: ")
    assert caught.value.where == str(tmp_path / name)
