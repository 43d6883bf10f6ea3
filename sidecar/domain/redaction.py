"""What is never shown: `redact` of the configuration, applied where bodies, headers, ids and messages leave us.

A pattern is `header:NAME` or `body:PATH`. Header names compare without case. A path's segments are separated by dots,
lists are passed through (an index, `[2]`, `.2` or `[*]`, may be written), `*` stands for any part of one segment, and
what lies below a match is hidden with it. Where a value is not of the shape that the path expects (text instead of an
object), it is hidden whole: broken events are the ones that people look at. So are bytes that could not be decoded, as
soon as anything of a body is to be hidden.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import translate
from typing import Any

from msgspec.structs import replace

from sidecar.domain.failure_fingerprint import cause_fingerprint, normalize_message
from sidecar.domain.model import DeadLetter, Event, Headers, Record, Rejection

HIDDEN = "[redacted]"
_STEP = re.compile(r"[^.\[\]]+")
_DEEPEST = 150
"""Levels of nesting that are searched for hidden values; what lies deeper is hidden."""
_FOUND = re.compile(r"\bfound\b.*", re.DOTALL)

_Path = tuple[re.Pattern[str], ...]
KEY = "key"
_ABOUT_IDS = frozenset({"schema.unknown_id", "schema.wrong_subject"})
"""Codes whose messages tell of a schema's id and subjects, and of nothing that the event says."""
_LETTER_WORDS = frozenset({"event_id", "type", "aggregate_id"})


class Redactor:
    """Hides what the patterns name. `places` says where each word of an event (`event_id`, `aggregate_id`, …) is looked
    for; a word that may come from a hidden place is hidden as well."""

    def __init__(self, patterns: Sequence[str], places: Mapping[str, Sequence[str]] | None = None) -> None:
        self._body: list[_Path] = []
        self._headers: list[re.Pattern[str]] = []
        for pattern in patterns:
            kind, _, rest = pattern.partition(":")
            if kind == "header":
                self._headers.append(_compiled(rest, re.IGNORECASE))
            elif kind == "body":
                self._body.append(tuple(_compiled(segment) for segment in _segments(rest)))
        self.hidden_words = frozenset(
            word for word, where in (places or {}).items() if any(self._hides_place(place) for place in where)
        )
        """The words of an event that are not shown and cannot be searched for."""
        self.active = bool(self._body or self._headers)

    def headers(self, headers: Headers, *, flat: bool = False) -> Headers:
        """The headers with hidden values replaced. `flat`: they are the body, a Redis entry without a body field."""
        if not self.active:
            return headers
        return tuple((name, HIDDEN.encode() if self._hides_header(name, flat) else value) for name, value in headers)

    def body(self, value: Any) -> Any:
        """The decoded body with hidden values replaced."""
        return _hide(value, self._body) if self._body else value

    def raw(self, data: bytes | None) -> bytes | None:
        """Bytes that could not be decoded."""
        return data if data is None or not self._body else HIDDEN.encode()

    def record(self, record: Record) -> Record:
        """A record with its headers' hidden values replaced; the value stays as it is."""
        if not self.active:
            return record
        return replace(record, headers=self.headers(record.headers, flat=record.value is None))

    def event(self, event: Event) -> Event:
        """The event without hidden words, and with a message that quotes nothing hidden."""
        if not self.active:
            return event
        changes: dict[str, Any] = {}
        for word in self.hidden_words:
            if word == "occurred_at":
                changes[word] = None
            elif getattr(event, word, None) is not None:
                changes[word] = HIDDEN
        if "aggregate_id" in self.hidden_words and event.key is not None:
            changes[KEY] = HIDDEN
        if event.rejection is not None:
            changes["rejection"] = self.rejection(event.rejection)
        return replace(event, **changes) if changes else event

    def letter(self, letter: DeadLetter) -> DeadLetter:
        """The same for a dead letter; the key of its record too."""
        if not self.active:
            return letter
        message = self.message(letter.message, letter.path, letter.code)
        changes: dict[str, Any] = {"message": message}
        if message != letter.message:
            changes["cause"] = cause_fingerprint(letter)
        for word in self.hidden_words & _LETTER_WORDS:
            if getattr(letter, word) is not None:
                changes[word] = HIDDEN
        if "aggregate_id" in self.hidden_words and letter.record is not None and letter.record.key is not None:
            changes["record"] = replace(letter.record, key=HIDDEN.encode())
        return replace(letter, **changes)

    def touches(self, path: str) -> bool:
        """Whether something hidden lies at, above or below this path of a body."""
        return bool(self._body) and self._related(path)

    def rejection(self, rejection: Rejection) -> Rejection:
        message = self.message(rejection.message, rejection.path, rejection.code)
        return rejection if message == rejection.message else replace(rejection, message=message)

    def message(self, message: str, path: str | None, code: str) -> str:
        """The message, without what it quotes where that may be hidden."""
        if code in _ABOUT_IDS:
            return message
        about_body = bool(self._body) and (path is None or self._related(path))
        about_header = bool(self._headers) and not code.startswith(("schema.", "decode."))
        if not (about_body or about_header):
            return message
        return normalize_message(_FOUND.sub(f"found {HIDDEN}", message))

    def _related(self, path: str) -> bool:
        """Whether something hidden lies at, above or below the path."""
        return any(_leads(hidden, _segments(path), or_ends=True) for hidden in self._body)

    def _hides_place(self, place: str) -> bool:
        kind, _, rest = place.partition(":")
        if kind == "header":
            return any(pattern.match(rest) for pattern in self._headers)
        return kind == "body" and any(_leads(hidden, _segments(rest)) for hidden in self._body)

    def _hides_header(self, name: str, flat: bool) -> bool:
        if any(pattern.match(name) for pattern in self._headers):
            return True
        return flat and any(hidden[0].match(name) for hidden in self._body)


def _compiled(pattern: str, flags: int = 0) -> re.Pattern[str]:
    return re.compile(translate(pattern), flags)


def _segments(path: str) -> list[str]:
    return _STEP.findall(path) or ["*"]


def _leads(hidden: _Path, segments: Sequence[str], *, or_ends: bool = False) -> bool:
    """Whether the hidden path is at or above these segments, of which list indexes may be passed over; `or_ends`: also
    where it goes on below them."""
    reached = {0}
    for segment in segments:
        ahead = {at + 1 for at in reached if hidden[at].match(segment)}
        if len(hidden) in ahead:
            return True
        reached = ahead | (reached if segment.isdecimal() else set())
    return or_ends and bool(reached)


def _hide(value: Any, paths: Sequence[_Path], depth: int = 0) -> Any:
    """`value` without what the paths, which all begin here, lead to."""
    if depth >= _DEEPEST:
        return HIDDEN
    if isinstance(value, Mapping):
        return {name: _hide_part(str(name), item, (), paths, depth + 1) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_hide_part(str(at), item, paths, paths, depth + 1) for at, item in enumerate(value)]
    return value if value is None else HIDDEN


def _hide_part(name: str, value: Any, through: Sequence[_Path], paths: Sequence[_Path], depth: int) -> Any:
    """A field or an item. `through`: the paths that go on here as if this were no step."""
    rest = [path[1:] for path in paths if path[0].match(name)]
    if any(not path for path in rest):
        return HIDDEN
    rest = list(dict.fromkeys((*through, *rest)))
    return _hide(value, rest, depth) if rest else value
