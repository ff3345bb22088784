from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser

import pytest

from finetooth.messages import set_language
from finetooth.types import InspectedRecord
from finetooth.view.html import html_fragment, render_html
from tests.view.samples import HOSTILE, Token, check_golden, hostile, make_record, make_side, one_side, three_sides

VOID = {"meta", "input", "br", "hr", "img", "link"}


class Page(HTMLParser):
    """A page taken apart: its elements, their attributes, its text by element."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == [], "elements are left open"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self._open[-1] if self._open else "", data))

    def named(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def text_in(self, tag: str) -> str:
        return "".join(data for name, data in self.texts if name == tag)


def page_of(*inspected: InspectedRecord, title: str = "rows.jsonl") -> str:
    return "".join(render_html(inspected, title=title))


def body_of(page: str) -> str:
    """Return a page without its styles and its script, which no golden file should repeat."""
    page = re.sub(r"<style>.*?</style>", "<style></style>", page, flags=re.DOTALL)
    page = re.sub(r"sha256-[^']+", "sha256-", page)
    return re.sub(r"<script>.*?</script>", "<script></script>", page, flags=re.DOTALL)


def test_golden_page() -> None:
    check_golden("three_sides.html", body_of(page_of(three_sides(), one_side())))


def test_golden_fragment() -> None:
    check_golden("one_side_fragment.html", body_of(html_fragment(one_side())))


def test_golden_hostile() -> None:
    check_golden("hostile.html", body_of(page_of(hostile(2), title=HOSTILE)))


@pytest.mark.parametrize("num_sides", [1, 2, 3])
def test_hostile_data_stays_text(num_sides: int) -> None:
    page = page_of(hostile(num_sides), title=HOSTILE)
    page.encode("utf-8")
    assert re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", page) is None
    parsed = Page(page)
    scripts = parsed.named("script")
    assert [script.get("type") for script in scripts] == ["application/json", "application/json", None]
    names = {name for _, attributes in parsed.elements for name in attributes}
    assert not any(name.startswith("on") or name in {"style", "href", "src"} for name in names)
    assert "<script>alert(1)</script>" in "".join(data for tag, data in parsed.texts if tag in {"p", "th"})


def test_hostile_data_stays_text_in_a_fragment() -> None:
    parsed = Page(html_fragment(hostile(2), show_ids=True))
    assert parsed.named("script") == []
    assert not any(name.startswith("on") for _, attributes in parsed.elements for name in attributes)
    allowed = {"class", "title", "role", "scope", "tabindex", "data-c", "data-k", "data-sides", *"iqmnyra"}
    assert {name for _, attributes in parsed.elements for name in attributes} <= allowed


def test_data_in_a_script_element_cannot_end_it() -> None:
    tokens: list[Token] = [(5, "</script><script>alert(1)//<!--", 0, 1, True)]
    page = page_of(make_record(make_side("a", tokens)))
    assert len(Page(page).named("script")) == 3
    assert "</script><script>alert" not in page


def test_the_policy_lets_the_pages_own_script_through_and_nothing_else() -> None:
    page = page_of(one_side())
    policy = next(meta["content"] for meta in Page(page).named("meta") if "http-equiv" in meta)
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for tag, directive in (("style", "style-src"), ("script", "script-src")):
        content = re.findall(rf"<{tag}>(.*?)</{tag}>", page, flags=re.DOTALL)
        assert len(content) == 1
        digest = base64.b64encode(hashlib.sha256(content[0].encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy


def test_the_page_asks_for_nothing() -> None:
    page = page_of(three_sides())
    assert re.search(r"https?:|url\(|@import|\b(?:src|href)=", page) is None


def test_the_fragments_styles_touch_nothing_else() -> None:
    style = re.findall(r"<style>(.*?)</style>", html_fragment(one_side()), flags=re.DOTALL)[0]
    selectors = [selector for rule in re.findall(r"([^{}]+)\{", style) for selector in rule.split(",\n")]
    rules = [part.strip() for rule in selectors for part in re.split(r",(?![^(]*\))", rule)]
    assert rules
    assert all(rule.startswith((".finetooth", "@media")) for rule in rules)


def test_every_token_is_in_the_markup_once() -> None:
    marks = [attributes for attributes in Page(page_of(one_side())).named("t-k") if "i" in attributes]
    ids = [int(token_id) for mark in marks for token_id in mark["i"].split()]
    assert ids == one_side().sides[0].encoded.input_ids


def test_the_script_can_find_every_range() -> None:
    """The script counts characters and tokens along a line, from what the line says it begins with."""
    side = one_side().sides[0]
    for line in re.findall(r'<div class="l".*?</div></div>', page_of(one_side())):
        opening = re.search(r'data-c=(\d+) data-k="(\d+)"', line)
        assert opening is not None
        char, token = int(opening[1]), int(opening[2])
        for mark in Page(line).named("t-k"):
            ids = [int(token_id) for token_id in mark["i"].split()]
            assert side.encoded.input_ids[token : token + len(ids)] == ids
            width = int(mark.get("n", 1))
            for start, end in side.encoded.offsets[token : token + len(ids)]:
                assert (char, char + width) == (start, end)
            char, token = char + width, token + len(ids)


def test_pieces_and_bytes_are_there_for_the_card() -> None:
    page = page_of(three_sides())
    data = re.search(r'class="data">(.*?)</script>', page)
    assert data is not None
    pieces = json.loads(data[1])["pieces"]
    assert pieces[0]["829"] == "</"
    assert pieces[0]["234"] == ["<0xE7>", "e7"]
    assert pieces[0]["1"] == ["▁<s>", "20 3c 73 3e"]
    assert pieces[1]["1"] == "<s>"


def test_differing_ends_are_marked_in_the_table() -> None:
    page = page_of(three_sides())
    assert '<span class="x"><code>829 &#x27;&lt;/&#x27;</code></span>' in page
    assert "<td><code>13 &#x27;&lt;0x0A&gt;&#x27;</code></td>" in page


def test_labels_that_the_class_does_not_tell_are_written_out() -> None:
    tokens: list[Token] = [(3, "<0xE5>", 0, 1, False), (4, "<0xAC>", 0, 1, True), (5, "<0xA2>", 0, 1, True)]
    mark = Page(page_of(make_record(make_side("嬢", tokens)))).named("t-k")[-1]
    assert (mark["class"], mark["i"], mark["y"]) == ("p", "3 4 5", "-100 4 5")


def test_long_masked_text_is_folded_not_lost() -> None:
    tokens: list[Token] = [(5, "a", i, i + 1, False) for i in range(1000)]
    page = Page(page_of(make_record(make_side("a" * 1000 + "b", [*tokens, (6, "b", 1000, 1001, True)]))))
    assert page.text_in("summary") == "… 840 characters, 840 tokens masked …"
    assert sum(attributes.get("i") == "5" for attributes in page.named("t-k")) == 1000


def test_roles_are_named_where_they_begin() -> None:
    marks = Page(page_of(one_side())).named("t-k")
    assert [mark["r"] for mark in marks if "r" in mark] == ["user", "assistant"]


def test_one_way_in_by_keyboard_for_each_side() -> None:
    assert sum("tabindex" in mark for mark in Page(page_of(one_side())).named("t-k")) == 1
    assert sum("tabindex" in mark for mark in Page(page_of(three_sides())).named("t-k")) == 3


@pytest.mark.parametrize("num_chars", [1, 600])
@pytest.mark.parametrize("models", [("a", "b"), ("x" * 40, "y" * 40)])
def test_the_gutter_holds_the_name_and_the_number(models: tuple[str, str], num_chars: int) -> None:
    text = "a\n" * num_chars
    sides = [
        make_side(text, [(5, "a", i, i + 1, way == "trl") for i in range(len(text))], model=model, labels_way=way)
        for model in models
        for way in ("completion-collator", "trl")
    ]
    page = page_of(make_record(*sides))
    gutter = re.search(r'class="tokens g(\d+) several"', page)
    widest = max(re.findall(r"<t-r>([^<]+)(?:<b>(\d+)</b>)?</t-r>", page), key=lambda found: sum(map(len, found)))
    assert gutter is not None
    assert len(widest[0]) + 1 + len(str(len(text))) <= int(gutter[1]) - 2
    assert f".g{gutter[1]} .g {{ width: {gutter[1]}ch; }}" in page or gutter[1] == "6"


def test_texts_that_differ_stand_one_under_the_other() -> None:
    one = make_side("a b", [(5, "a b", 0, 3, True)], model="x")
    other = make_side("a c", [(6, "a c", 0, 3, True)], model="y")
    page = page_of(make_record(one, other))
    assert "the texts differ from character 2 on" in page
    assert [block["data-sides"] for block in Page(page).named("div") if "data-sides" in block] == ["0", "1"]


def test_a_thousand_tokens_stay_small() -> None:
    """120 KB is the size up to which a page opens at once and can be mailed; half of it is the bound for a side."""
    text = "お嬢様は紅茶が好きですわ。 The cat drinks tea.\n" * 100
    tokens: list[Token] = [(30000 + ord(char) % 999, char, i, i + 1, i > 900) for i, char in enumerate(text[:1000])]
    side = make_side(text[:1000], tokens)
    assert len(page_of(make_record(side)).encode()) < 60_000
    assert len(html_fragment(make_record(side)).encode()) < 120_000


def test_the_page_speaks_the_language_in_force() -> None:
    set_language("ja")
    page = page_of(one_side())
    assert '<html lang="ja">' in page
    assert "学習対象" in page


def test_records_are_made_one_by_one() -> None:
    made: list[int] = []

    def records() -> Iterator[InspectedRecord]:
        for index in range(3):
            made.append(index)
            yield make_record(make_side("a", [(5, "a", 0, 1, True)]), index=index)

    pieces = render_html(records(), title="t")
    next(pieces)  # the head
    next(pieces)  # the title, the switches
    assert made == []
    next(pieces)
    assert made == [0]


def test_no_tokens_and_no_sides() -> None:
    assert "no tokens" in page_of(make_record(make_side("", [])))
    assert "record 0" in page_of(make_record())
