"""Text in which every character can be seen."""

from __future__ import annotations


def escape_invisible(text: str) -> str:
    """Return the text on one line, with all invisible characters escaped.

    These are control characters, escape sequences, line ends and marks that change the direction of writing.
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode()
