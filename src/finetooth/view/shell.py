"""The outside of every page: its head, and the policy that forbids whatever the page does not bring along."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator

from finetooth.messages import language
from finetooth.view.markup import escape


def page(
    body: Iterable[str], *, title: str, style: str, script: str = "", attributes: str = 'class="finetooth"'
) -> Iterator[str]:
    """Yield a whole page, piece by piece.

    The page holds its styles and its script, asks for nothing from anywhere, and forbids by its policy that anything
    in it should: the hashes let these styles and this script run, and no others.

    Args:
        body: What stands in it, as HTML.
        title: What the page is called; escaped here.
        style: CSS.
        script: JavaScript, at the end of the body; none where it is empty.
        attributes: Those of the body element, escaped already.
    """
    scripts = f"script-src '{_hash(script)}'; " if script else ""
    policy = f"default-src 'none'; style-src '{_hash(style)}'; {scripts}base-uri 'none'; form-action 'none'"
    yield (
        f'<!doctype html>\n<html lang="{language()}">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n<body {attributes}>\n"
    )
    yield from body
    yield f"<script>{script}</script>\n</body>\n</html>\n" if script else "</body>\n</html>\n"


def _hash(content: str) -> str:
    """Return the source expression that lets one inline element through a content security policy."""
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"
