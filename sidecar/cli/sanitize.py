"""Escaping of untrusted text for a terminal."""

from __future__ import annotations

import re

from sidecar.domain.visible_text import escape_invisible

_INVISIBLE = re.compile(
    r"[\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\uffff\ud800-\udfff]"
)


def sanitize_line(text: str) -> str:
    """Return the text on one line, with all invisible characters escaped (`escape_invisible`)."""
    return escape_invisible(text)


def sanitize_lines(text: str) -> str:
    """Escape invisible characters, but keep line ends."""
    return "\n".join(sanitize_line(line) for line in text.split("\n"))


def sanitize_json(encoded: bytes) -> str:
    """Escape invisible characters in JSON as JSON does, which keeps its meaning."""
    return _INVISIBLE.sub(lambda match: f"\\u{ord(match[0]):04x}", encoded.decode("utf-8", "surrogatepass"))


def has_invisible(text: str) -> bool:
    """Check for characters that `sanitize_json` escapes."""
    return _INVISIBLE.search(text) is not None
