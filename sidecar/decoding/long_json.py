"""Long JSON, read in slices: each call into the decoder is short, so that other threads run in between.

The text is cut at commas. Slices, which hold whole items of one array or object, are read by the same decoder as short
JSON, so that the value is the same. Where the text is no JSON, the error names the byte.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

SLICE_BYTES = 32 << 10
"""Length of a slice, about: reading one takes a few milliseconds at most."""
MAX_WHOLE_VALUES = 100_000
"""Values of a text that is read at once, if it has no more."""
MAX_JSON_DEPTH = 900
"""Arrays and objects inside one another."""

_TOKENS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{},]', re.DOTALL)
_BYTE = re.compile(r"\(byte (\d+)\)")
_WHITESPACE = b" \t\r\n"
_BRACKETS = {b"[": b"]", b"{": b"}"}


def read_long_json(text: bytes, read: Callable[[bytes], Any]) -> Any:
    """Read a JSON text. `read` reads a short one.

    Raises:
        msgspec.DecodeError: It is no JSON.
        RecursionError: It is nested too deeply.
    """
    if text.count(b",") + text.count(b"[") + text.count(b"{") <= MAX_WHOLE_VALUES:
        return read(text)
    return _SlicedText(text, read).read()


class _Container:
    """An array or object that is open at this place of the text."""

    __slots__ = ("at", "bracket", "child_end", "comma", "key", "read_until", "value")

    def __init__(self, at: int, bracket: bytes) -> None:
        self.at, self.bracket = at, bracket
        self.read_until = at
        """The bracket or comma behind which nothing is read yet."""
        self.comma = at
        """The latest bracket or comma of this container."""
        self.child_end: int | None = None
        """The place behind an item that was read by itself, until its comma comes."""
        self.key: str | None = None
        """Name of this container in the object around it, once it is sliced."""
        self.value: Any = None
        """Its items so far; None until it is sliced."""


class _SlicedText:
    def __init__(self, text: bytes, read: Callable[[bytes], Any]) -> None:
        self._text, self._read = text, read
        self._open: list[_Container] = []
        self._sliced = 0
        """Number of open containers that are sliced: the outermost ones."""

    def read(self) -> Any:
        text, containers = self._text, self._open
        for token in _TOKENS.finditer(text):
            at, mark = token.start(), token[0]
            if mark == b",":
                if not containers:
                    break
                self._take_comma(containers[-1], at)
            elif mark in _BRACKETS:
                if not containers and text[:at].strip(_WHITESPACE):
                    break
                self._enter(_Container(at, mark))
            elif len(mark) == 1 and mark != b'"':
                if not containers or _BRACKETS[containers[-1].bracket] != mark:
                    raise msgspec.DecodeError(f"JSON is malformed: invalid character (byte {at})")
                container = containers.pop()
                if container.value is None:
                    continue
                self._close(container, at)
                if not containers:
                    self._expect_blank(at + 1, len(text))
                    return container.value
        if containers:
            raise msgspec.DecodeError("Input data was truncated")
        return self._read(text)  # a single value, or no JSON from its beginning

    def _enter(self, container: _Container) -> None:
        if len(self._open) >= MAX_JSON_DEPTH:
            raise RecursionError
        self._open.append(container)
        if len(self._open) == 1:
            self._slice(container)
        else:
            self._slice_deeper(container.at)

    def _take_comma(self, container: _Container, at: int) -> None:
        if container.child_end is not None:
            self._expect_blank(container.child_end, at)
            container.child_end = None
            container.read_until = at
        container.comma = at
        if container.value is None:
            self._slice_deeper(at)
        elif at - container.read_until > SLICE_BYTES:
            self._take(container, at)

    def _slice_deeper(self, at: int) -> None:
        """Slice the outermost container that is not sliced, if it is long already."""
        if self._sliced == len(self._open):
            return
        around, inner = self._open[self._sliced - 1 : self._sliced + 1]
        if at - inner.at <= SLICE_BYTES:
            return
        if around.comma > around.read_until:
            self._take(around, around.comma)
        before = self._text[around.comma + 1 : inner.at]
        if around.bracket == b"{":
            (inner.key,) = self._items(b"{", before + b"[]", around.comma + 1)
        else:
            self._expect_blank(around.comma + 1, inner.at)
        self._slice(inner)
        if inner.comma > inner.at:
            self._take(inner, inner.comma)

    def _slice(self, container: _Container) -> None:
        container.value = [] if container.bracket == b"[" else {}
        self._sliced += 1

    def _take(self, container: _Container, end: int) -> None:
        """Read the items up to a comma or the end of the container."""
        start = container.read_until + 1
        items = self._items(container.bracket, self._text[start:end], start)
        if not items:
            raise msgspec.DecodeError(f"JSON is malformed: expected a value (byte {end})")
        if container.bracket == b"[":
            container.value += items
        else:
            container.value |= items
        container.read_until = end

    def _items(self, bracket: bytes, text: bytes, start: int) -> Any:
        try:
            return self._read(bracket + text + _BRACKETS[bracket])
        except msgspec.DecodeError as error:
            message = _BYTE.sub(lambda byte: f"(byte {int(byte[1]) - 1 + start})", str(error))
            raise msgspec.DecodeError(message) from None

    def _close(self, container: _Container, end: int) -> None:
        """Read the rest of a sliced container, and put it into the one around it."""
        if container.child_end is not None:
            self._expect_blank(container.child_end, end)
        elif container.value or self._text[container.read_until + 1 : end].strip(_WHITESPACE):
            self._take(container, end)
        self._sliced -= 1
        if self._open:
            around = self._open[-1]
            if around.bracket == b"[":
                around.value.append(container.value)
            else:
                around.value[container.key] = container.value
            around.child_end = end + 1

    def _expect_blank(self, start: int, end: int) -> None:
        if self._text[start:end].strip(_WHITESPACE):
            raise msgspec.DecodeError(f"JSON is malformed: trailing characters (byte {start})")
