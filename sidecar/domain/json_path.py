"""Where in a body something is wrong, written `data.items[2].qty`, and what was found there, short and harmless to
print."""

from __future__ import annotations

import re
from typing import Any

MAX_SHOWN = 80
"""Characters of a found value that are shown."""
_MAX_PATH = 400
_PLAIN_KEY = re.compile(r"[A-Za-z_$@][A-Za-z0-9_$@-]*")


class PathFault(Exception):
    """What is wrong with a value. The segments of its path are gathered from the inside out, on the way back."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self._segments: list[str] = []

    @property
    def message(self) -> str:
        """What was expected and what was found."""
        return str(self.args[0])

    def within(self, segment: str) -> PathFault:
        """The same fault, seen from the value around: `segment` is `.name` or `[3]`."""
        self._segments.append(segment)
        return self

    def copy(self) -> PathFault:
        """The same fault, whose path can be gathered once more by another way."""
        copied = PathFault(self.code, self.message)
        copied._segments = self._segments.copy()
        return copied

    @property
    def depth(self) -> int:
        return len(self._segments)

    @property
    def path(self) -> str | None:
        """None where it is the whole body; a path too long to show keeps its end."""
        if not self._segments:
            return None
        path = "".join(reversed(self._segments)).removeprefix(".")
        return path if len(path) <= _MAX_PATH else f"…{path[-_MAX_PATH:]}"


def key_segment(key: str) -> str:
    """A key as a segment of a path: `.qty`, or `["two words"]`."""
    return f".{key}" if len(key) <= MAX_SHOWN and _PLAIN_KEY.fullmatch(key) else f"[{quoted(key)}]"


def quoted(text: str) -> str:
    """Text in double quotes, at most MAX_SHOWN characters of it, with nothing in it that a terminal would act upon."""
    shown = text[:MAX_SHOWN].encode("unicode_escape").decode("ascii") if not text[:MAX_SHOWN].isprintable() else text
    shown = shown.replace('"', '\\"')
    return f'"{shown}"' if len(text) <= MAX_SHOWN and len(shown) <= MAX_SHOWN else f'"{shown[: MAX_SHOWN - 1]}…"'


def described(value: Any) -> str:
    """A found value for a message: its JSON type, and itself where that is short."""
    match value:
        case None:
            return "null"
        case bool():
            return f"boolean {str(value).lower()}"
        case int() | float():
            # Python refuses to write integers of more than 4,300 digits.
            return (
                f"number {value!r:.80}" if not isinstance(value, int) or value.bit_length() < 1_000 else "a huge number"
            )
        case str():
            return f"string {quoted(value)}"
        case list() | tuple():
            return f"an array of {len(value)}"
        case dict():
            keys = ", ".join(quoted(str(key)) for key in list(value)[:3])
            return f"an object with {keys}{', …' if len(value) > 3 else ''}" if value else "an empty object"
    return f"{type(value).__name__} {quoted(str(value))}"
