"""Edit: `{% generation %}` blocks end after the terminator of the answer.

Trainers that take their labels from these blocks mask what stands after `{% endgeneration %}`: where that is the
terminator, the model learns every word and never the end (TRL pull request #5988; transformers pull request #30650).
The tag is moved behind the terminator in the template's source; where the terminator is printed for all roles after an
`{% endif %}`, it is first drawn into the branches.

Safe, since it is tried: every probe conversation, and the conversations of the data, have to render to the same text,
and every block has to end after its terminator. Otherwise the template is left as it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from finetooth.errors import FinetoothError
from finetooth.fix.edits import Edit, Left, Outcome
from finetooth.fix.jinjasource import Chunk, chunks, depth_change
from finetooth.fix.jsontext import Step, value_at
from finetooth.fix.workbench import Workbench
from finetooth.labels import Setup
from finetooth.messages import say
from finetooth.template import ASSISTANT_ROLES, CONTROL_LITERAL, ChatTemplate, Renderer
from finetooth.types import Record

CODES = ("TPL006", "LAB002")

_NUM_RECORDS = 64
"""How many conversations of the data are rendered with a changed template, beside the probes."""

_PROBES = (
    (("user", "q one"), ("assistant", "a one")),
    (("system", "s"), ("user", "q one"), ("assistant", "a one")),
    (("user", "q one"), ("assistant", "a one"), ("user", "質問"), ("assistant", "答え。")),
    (("system", "s"), ("user", "q one"), ("assistant", "a one"), ("user", "q two"), ("assistant", "a\n\ntwo ")),
    (("user", "q one"), ("assistant", "a one"), ("user", "q two")),
)


def repair_generation_blocks(bench: Workbench) -> Iterator[Outcome]:
    """Move `{% endgeneration %}` behind the terminator in the model's own template."""
    setup = bench.facts().setup
    template = setup.template
    if not bench.wants(*CODES) or template is None or not template.has_generation_blocks:
        return
    judge = _Judge.make(setup, islice(bench.read(), _NUM_RECORDS))
    if judge.num_open(template.source) in (0, None):
        return
    place = _place_of(bench, template)
    source = closed(template.source, judge)
    if source is None:
        yield Left(codes=CODES, text=say("fix.block_stays", template=template.name), help=say("fix.block_stays_help"))
    elif place is None:
        yield Left(
            codes=CODES, text=say("fix.block_elsewhere", template=template.name), help=say("fix.block_elsewhere_help")
        )
    else:
        name, path = place
        if path:
            bench.copy.put(name, path, source)
        else:
            bench.copy.write(name, source)
        bench.changed()
        yield Edit(name="generation-block", codes=CODES, text=say("fix.block", file=name))


# Where the source stands --------------------------------------------------------------------------------------------


def _place_of(bench: Workbench, template: ChatTemplate) -> tuple[str, list[Step]] | None:
    """Return the file of the model that holds a template, and the path in it; `None` where it is another's."""
    copy = bench.copy
    path = Path(template.name)
    if path.is_relative_to(copy.directory) and path.suffix == ".jinja":
        name = path.relative_to(copy.directory).as_posix()
        # A template is read with its line ends made plain; so is it written.
        return name, []
    for name in ("tokenizer_config.json", "chat_template.json"):
        text = copy.read(name)
        if text is None or "chat_template" not in json.loads(text):
            continue
        value = value_at(text, ["chat_template"])
        if value == template.source:
            return name, ["chat_template"]
        if isinstance(value, list):
            for index, one in enumerate(value):
                if isinstance(one, dict) and one.get("template") == template.source:
                    return name, ["chat_template", index, "template"]
    return None


# Whether a source does ----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Judge:
    """Renders conversations with a changed source, and counts the answers whose end is outside of every block."""

    template: ChatTemplate
    renderer: Renderer
    cases: list[tuple[Record, bool, str, list[int]]]
    """Conversation, whether the generation prompt is added, text, and the ends of the answers in it."""

    @classmethod
    def make(cls, setup: Setup, records: Iterator[Record]) -> _Judge:
        template = setup.template
        assert template is not None
        renderer = replace(setup.renderer, train_on="assistant")
        probes = [
            Record(
                index=index,
                where="probe",
                shape="messages",
                row={},
                messages=[template.message(role, content) for role, content in turns],
            )
            for index, turns in enumerate(_PROBES)
        ]
        judge = cls(template=template, renderer=renderer, cases=[])
        for record in [*probes, *(record for record in records if record.messages is not None)]:
            for prompt in (False, True):
                try:
                    text = _render(template, record, prompt)[0]
                    ends = [] if prompt else judge._ends(record)
                except FinetoothError:
                    continue  # what the template refuses, it may go on refusing
                judge.cases.append((record, prompt, text, ends))
        return judge

    def _ends(self, record: Record) -> list[int]:
        """Return the ends of the answers that a stop literal ends."""
        rendered = self.renderer.render_messages(record)
        literals = (*self.renderer.stops.literals, *self.renderer.stops.specials)
        last: dict[int | None, int] = {}
        for span in rendered.spans:
            if span.supervised and span.role in ASSISTANT_ROLES:
                last[span.message_index] = span.end
        return [end for end in last.values() if rendered.text[:end].endswith(literals)]

    def num_open(self, source: str) -> int | None:
        """Return how many answers end outside of their block; `None` where a source is invalid or alters a text."""
        try:
            changed = ChatTemplate(source, name=self.template.name, special_tokens=self.template.special_tokens)
            count = 0
            for record, prompt, text, ends in self.cases:
                rendered, blocks = _render(changed, record, prompt)
                if rendered != text:
                    return None
                count += sum(not any(_holds(text, block, end) for block in blocks) for end in ends)
        except FinetoothError:
            return None
        return count


def _render(template: ChatTemplate, record: Record, prompt: bool) -> tuple[str, list[tuple[int, int]]]:
    return template.render_with_generation(
        [template.in_content_form(message) for message in record.messages or []],
        tools=record.tools,
        variables=record.chat_template_kwargs,
        add_generation_prompt=prompt,
    )


def _holds(text: str, block: tuple[int, int], end: int) -> bool:
    """Return whether a block ends with an answer's end; white space after it is the template's usual newline."""
    return block[0] < end <= block[1] and not text[end : block[1]].strip()


# Moving the tag -----------------------------------------------------------------------------------------------------


def closed(source: str, judge: _Judge) -> str | None:
    """Return a source whose blocks hold the terminators, or `None` where no move of the tag gives one."""
    best = judge.num_open(source)
    while best:
        better = next(_better(source, judge, best), None)
        if better is None:
            return None
        source, best = better
    return source if best == 0 else None


def _better(source: str, judge: _Judge, best: int) -> Iterator[tuple[str, int]]:
    """Yield sources that leave fewer answers open, the smallest change first."""
    parts = chunks(source)
    tags = [index for index, part in enumerate(parts) if part.word == "endgeneration"]
    for index in tags:
        for candidate in (*_moved(source, parts, index), *_distributed(source, parts, index)):
            count = judge.num_open(candidate)
            if count is not None and count < best:
                yield candidate, count


def _moved(source: str, parts: Sequence[Chunk], index: int) -> Iterator[str]:
    """Yield sources with the tag behind each later chunk, as far as the next block."""
    for after in parts[index + 1 :]:
        if after.word in ("generation", "endfor", "endmacro"):
            return
        yield from _with_tag_at(source, parts[index], after.end)
        yield from _splits(source, after, parts[index])


def _with_tag_at(source: str, tag: Chunk, position: int) -> Iterator[str]:
    """Yield sources with the tag taken out and put in at a later position, by several ways of treating white space."""
    text = source[tag.start : tag.end]
    line_start = len(source[: tag.start].rstrip(" \t"))
    lead = source[line_start : tag.start]
    if line_start and source[line_start - 1] == "\n":
        # The tag stands on a line of its own: the line moves.
        start = line_start - 1
        yield f"{source[:start]}{source[tag.end : position]}\n{lead}{text}{source[position:]}"
    comment = text.replace("endgeneration", "").replace("%", "#")
    for left in ("", comment):
        for put in (text, "{% endgeneration %}", "{%+ endgeneration +%}"):
            yield f"{source[: tag.start]}{left}{source[tag.end : position]}{put}{source[position:]}"


def _splits(source: str, chunk: Chunk, tag: Chunk) -> Iterator[str]:
    """Yield sources with the tag inside a stretch of plain text, behind each control literal of it."""
    if chunk.kind != "text":
        return
    for match in CONTROL_LITERAL.finditer(source, chunk.start, chunk.end):
        yield from _with_tag_at(source, tag, match.end())


def _distributed(source: str, parts: Sequence[Chunk], index: int) -> Iterator[str]:
    """Yield sources in which what follows the enclosing `{% endif %}` is drawn into every branch, before the tag."""
    branches = _branches(source, parts, index)
    if branches is None:
        return
    *boundaries, close = branches
    following = [part for part in parts if part.start >= close.end and source[part.start : part.end].strip()]
    if not following or following[0].kind not in ("text", "expression"):
        return
    shared = following[0]
    whole = source[shared.start : shared.end]
    # Of plain text the terminator alone is drawn in first: a newline after it may be the template's own.
    for drawn in dict.fromkeys((whole.rstrip(), whole) if shared.kind == "text" else (whole,)):
        rest = source[shared.start + len(drawn) :]
        for alternative in ("", "-"):
            body = _with_drawn(source, parts[index], boundaries, close, drawn)
            if not any(part.word == "else" for part in boundaries):
                body += f"{{%{alternative} else {alternative}%}}{drawn}"
            yield body + source[close.start : close.end] + rest
            yield body + source[close.start : shared.start] + rest


def _with_drawn(source: str, tag: Chunk, boundaries: Sequence[Chunk], close: Chunk, drawn: str) -> str:
    """Return the source up to the `endif`, with something at the end of each branch, and the tag behind it."""
    text = source[tag.start : tag.end]
    body, position, is_done = "", 0, False
    for part in (*boundaries, close):
        stretch = source[position : part.start]
        if part.start > tag.start and not is_done:
            is_done = True
            head, tail = stretch[: tag.start - position], stretch[tag.end - position :]
            body += head.rstrip() + drawn + text + tail if not tail.strip() else _joined(head + tail, drawn + text)
        else:
            body += _joined(stretch, drawn)
        position = part.start
    return body


def _joined(stretch: str, drawn: str) -> str:
    """Put something at the end of a branch, before the white space that leads to the next tag."""
    core = stretch.rstrip()
    return core + drawn + stretch[len(core) :]


def _branches(source: str, parts: Sequence[Chunk], index: int) -> list[Chunk] | None:
    """Return the `elif`, `else` and `endif` tags of the `if` that directly encloses a tag; `None` where none does."""
    before: list[Chunk] = []
    depth = 0
    for part in reversed(parts[:index]):
        change = depth_change(source, part)
        if depth == 0 and change == 1 and part.word == "if":
            break
        if part.word == "generation" and depth == 0:
            continue  # the tag's own beginning
        if depth == 0 and part.word in ("elif", "else"):
            before.append(part)
        depth -= change
        if depth < 0:
            return None
    else:
        return None
    after: list[Chunk] = []
    depth = 0
    for part in parts[index + 1 :]:
        if depth == 0 and part.word in ("elif", "else", "endif"):
            after.append(part)
            if part.word == "endif":
                return [*reversed(before), *after]
            continue
        depth += depth_change(source, part)
        if depth < 0:
            return None
    return None
