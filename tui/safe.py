"""Texts that came from outside, made harmless: never markup, never control sequences."""

from __future__ import annotations

LONGEST = 4_000
"""Characters of one text that are ever drawn; no terminal shows more of one line."""


def clean(value: object, longest: int = LONGEST) -> str:
    """The text on one line, with everything that is not seen (control and escape sequences, line ends, marks that turn
    the direction of writing) written as escapes. Tabs and the like too: a character is a cell or two, nothing else."""
    text = value if isinstance(value, str) else str(value)
    if len(text) > longest:
        text = text[:longest] + "…"
    return text if text.isprintable() else "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode()
