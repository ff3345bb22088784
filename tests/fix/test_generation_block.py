from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from finetooth.fix.edits import Edit, Left
from finetooth.fix.generation_block import repair_generation_blocks
from finetooth.fix.jinjasource import chunks
from finetooth.labels.trl import template_directory
from finetooth.template import ChatTemplate
from tests.fix.stages import bench_of, merge
from tests.small_tokenizers import byte_bpe, save_model

ROW = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "そう。"}]}
HEAD = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' }}"
TAIL = "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"

LINES = """{%- for m in messages %}
    {{- '<|im_start|>' + m['role'] + '\\n' }}
    {%- if m['role'] == 'assistant' %}
        {%- generation %}
        {{- m['content'] }}
        {%- endgeneration %}
        {{- '<|im_end|>\\n' }}
    {%- else %}
        {{- m['content'] + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""

SOURCES = {
    "in its own branch": HEAD
    + "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] }}{% endgeneration %}{{ '<|im_end|>\\n' }}"
    "{% else %}{{ m['content'] + '<|im_end|>\\n' }}{% endif %}" + TAIL,
    "a sum": HEAD
    + "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] }}{% endgeneration %}{{ '<|im_end|>' + '\\n' }}"
    "{% else %}{{ m['content'] + '<|im_end|>\\n' }}{% endif %}" + TAIL,
    "shared by all roles": HEAD
    + "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] }}{% endgeneration %}"
    "{% else %}{{ m['content'] }}{% endif %}{{ '<|im_end|>\\n' }}" + TAIL,
    "shared, without else": HEAD
    + "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] }}{% endgeneration %}"
    "{% elif m['role'] == 'user' %}{{ m['content'] }}{% endif %}{{ '<|im_end|>\\n' }}" + TAIL,
    "plain text": HEAD
    + "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] }}{% endgeneration %}<|im_end|>\n"
    "{% else %}{{ m['content'] }}<|im_end|>\n{% endif %}" + TAIL,
    "plain text shared": HEAD + "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] }}{% endgeneration %}"
    "{% else %}{{ m['content'] }}{% endif %}<|im_end|>\n" + TAIL,
    "lines": LINES,
    "lines shared": LINES.replace("        {{- '<|im_end|>\\n' }}\n", "")
    .replace(" + '<|im_end|>\\n' }}", " }}")
    .replace("    {%- endif %}\n{%- endfor", "    {%- endif %}\n    {{- '<|im_end|>\\n' }}\n{%- endfor"),
    "two blocks": HEAD
    + "{% if m['role'] == 'assistant' %}{% if loop.last %}{% generation %}{{ m['content'] }}{% endgeneration %}"
    "{{ '<|im_end|>\\n' }}{% else %}{% generation %}{{ m['content'] }}{% endgeneration %}{{ '<|im_end|>\\n' }}"
    "{% endif %}"
    "{% else %}{{ m['content'] + '<|im_end|>\\n' }}{% endif %}" + TAIL,
}


def model_of(folder: Path, source: str) -> Path:
    model = save_model(folder, byte_bpe(), eos_token="<|im_end|>")
    (model / "chat_template.jinja").write_text(source, encoding="utf-8", newline="")
    return model


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_blocks_end_after_the_terminator_and_the_text_stays(source: str, tmp_path: Path) -> None:
    bench = bench_of(model_of(tmp_path / "m", source), [ROW], tmp_path)
    messages = ROW["messages"] * 2
    before, blocks = ChatTemplate(source, name="x").render_with_generation(messages)
    assert [before[start:end] for start, end in blocks] == ["そう。", "そう。"]
    (edit,) = repair_generation_blocks(bench)
    assert isinstance(edit, Edit)
    changed = (bench.copy.directory / "chat_template.jinja").read_text(encoding="utf-8")
    after, blocks = ChatTemplate(changed, name="x").render_with_generation(messages)
    assert after == before
    assert {after[start:end].rstrip() for start, end in blocks} == {"そう。<|im_end|>"}
    assert list(repair_generation_blocks(bench)) == []


def test_the_smallest_change(tmp_path: Path) -> None:
    bench = bench_of(model_of(tmp_path / "m", LINES), [ROW], tmp_path)
    list(repair_generation_blocks(bench))
    (change,) = bench.copy.changes()
    tag, printed = "        {%- endgeneration %}\n", "        {{- '<|im_end|>\\n' }}\n"
    assert change.after == LINES.replace(tag + printed, printed + tag)


def test_a_terminator_of_the_next_message_stays(tmp_path: Path) -> None:
    source = (
        "{% for m in messages %}{% if not loop.first %}{{ '<|im_end|>\\n' }}{% endif %}"
        "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] }}{% endgeneration %}"
        "{% else %}{{ m['content'] }}{% endif %}{% endfor %}"
    )
    bench = bench_of(model_of(tmp_path / "m", source), [ROW], tmp_path)
    (left,) = repair_generation_blocks(bench)
    assert isinstance(left, Left)
    assert "{% endgeneration %}" in left.text
    assert bench.copy.changes() == []


def test_a_healthy_template_is_left_alone(tmp_path: Path) -> None:
    healthy = LINES.replace("        {%- endgeneration %}\n", "").replace(
        "    {%- else %}", "        {%- endgeneration %}\n    {%- else %}"
    )
    bench = bench_of(model_of(tmp_path / "m", healthy), [ROW], tmp_path)
    assert list(repair_generation_blocks(bench)) == []


@pytest.mark.parametrize("value", ["string", "list"])
def test_a_template_in_tokenizer_config(value: str, tmp_path: Path) -> None:
    model = save_model(tmp_path / "m", byte_bpe(), eos_token="<|im_end|>")
    source = SOURCES["in its own branch"]
    template: Any = source if value == "string" else [{"name": "default", "template": source}]
    merge(model / "tokenizer_config.json", {"chat_template": template})
    bench = bench_of(model, [ROW], tmp_path)
    (edit,) = repair_generation_blocks(bench)
    assert isinstance(edit, Edit)
    (change,) = bench.copy.changes()
    assert change.name == "tokenizer_config.json"
    assert {key: v for key, v in json.loads(change.after).items() if key != "chat_template"} == {
        key: v for key, v in json.loads(change.before).items() if key != "chat_template"
    }


def test_a_template_of_elsewhere_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "own.jinja"
    path.write_text(LINES)
    model = save_model(tmp_path / "m", byte_bpe(), eos_token="<|im_end|>")
    bench = bench_of(model, [ROW], tmp_path, template=str(path))
    (left,) = repair_generation_blocks(bench)
    assert isinstance(left, Left)
    assert str(path) in left.text
    assert path.read_text() == LINES


def test_a_conversation_of_the_data_that_would_render_otherwise(tmp_path: Path) -> None:
    # The terminator is left out after one word: no place of the tag is right for it, and the probes do not tell.
    source = SOURCES["in its own branch"].replace(
        "{{ '<|im_end|>\\n' }}{% else %}", "{% if m['content'] != 'x' %}{{ '<|im_end|>\\n' }}{% endif %}{% else %}"
    )
    bench = bench_of(model_of(tmp_path / "m", source), [ROW], tmp_path)
    list(repair_generation_blocks(bench))
    after = (bench.copy.directory / "chat_template.jinja").read_text()
    for content in ("x", "y"):
        messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": content}]
        assert ChatTemplate(after, name="a").render(messages) == ChatTemplate(source, name="b").render(messages)


def test_chunks_partition_every_template_that_trl_ships() -> None:
    folder = template_directory()
    assert folder is not None
    for path in sorted(folder.glob("*.jinja")):
        source = path.read_text(encoding="utf-8")
        assert "".join(source[chunk.start : chunk.end] for chunk in chunks(source)) == source


@pytest.mark.parametrize(
    ("source", "kinds"),
    [
        ("a{{ '}}' }}b", ["text", "expression", "text"]),
        ("{{ {'a': {}} }}", ["expression"]),
        ("{% if '%}' %}{% endif %}", ["tag", "tag"]),
        ("{# {{ #}x", ["comment", "text"]),
        ("{% raw %}{{ {% endraw %}x", ["tag", "text"]),
        ("{{ 'a\\'}}' }}", ["expression"]),
        ("{{ open", ["expression"]),
        ("", []),
    ],
)
def test_chunks(source: str, kinds: list[str]) -> None:
    found = chunks(source)
    assert [chunk.kind for chunk in found] == kinds
    assert "".join(source[chunk.start : chunk.end] for chunk in found) == source
