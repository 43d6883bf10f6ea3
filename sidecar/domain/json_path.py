"""Paths into a body, such as `data.items[2].qty` or `limits["größe"]`.

Rejections, redaction, edits, queries and the dashboard share this syntax. A path is a sequence of steps: `.name`,
`["any name"]` (a JSON string) and `[2]`. A pattern is a path in which `*` matches any part of one name. A pattern may
omit the indexes of lists.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Struct

MAX_SHOWN_CHARACTERS = 80
"""Characters of a name or a value to show in messages."""
MAX_PATH_CHARACTERS = 400
"""Characters of a path to show in a rejection."""
MAX_PARSED_CHARACTERS = 1_000
"""Longest path to parse."""
CUT = "…"
_PLAIN_KEY = re.compile(r"[A-Za-z_$@][A-Za-z0-9_$@-]*")
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_WHOLE_STEP = re.compile(rf"""(?:^|\.)([^.\[\]"]+)|\.?\[([0-9]{{1,9}}|\*)\]|(?:^|\.)({_QUOTED})|\.?\[({_QUOTED})\]""")
_STEP_IN_QUERY = re.compile(rf"""\.([^\s:.()"\[\]\\]+)|\[([0-9]{{1,9}}|\*)\]|\.({_QUOTED})|\[({_QUOTED})\]""")
_TYPES = frozenset(
    ("null", "boolean", "int", "long", "float", "double", "bytes", "string", "array", "map", "enum", "fixed", "record")
)

Step = str | int | None
"""A name, a list index, or None for any step: `[*]`, or a name that was cut."""


class InvalidPath(ValueError):
    """A text that is not a path. `at`: the index of the first character that does not fit."""

    def __init__(self, text: str, at: int) -> None:
        super().__init__(
            f"{text[:100]!r}: expected a path such as data.items[2].qty, found something else at character {at}"
        )
        self.at = at


class JsonPath(Struct, frozen=True):
    """A path into a body."""

    steps: tuple[Step, ...]
    is_cut: bool = False
    """True if the path was too long to show, so that only its end is known."""

    @classmethod
    def parse(cls, text: str) -> JsonPath:
        """Parse a path as `str(path)` prints it. Raises InvalidPath."""
        if text.startswith(CUT) and len(text) > MAX_PATH_CHARACTERS:
            return cls((), is_cut=True)
        steps, end = _parse(text, 0, _WHOLE_STEP)
        if not steps or end < len(text) or len(text) > MAX_PARSED_CHARACTERS or text[0] == ".":
            raise InvalidPath(text, end)
        return cls(steps)

    @classmethod
    def scan(cls, text: str, at: int) -> tuple[JsonPath, int] | None:
        """Parse the steps from an index on, each with its dot or bracket, as far as possible.

        Unquoted names end at whitespace, colons and parentheses. Returns the path and the index after it; None if there
        is no step.
        """
        steps, end = _parse(text, at, _STEP_IN_QUERY)
        return (cls(steps), end) if steps else None

    def __str__(self) -> str:
        return CUT if self.is_cut else print_steps(self.steps)

    def contains(self, other: JsonPath) -> bool:
        """Check whether the other path is this one or one below it."""
        return other.steps[: len(self.steps)] == self.steps

    def is_related(self, other: JsonPath) -> bool:
        """Check whether one of the two paths contains the other."""
        return self.contains(other) or other.contains(self)


class PathPattern(Struct, frozen=True):
    """A path with `*` in its names. It also covers everything below what it matches."""

    tests: tuple[re.Pattern[str], ...]

    @classmethod
    def parse(cls, text: str) -> PathPattern:
        """Parse a pattern such as `data.card.*`, `items[*].sku` or `limits["a.b"]`. Raises InvalidPath."""
        return cls(tuple(name_test("*" if step is None else str(step)) for step in JsonPath.parse(text).steps))

    def covers(self, path: JsonPath) -> bool:
        """Check whether the pattern matches the path or one above it. A cut path counts as matched."""
        return path.is_cut or self.matched_steps(path) is not None

    def is_related(self, path: JsonPath) -> bool:
        """Check whether the pattern matches the path, one above it, or possibly one below it.

        A cut path counts as matched.
        """
        return path.is_cut or bool(self._walk(path.steps)[1])

    def matched_steps(self, path: JsonPath) -> int | None:
        """Return the number of steps after which the path matches the pattern; None if it does not."""
        return self._walk(path.steps)[0]

    def _walk(self, steps: Sequence[Step]) -> tuple[int | None, set[int]]:
        """Return the number of steps after which the pattern is matched, and what is matched of it in the end."""
        reached = {0}
        for number, step in enumerate(steps, 1):
            ahead = {at + 1 for at in reached if step is None or self.tests[at].match(normal_form(str(step)))}
            if len(self.tests) in ahead:
                return number, ahead
            if not isinstance(step, str):
                ahead |= reached
            elif is_union_tag(step):  # only within a value that leads to the match, as types and fields look alike
                ahead |= reached - {0}
            reached = ahead
        return None, reached


def name_test(pattern: str) -> re.Pattern[str]:
    """Compile a name in which `*` matches any text and `?` any character. The test expects names in `normal_form`."""
    parts = (".*" if char == "*" else "." if char == "?" else re.escape(char) for char in normal_form(pattern))
    return re.compile("".join(parts) + r"\Z", re.DOTALL)


def normal_form(name: str) -> str:
    """Return the name in the Unicode form for comparisons, in which names that look equal are equal."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def is_union_tag(name: str) -> bool:
    """Check whether a name may be that of a union's branch, which Avro's JSON encoding writes around a value."""
    return name in _TYPES or "." in name or name[:1].isupper()


def _parse(text: str, at: int, pattern: re.Pattern[str]) -> tuple[tuple[Step, ...], int]:
    steps: list[Step] = []
    while at < len(text) and (match := pattern.match(text, at)) is not None:
        name, index, dotted, bracketed = match.groups()
        try:
            steps.append(name or _parse_index(index) if name or index else _decode_name(dotted or bracketed))
        except ValueError:
            break
        at = match.end()
    return tuple(steps), at


def _parse_index(text: str) -> int | None:
    return None if text == "*" else int(text)


def _decode_name(text: str) -> str | None:
    name: str = json.loads(text, strict=False)
    return None if name.endswith(CUT) and len(text) >= MAX_SHOWN_CHARACTERS else name


def print_steps(steps: Iterable[Step], *, inner: bool = False) -> str:
    """Print steps as a path, with every name in full.

    `inner`: with a dot before the first name, to append it to a path.
    """
    path = "".join(
        "[*]" if step is None else f"[{step}]" if isinstance(step, int) else _name_step(step) for step in steps
    )
    return path if inner else path.removeprefix(".")


def _name_step(name: str) -> str:
    return f".{name}" if _PLAIN_KEY.fullmatch(name) else f"[{_json_string(name)}]"


def _json_string(name: str) -> str:
    """Write the name as a JSON string. Everything that a terminal would act upon is escaped."""
    if name.isprintable():
        escaped = name.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return json.dumps(name)


def key_segment(key: str) -> str:
    """Print a key as a step of a rejection's path: `.qty`, or `["two words"]`.

    A long key is cut, and matches any name.
    """
    if len(key) <= MAX_SHOWN_CHARACTERS:
        return _name_step(key)
    return f'[{_json_string(key[: MAX_SHOWN_CHARACTERS - 1])[:-1]}{CUT}"]'


class PathFault(Exception):
    """A fault in a value. The steps of its path are collected from the inside out, on the way back."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self._segments: list[str] = []

    @property
    def message(self) -> str:
        """Expected and actual value."""
        return str(self.args[0])

    def within(self, segment: str) -> PathFault:
        """Prepend a step to the path: `segment` is `.name` or `[3]` of the enclosing value."""
        self._segments.append(segment)
        return self

    def copy(self) -> PathFault:
        """Copy the fault, so that its path can be extended differently."""
        copied = PathFault(self.code, self.message)
        copied._segments = self._segments.copy()
        return copied

    @property
    def depth(self) -> int:
        return len(self._segments)

    @property
    def path(self) -> str | None:
        """The path; None for the whole body. A path that is too long to show keeps its end, after a `…`."""
        if not self._segments:
            return None
        path = "".join(reversed(self._segments)).removeprefix(".")
        return path if len(path) <= MAX_PATH_CHARACTERS else f"{CUT}{path[-MAX_PATH_CHARACTERS:]}"


def quote(text: str) -> str:
    """Quote text, at most MAX_SHOWN_CHARACTERS of it, without characters that a terminal would interpret."""
    shown = (
        text[:MAX_SHOWN_CHARACTERS].encode("unicode_escape").decode("ascii")
        if not text[:MAX_SHOWN_CHARACTERS].isprintable()
        else text
    )
    shown = shown.replace('"', '\\"')
    return (
        f'"{shown}"'
        if len(text) <= MAX_SHOWN_CHARACTERS and len(shown) <= MAX_SHOWN_CHARACTERS
        else f'"{shown[: MAX_SHOWN_CHARACTERS - 1]}…"'
    )


def describe_value(value: Any) -> str:
    """Describe a value for a message: its JSON type, and the value itself if it is short."""
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
            return f"string {quote(value)}"
        case list() | tuple():
            return f"an array of {len(value)}"
        case dict():
            keys = ", ".join(quote(str(key)) for key in list(value)[:3])
            return f"an object with {keys}{', …' if len(value) > 3 else ''}" if value else "an empty object"
    return f"{type(value).__name__} {quote(str(value))}"
