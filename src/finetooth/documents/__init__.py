"""Documents: blocks of text, tables and figures, written for terminals, as Markdown, or as a page.

blocks.py     what a document is made of
naming.py     short names for runs and paths
endings.py    which format a file's name asks for
formula.py    formulas, built from small functions
prose/        a user's own Markdown
sections.py   what headings are called by links
web.py        which addresses become links
text.py       for a terminal, folded to its width
markdown.py   of GitHub's flavour; illustrated.py puts its pictures beside it
html.py       one page that needs nothing but itself
slides.py     a deck that needs nothing but itself; paging.py shares the blocks out
pdf.py        that page or deck, printed by Chromium, Chrome or Edge where one is installed
"""

from finetooth.documents.blocks import (
    Block,
    Code,
    Contents,
    Document,
    Figure,
    Formula,
    Heading,
    List,
    Paragraph,
    Reference,
    References,
    Row,
    Table,
    Tokens,
    figures,
)
from finetooth.documents.prose import Prose, parse_prose, read_prose

__all__ = [
    "Block",
    "Code",
    "Contents",
    "Document",
    "Figure",
    "Formula",
    "Heading",
    "List",
    "Paragraph",
    "Prose",
    "Reference",
    "References",
    "Row",
    "Table",
    "Tokens",
    "figures",
    "parse_prose",
    "read_prose",
]
