"""Markdown with its pictures beside it, where matplotlib is installed."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from finetooth.documents import markdown
from finetooth.documents.blocks import Document, Figure, figures
from finetooth.messages import language, say, speaking
from finetooth.writing import whole_file

Tell = Callable[[str], None]


def write_markdown(make: Callable[[], Document], path: Path, *, tell: Tell) -> list[Path]:
    """Write a document as Markdown, and a PNG for each of its figures, named after it.

    Args:
        make: Returns the document in the language in force; pictures are drawn in English where no font has Japanese.
        path: The file.
        tell: Told what a reader has to know of the pictures.

    Returns:
        The files that were written.
    """
    from finetooth.charts.png import write_png

    document = make()
    if find_spec("matplotlib") is None:
        tell(say("documents.no_pictures"))
        with whole_file(path) as file:
            file.writelines(markdown.render(document))
        return [path]
    pictures: dict[int, Path] = {}
    with speaking(drawable_language(tell)):
        for one in figures(make()):
            picture = path.with_name(f"{path.stem}-{one.number}.png")
            write_png([(one.name, one.chart)], picture, title="")
            pictures[one.number] = picture

    def address(figure: Figure) -> str | None:
        return pictures[figure.number].name if figure.number in pictures else None

    with whole_file(path) as file:
        file.writelines(markdown.render(document, picture=address))
    return [path, *pictures.values()]


def drawable_language(tell: Tell) -> str:
    """Return the language in force, or English where no font here could draw it."""
    from finetooth.charts.png import can_write_language

    if can_write_language():
        return language()
    tell(say("documents.no_font"))
    return "en"
