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


def in_json(text: str) -> str:
    """The same JSON, with what is not seen written as JSON's own escapes: to be shown where it is edited."""
    return "".join(c if c.isprintable() or c == "\n" else _unit(c) for c in text)


def _unit(char: str) -> str:
    """`\\u202e`; beyond the first plane a pair of surrogates (RFC 8259, section 7)."""
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def covered(line: str) -> str:
    """A line of as many characters, none of which a terminal would obey; tabs stay."""
    return line if line.isprintable() else "".join(c if c.isprintable() or c == "\t" else "·" for c in line)
