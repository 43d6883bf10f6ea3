"""Makes text from outside harmless: no markup, no control sequences."""

from __future__ import annotations

MAX_TEXT_CHARS = 4_000
"""Most characters of one text that are drawn; no terminal line shows more."""


def clean(value: object, longest: int = MAX_TEXT_CHARS) -> str:
    """Return a text on one line, with invisible characters written as escapes.

    Those are control and escape sequences, line ends, tabs and direction marks. Every character of the result is one or
    two cells wide.
    """
    text = value if isinstance(value, str) else str(value)
    if len(text) > longest:
        text = text[:longest] + "…"
    return text if text.isprintable() else "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode()


def in_json(text: str) -> str:
    """Return the same JSON text with invisible characters written as JSON escapes, for display in an editor."""
    return "".join(c if c.isprintable() or c == "\n" else _unit(c) for c in text)


def _unit(char: str) -> str:
    r"""Return the JSON escape of a character, such as `\u202e`.

    Beyond the first plane it is a surrogate pair (RFC 8259, section 7).
    """
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def mask_control_chars(line: str) -> str:
    """Return a line of the same length without any character that a terminal would obey. Tabs are kept."""
    return line if line.isprintable() else "".join(c if c.isprintable() or c == "\t" else "·" for c in line)
