"""Edits of a JSON text in place: everything else keeps its bytes, order, whitespace and number format.

The text was parsed before, so only the boundaries of values must be found. Nothing here recurses, because the text may
be nested as deeply as its parser allows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct

from sidecar.decoding.payload import json_or_problem
from sidecar.replay.edit.paths import Path, describe_missing_step
from sidecar.replay.models import UnsendableLetter

_SPACE = rb"[ \t\r\n]*"
_STRING = rb'"(?:[^"\\]++|\\.)*+"'
"""Possessive: the engine would remember every character of a string to go back to, a hundred bytes for each."""
_VALUE = re.compile(rb"(" + _STRING + rb")|([{\[])|[^ \t\r\n,\]}]+", re.DOTALL)
_NESTED = re.compile(_STRING + rb"|[{}\[\]]", re.DOTALL)
_BLANK = re.compile(_SPACE)
_NAME = re.compile(_SPACE + rb"(" + _STRING + rb")" + _SPACE + rb":" + _SPACE, re.DOTALL)
_OPENING, _CLOSING = b"{[", b"}]"


class _JsonMember(Struct, frozen=True):
    """A field of an object or an item of an array: the indexes of its begin, of its value and of its end."""

    step: str | int
    begin: int
    value: int
    end: int


def set_in_text(text: bytes, path: Path, value: bytes) -> bytes:
    """Set a value (JSON) at a path. Objects accept new names, arrays no new items. Raises UnsendableLetter."""
    at = _find_value(text, path[:-1])
    members, last = list(_iterate_members(text, at)), path[-1]
    same = [member for member in members if member.step == last]
    if same:
        return text[: same[-1].value] + value + text[same[-1].end :]
    if text[at : at + 1] != b"{" or not isinstance(last, str):
        raise UnsendableLetter(describe_missing_step(_decode_value(text, at), last))
    name = msgspec.json.encode(last)
    if not members:
        return text[: at + 1] + name + b":" + value + text[at + 1 :]
    final = members[-1]
    colon = text[members[0].begin : members[0].value].rpartition(b":")[2]
    comma = text[members[-2].end : final.begin] if len(members) > 1 else b"," + colon
    return text[: final.end] + comma + name + b":" + colon + value + text[final.end :]


def remove_from_text(text: bytes, path: Path) -> bytes:
    """Remove the value at a path; if an object repeats the name, every occurrence.

    Raises UnsendableLetter if there is none.
    """
    at = _find_value(text, path[:-1])
    members = list(_iterate_members(text, at))
    kept = [(n, member) for n, member in enumerate(members) if member.step != path[-1]]
    if len(kept) == len(members):
        raise UnsendableLetter(describe_missing_step(_decode_value(text, at), path[-1]))
    inside = [text[at + 1 : members[0].begin]]
    for number, (n, kept_member) in enumerate(kept):
        if number:
            inside.append(text[members[n - 1].end : kept_member.begin])
        inside.append(text[kept_member.begin : kept_member.end])
    return text[: at + 1] + b"".join(inside) + text[members[-1].end :]


def value_text(text: bytes, path: Path) -> bytes:
    """Return the text of the value at a path. Raises UnsendableLetter if there is none."""
    at = _find_value(text, path)
    return text[at : _find_end(text, at)]


def _find_value(text: bytes, path: Path) -> int:
    """Return the index where the value at a path begins."""
    at = _skip_blanks(text, 0)
    for step in path:
        places = [member.value for member in _iterate_members(text, at) if member.step == step]
        if not places:
            raise UnsendableLetter(describe_missing_step(_decode_value(text, at), step))
        at = places[-1]  # of a repeated name the last one counts, as for every reader
    return at


def _iterate_members(text: bytes, at: int) -> Iterator[_JsonMember]:
    """Iterate over the fields or items of the value at `at`; nothing for other values."""
    opening = text[at : at + 1]
    if not opening or opening not in _OPENING:
        return
    index, at = 0, _skip_blanks(text, at + 1)
    while text[at : at + 1] not in (b"}", b"]", b""):
        begin, step = at, index
        name: str | int = step
        if opening == b"{":
            match = _NAME.match(text, at)
            assert match is not None, "the text was read as JSON before"
            name, at = str(json_or_problem(match[1])[0]), match.end()
        end = _find_end(text, at)
        yield _JsonMember(name, begin, at, end)
        at = _skip_blanks(text, end)
        if text[at : at + 1] == b",":
            at = _skip_blanks(text, at + 1)
        index += 1


def _find_end(text: bytes, at: int) -> int:
    """Return the index after the value at `at`."""
    match = _VALUE.match(text, at)
    assert match is not None, "the text was read as JSON before"
    if match[2] is None:
        return match.end()
    depth = 0
    for token in _NESTED.finditer(text, at):
        first = token[0]
        depth += 1 if first in (b"{", b"[") else -1 if first in (b"}", b"]") else 0
        if depth == 0:
            return token.end()
    raise AssertionError("the value has no end, although the text was read as JSON before")


def _skip_blanks(text: bytes, at: int) -> int:
    match = _BLANK.match(text, at)
    return at if match is None else match.end()


def _decode_value(text: bytes, at: int) -> Any:
    return json_or_problem(text[at : _find_end(text, at)])[0]
