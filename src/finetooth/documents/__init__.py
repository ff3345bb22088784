"""Documents: blocks of text, tables and figures, written for terminals, as Markdown, or as a page.

blocks.py     what a document is made of
naming.py     short names for runs and paths
text.py       for a terminal, folded to its width
markdown.py   of GitHub's flavour
html.py       one page that needs nothing but itself
"""

from finetooth.documents.blocks import Block, Code, Document, Figure, Heading, Paragraph, Row, Table, Tokens, figures

__all__ = [
    "Block",
    "Code",
    "Document",
    "Figure",
    "Heading",
    "Paragraph",
    "Row",
    "Table",
    "Tokens",
    "figures",
]
