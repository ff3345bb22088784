"""A user's own Markdown in a document: taken apart once, and written by every writer from its pieces.

No writer sees the Markdown itself: what a document does not hold (raw HTML, pictures, addresses other than http and
https) is text in the pieces already.

tree.py      what it is made of
reading.py   by markdown-it-py (the extra `report`)
html.py, markdown.py, text.py   how it is written
"""

from finetooth.documents.prose.reading import parse_prose, read_prose
from finetooth.documents.prose.tree import Prose

__all__ = ["Prose", "parse_prose", "read_prose"]
