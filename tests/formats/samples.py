"""Reports written out by hand, so that golden files hang on no rule, and how they are read."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from finetooth.checking import Report, SetupReport
from finetooth.messages import language
from finetooth.rules.endings import Branch
from finetooth.types import Cause, Finding, Place

GOLDEN = Path(__file__).parent / "golden"

HOSTILE = (
    "<script>alert(1)</script>\x1b[31m\x00\x9b\u202eevil\u2066 \ud800 </pre><!-- ]]> \"'&amp; | `x` **b** "
    "[a](http://e) {0} @team #1 ::error::\t%0A\r\n::warning::injected\u2028\ue000\u00a0👩\u200d👧"
)

MESSAGE = {
    "en": "the end `</s>` of the answers is learned as 3 pieces of text",
    "ja": "応答の終端 `</s>` が 3 個の文字の断片として学習されます",
}
CAUSE = {
    "en": "the added token `</s>` is normalized to `▁</s>`, which matches only after a space",
    "ja": "追加トークン `</s>` が `▁</s>` に正規化され、空白の後でしか一致しません",
}
HELP = {
    "en": "set `normalized` of `</s>` to false in tokenizer_config.json",
    "ja": "tokenizer_config.json で `</s>` の `normalized` を false にします",
}
FOLDED = {
    "en": "the pattern of the special token `</s>` is not its text",
    "ja": "特殊トークン `</s>` のパターンが、その文字列と一致しません",
}
PAD = {
    "en": "the padding token is the stop token `</s>`",
    "ja": "パディングトークンが停止トークン `</s>` と同じです",
}
NOTE = {
    "en": "kanji cost 3.0 tokens each in 4 records",
    "ja": "4 件のレコードで、漢字 1 文字に 3.0 トークンかかります",
}
REASON = {"en": "it needs transformers", "ja": "transformers が必要です"}


def make_finding(code: str = "LAB001", **values: object) -> Finding:
    """Return a finding; what is not given is that of a split end in two hundred records."""
    made: dict[str, object] = {
        "name": "split-eos",
        "severity": "error",
        "model": "lab/chat-split",
        "labels_way": "completion-collator",
        "count": 200,
        "share": 1.0,
        "message": MESSAGE[language()],
        "help": None,
    }
    return Finding(code=code, **{**made, **values})  # type: ignore[arg-type]


def split_eos() -> Finding:
    return make_finding(
        help=HELP[language()],
        cause=Cause(
            code="TOK003",
            text=CAUSE[language()],
            evidence={
                "ids": [829, 29879, 29958],
                "pieces": ["</", "s", ">"],
                "previous_character": "。",
                "normalized": True,
                "normalizer": "Prepend, Replace",
                "file": "lab/chat-split/tokenizer_config.json",
            },
        ),
        places=tuple(
            Place(record=n, where=f"train.jsonl:{n + 1}", start=28, end=32, first_token=20 + n, end_token=23 + n)
            for n in range(3)
        ),
        views=(
            "… ▁で* | す* | わ* | 。* | [</* 829 | s* 29879 | >* 29958]",
            "… き* | で* | す* | 。* | [</* 829 | s* 29879 | >* 29958] | ▁[ | INST …",
            "[ま* 30441 | せ* 31332 | ん* 30389]",
        ),
        reproduction=(
            'from tokenizers import Tokenizer; t = Tokenizer.from_file("lab/chat-split/tokenizer.json")\n'
            'print(t.encode("。</s>", add_special_tokens=False).ids)'
        ),
        fixable=True,
        hashes=tuple(f"{n:016x}" for n in range(200)),
    )


def normalized_special() -> Finding:
    return make_finding(
        "TOK003",
        name="normalized-special",
        severity="warning",
        count=1,
        message=FOLDED[language()],
        cause=Cause(code="normalized", text=CAUSE[language()], evidence={"stored_pattern": "▁</s>"}),
        places=(Place(record=-1, where="lab/chat-split/tokenizer_config.json"),),
        fixable=True,
        folded_under="LAB001",
    )


def pad_is_eos(model: str = "lab/chat-masked") -> Finding:
    return make_finding(
        "RUN002",
        name="pad-is-eos",
        severity="warning",
        model=model,
        count=1,
        message=PAD[language()],
        help=HELP[language()],
        places=(Place(record=-1, where=model),),
    )


def byte_fallback() -> Finding:
    return make_finding(
        "TOK008",
        name="byte-fallback",
        severity="info",
        model="lab/chat-masked",
        count=4,
        share=0.02,
        message=NOTE[language()],
        places=(Place(record=17, where="data.parquet[17]", start=3, end=4, first_token=5, end_token=8),),
        views=("は* | [<0xE7>* 234 | <0x8C>* 143 | <0xAB>* 174] | ？*",),
        hashes=("aa", "bb", "cc", "dd"),
    )


def make_part(
    findings: Sequence[Finding] = (),
    *,
    model: str = "lab/chat-split",
    endings: Mapping[Branch, int] | None = None,
    not_run: Sequence[tuple[str, str]] = (),
    unchecked: str | None = None,
    data: str = "train",
    num_records: int = 200,
) -> SetupReport:
    return SetupReport(
        model=model,
        labels_way="completion-collator",
        data=data,
        num_records=num_records,
        findings=tuple(findings),
        endings=dict(endings if endings is not None else {"stops": num_records}),
        not_run=tuple(not_run),
        unchecked=unchecked,
    )


def make_report(*parts: SetupReport) -> Report:
    return Report(num_records=max((part.num_records for part in parts), default=0), parts=parts)


def broken() -> Report:
    """Return what the example that the project began with gives: an end in pieces, and an end masked as padding."""
    return make_report(
        make_part(
            [split_eos(), normalized_special()],
            endings={"split-by-normalizer": 200},
            not_run=[("TOK004", REASON[language()])],
            unchecked=REASON[language()],
        ),
        make_part(
            [pad_is_eos(), byte_fallback()],
            model="lab/chat-masked",
            endings={"stops": 141, "masked-by-pad": 57, "cut": 2},
            data="eval",
        ),
    )


def healthy() -> Report:
    return make_report(make_part(model="lab/chat-good"))


def hostile() -> Report:
    """Return a report with everything in every string that data, a tokenizer or a path can bring."""
    finding = make_finding(
        name=HOSTILE,
        message=HOSTILE,
        model=HOSTILE,
        help=HOSTILE,
        cause=Cause(code=HOSTILE, text=HOSTILE, evidence={HOSTILE: HOSTILE, "list": [HOSTILE], "map": {"a": HOSTILE}}),
        places=(
            Place(record=0, where=f"{HOSTILE}:7", start=0, end=1, first_token=0, end_token=1),
            Place(record=1, where=f"{HOSTILE}[7]"),
            Place(record=-1, where=HOSTILE),
        ),
        views=(HOSTILE, f"… {HOSTILE.replace(' ', '·')} | [{HOSTILE.replace(' ', '·')}* 5] …", ""),
        reproduction=f"{HOSTILE}\n\n{HOSTILE}",
        fixable=True,
    )
    folded = replace(finding, code="TOK003", folded_under="LAB001", severity="info")
    return make_report(
        make_part(
            [finding, folded],
            model=HOSTILE,
            endings={"absent": 1, "forged": 2},
            not_run=[(HOSTILE, HOSTILE)],
            unchecked=HOSTILE,
            num_records=3,
        )
    )


def check_golden(name: str, text: str) -> None:
    """Compare a text with a file of `golden/`; FINETOOTH_GOLDEN=write writes the file instead, to be looked at."""
    path = GOLDEN / name
    if os.environ.get("FINETOOTH_GOLDEN") == "write":
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text
