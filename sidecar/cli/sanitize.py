"""Texts that came from outside, made harmless for a terminal."""

from __future__ import annotations

import re

_UNSEEN = re.compile(
    r"[\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\uffff\ud800-\udfff]"
)


def clean(value: str) -> str:
    """The text on one line, with everything that is not seen (control and escape sequences, line ends, marks that turn
    the direction of writing) written as escapes."""
    return value if value.isprintable() else "".join(c if c.isprintable() else _escape(c) for c in value)


def clean_lines(value: str) -> str:
    """The same, keeping line ends."""
    return "\n".join(clean(line) for line in value.split("\n"))


def json_for_terminal(encoded: bytes) -> str:
    """JSON with what is not seen escaped, as JSON escapes it; the meaning stays."""
    return _UNSEEN.sub(lambda match: f"\\u{ord(match[0]):04x}", encoded.decode("utf-8", "surrogatepass"))


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode()
