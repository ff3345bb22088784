"""Which addresses become links: those of the web, and no other."""

from __future__ import annotations

import re

_WEB = re.compile(r"https?://[^\s/?#]", re.IGNORECASE)
_NOT_PLAIN = re.compile(r"[^\w.~:/?#@!$&'()*+,;=%\[\]-]", re.ASCII)


def is_web_address(url: str) -> bool:
    """Return whether an address is one of http or https, and names a host."""
    return _WEB.match(url) is not None and url.isprintable()


def web_address(url: str | None) -> str | None:
    """Return an address to link to, in ASCII; `None` where it is none of the web.

    Whatever could end an attribute of HTML or a link of Markdown, and every other character beyond ASCII, is
    percent-encoded, as browsers do.
    """
    if url is None or not is_web_address(url.strip()):
        return None
    return _NOT_PLAIN.sub(_percent, url.strip())


def _percent(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "replace"))
