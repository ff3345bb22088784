"""A user's own Markdown: taken apart, and written again by every writer."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from finetooth.documents import Document, Prose, html, markdown, parse_prose, read_prose, text
from finetooth.documents.prose.reading import MAX_BYTES
from finetooth.documents.prose.tree import ProseCode, ProseHeading, ProseList, ProseTable, ProseText, Stretch
from finetooth.errors import DataError, MissingExtraError
from finetooth.view.visible import cells


def document(source: str) -> Document:
    return Document(title="t", tool="t", blocks=(parse_prose(source),))


def as_html(source: str) -> str:
    fragment = html.fragment(document(source))
    return fragment.partition('<div class="own">\n')[2].removesuffix("</div>\n</div></div>\n")


def as_markdown(source: str) -> str:
    return "".join(markdown.render(document(source))).removeprefix("# t\n\n")


def as_text(source: str, width: int = 60) -> str:
    return "".join(text.render(document(source), width=width, color=False))


def marks(source: str) -> list[tuple[str, list[str]]]:
    (piece,) = parse_prose(source).pieces
    assert isinstance(piece, ProseText)
    return [(one.text, sorted(one.marks)) for one in piece.inline]


def test_headings_go_below_their_section() -> None:
    def levels(source: str, level: int) -> list[int]:
        return [one.level for one in parse_prose(source, level=level).pieces if isinstance(one, ProseHeading)]

    assert levels("# a\n## b\n#### c", 2) == [3, 4, 6]
    assert levels("## a\n### b", 2) == [3, 4]
    assert levels("# a\n#### b\n##### c", 3) == [4, 6, 6]


def test_every_piece_in_every_format() -> None:
    source = "A **b** *c* `d` ~~e~~ [f](https://g.example/?a=1&b=2)\\\nnext\n\n3. x\n   - y\n4. z\n\n> q\n\n---\n\n"
    source += "```\n<p>\n\n1\n```\n"
    shown = as_html(source)
    assert "A <strong>b</strong> <em>c</em> <code>d</code> <s>e</s> " in shown
    assert '<a href="https://g.example/?a=1&amp;b=2" rel="noreferrer noopener">f</a><br>next' in shown
    assert '<ol start="3">\n<li>x<ul>\n<li>y</li>\n</ul>\n</li>\n<li>z</li>\n</ol>' in shown
    assert "<blockquote>\n<p>q</p>\n</blockquote>\n<hr>\n" in shown
    assert "<code>&lt;p&gt;\n\n1</code>" in shown
    written = as_markdown(source)
    assert "A <b>b</b> <em>c</em> <code>d</code> <s>e</s> [f](<https://g.example/?a=1&amp;b=2>)<br>next\n" in written
    assert "3. x\n   - y\n4. z\n" in written
    assert "> q\n\n---\n\n<pre>&lt;p&gt;\n \n1</pre>\n" in written
    assert as_text(source) == (
        "A b c `d` ~~e~~ f <https://g.example/?a=1&b=2>\nnext\n\n3. x\n   • y\n4. z\n\n│ q\n\n" + "─" * 60 + "\n\n"
        "  <p>\n\n  1\n"
    )


def test_what_is_written_is_read_as_the_same() -> None:
    """Markdown that is taken apart, written and taken apart again is what it was, but for marks that became HTML."""
    source = "# a\n\n- b\n\n  c\n\n  1. d\n  2. e\n- f\n\n| g | h |\n|---|--:|\n| i | j |\n\n> k\n>\n> - l\n"
    once = parse_prose(source)
    again = parse_prose(as_markdown(source))
    assert once == again
    assert [type(one) for one in once.pieces[:3]] == [ProseHeading, ProseList, ProseTable]


NOT_OF_THE_WEB = [
    "javascript:alert(1)", "data:text/html,x", "vbscript:x", "file:///etc/passwd", "//e.example", "a.html", "https:",
    "https:///x", "&#106;avascript:alert(1)", "java\tscript:x",
]  # fmt: skip


@pytest.mark.parametrize("address", NOT_OF_THE_WEB)
def test_only_addresses_of_the_web_are_links(address: str) -> None:
    for source in (f"[x]({address})", f"[x](<{address}>)", f"<{address}>", f"[x]\n\n[x]: {address}"):
        assert "href" not in as_html(source)
        assert "](" not in as_markdown(source)
    assert "[x](" in as_html(f"[x]({address})")  # what is no link stays as it was written


def test_no_writer_trusts_an_address() -> None:
    stretch = Stretch(text="x", url="javascript:alert(1)")
    prose = Prose(pieces=(ProseText(inline=(stretch,)),))
    document = Document(title="t", tool="t", blocks=(prose,))
    assert "href" not in html.fragment(document)
    assert "".join(markdown.render(document)) == "# t\n\nx\n"


def test_raw_html_and_pictures_are_text() -> None:
    shown = as_html('<b onclick="x()">hi</b> ![a *cat*](https://e.example/c.png)\n\n<script>x</script>\n')
    assert "&lt;b onclick=&quot;x()&quot;&gt;hi&lt;/b&gt; [picture: a cat]" in shown
    assert "<p>&lt;script&gt;x&lt;/script&gt;</p>" in shown


def test_emphasis_beside_japanese_punctuation() -> None:
    assert marks("これは**「太字」**です。") == [("これは", []), ("「太字」", ["strong"]), ("です。", [])]
    assert marks("**注意。**次に") == [("注意。", ["strong"]), ("次に", [])]
    assert marks("2 * 3 * 4 と 2*3") == [("2 * 3 * 4 と 2*3", [])]


def test_a_lines_end_between_japanese_characters_is_no_blank() -> None:
    assert marks("日本\n語と\nEnglish\nwords") == [("日本語と English words", [])]
    assert marks("안녕\n하세요") == [("안녕 하세요", [])]


def test_blanks_of_japanese_prose_are_blanks() -> None:
    assert marks("彼は　言う\u00a0⚠\ufe0f") == [("彼は 言う ⚠", [])]
    assert "□" not in as_html("　段落")


def test_the_terminals_width_is_kept() -> None:
    source = (
        "とても長い段落です。" * 8
        + "\n\n- "
        + "項目" * 40
        + "\n  - "
        + "word " * 30
        + "\n\n| a | b |\n|---|---|\n| "
        + "表" * 40
        + " | x |\n\n> "
        + "引用" * 40
    )
    for width in (20, 40, 80):
        assert max(cells(line) for line in as_text(source, width).splitlines()) <= width
    assert as_text(source, 30).count("表") == 40


def test_deep_nesting_ends() -> None:
    as_text("> " * 300 + "deep", 20)
    as_html("- " * 300 + "deep")
    as_markdown("[" * 3000 + "x" + "](https://a.example)" * 3000)


def test_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "own.md"
    path.write_bytes("\ufeff# 考察\r\n\r\n本文\r\n".encode())
    prose = read_prose(path)
    assert isinstance(prose, Prose)
    assert [type(one) for one in prose.pieces] == [ProseHeading, ProseText]
    path.write_bytes(b"")
    assert read_prose(path).pieces == ()


@pytest.mark.parametrize(
    ("content", "what", "line"),
    [
        ("一行目\n二行目".encode("cp932"), "not UTF-8", ":1"),
        (b"a\n\xff", "not UTF-8", ":2"),
        (b"x" * (MAX_BYTES + 1), "longer than", ""),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, content: bytes, what: str, line: str) -> None:
    path = tmp_path / "own text.md"
    path.write_bytes(content)
    with pytest.raises(DataError, match=what) as caught:
        read_prose(path)
    assert caught.value.where == f"{path}{line}"
    assert caught.value.help
    for other in (tmp_path, tmp_path / "absent.md"):
        with pytest.raises(DataError, match="cannot be read"):
            read_prose(other)


def test_without_its_library_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "markdown_it", None)
    with pytest.raises(MissingExtraError, match="markdown-it-py") as caught:
        parse_prose("x")
    assert caught.value.help == "pip install 'finetooth[report]'"


def test_code_is_shown_as_it_is() -> None:
    (piece,) = parse_prose("```python\na\n\n  b | c\n```").pieces
    assert piece == ProseCode(lines=("a", "", "  b | c"))
