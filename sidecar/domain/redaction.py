"""Redaction of the parts that the configuration's `redact` names, at each exit of events and dead letters.

A pattern is `header:NAME` or `body:PATH` (`sidecar.domain.json_path`). Header names compare without case, names of
fields in their Unicode normal form. Patterns pass through lists, `*` matches any part of one name, and everything below
a match is hidden with it, including names of map keys in paths. If a value does not have the shape that the path
expects (text instead of an object), it is hidden as a whole, because broken events are the ones that people look at. So
are bytes that cannot be decoded and paths that cannot be parsed, once any part of a body is redacted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from sidecar.domain.failure_fingerprint import cause_fingerprint, normalize_message
from sidecar.domain.json_path import InvalidPath, JsonPath, PathPattern, is_union_tag, name_test, normal_form
from sidecar.domain.model import DeadLetter, Event, Headers, Record, Rejection

HIDDEN = "[redacted]"
MAX_SEARCHED_DEPTH = 150
"""Levels of nesting that are searched for hidden values. Deeper values are hidden."""
_FOUND = re.compile(r"\bfound\b.*", re.DOTALL)
KEY = "key"
_TYPE_NAME = re.compile(r"[A-Za-z_$][\w$]*(?:[.:$]+[A-Za-z_$][\w$]*)*")
"""The name of an exception's type, as all languages write it: nothing that could be a value."""
_SCHEMA_ID_CODES = frozenset({"schema.unknown_id", "schema.wrong_subject"})
"""Codes whose messages name a schema id and subjects, and nothing of the event."""
_REPORTED = "reported."
"""The stage of failures that services report: other programs wrote their messages."""
_EXCEPTION_TYPE = re.compile(r"(?:[A-Za-z_$][\w$]*[.:]+)*[A-Za-z_$][\w$]*(?:Exception|Error|Fault|Failure)(?=:|\Z)")
_JOINING_FIELDS = frozenset({"event_id", "correlation_id", "causation_id"})
_LETTER_FIELDS = frozenset({"event_id", "type", "aggregate_id"})
_Tests = tuple[re.Pattern[str], ...]


class Redactor:
    """Redaction by the patterns of the configuration.

    `places` lists the locations of each field of an event (`event_id`, `aggregate_id`, …). A field that may come from a
    hidden location is hidden as well. With `free_text`, messages and stack traces of other programs are hidden too,
    once there is a pattern.
    """

    def __init__(
        self,
        patterns: Sequence[str],
        places: Mapping[str, Sequence[str]] | None = None,
        *,
        free_text: bool = True,
    ) -> None:
        self._body: list[PathPattern] = []
        self._headers: list[re.Pattern[str]] = []
        for pattern in patterns:
            kind, _, rest = pattern.partition(":")
            if kind == "header":
                self._headers.append(name_test(rest.casefold()))
            elif kind == "body":
                self._body.append(PathPattern.parse(rest))
        self._tests: list[_Tests] = [pattern.tests for pattern in self._body]
        self._flat: list[_Tests] = [*self._tests, *((test,) for test in self._headers)]
        """The patterns of a flat Redis entry, whose fields are headers and body alike."""
        self.hidden_words = frozenset(
            word for word, where in (places or {}).items() if any(self._hides_place(place) for place in where)
        )
        """Fields of an event that are not shown and cannot be searched."""
        self.active = bool(self._body or self._headers)
        self.hides_free_text = self.active and free_text
        """True if messages and stack traces of other programs are hidden."""

    @property
    def hides_keys(self) -> bool:
        """True if keys of records may contain a hidden value: they are not shown and cannot be searched."""
        return "aggregate_id" in self.hidden_words

    def headers(self, headers: Headers, *, flat: bool = False) -> Headers:
        """Replace the hidden values of headers. `flat`: they are the body of a Redis entry without a body field."""
        if not self.active:
            return headers
        return tuple((name, HIDDEN.encode() if self._hides_header(name, flat) else value) for name, value in headers)

    def body(self, value: Any, *, flat: bool = False) -> Any:
        """Replace the hidden values of a decoded body. `flat`: it is a Redis entry without a body field."""
        if flat:
            if not self.active or not isinstance(value, Mapping):
                return value
            return {
                name: item if item is None or not self._hides_header(str(name), flat=True) else HIDDEN
                for name, item in value.items()
            }
        return _hide(value, self._tests) if self._tests else value

    def raw(self, data: bytes | None) -> bytes | None:
        """Return bytes that could not be decoded; hidden if any part of a body is."""
        return data if data is None or not self._body else HIDDEN.encode()

    def record(self, record: Record) -> Record:
        """Replace the hidden header values of a record. The value stays as it is."""
        if not self.active:
            return record
        return replace(record, headers=self.headers(record.headers, flat=record.value is None))

    def event(self, event: Event) -> Event:
        """Return the event without hidden fields. Its path and message quote no hidden value."""
        if not self.active:
            return event
        changes: dict[str, Any] = {}
        for word in self.hidden_words:
            if word == "occurred_at":
                changes[word] = None
            elif getattr(event, word, None) is not None:
                changes[word] = HIDDEN
        if self.hides_keys and event.key is not None:
            changes[KEY] = HIDDEN
        if event.rejection is not None:
            changes["rejection"] = self.rejection(event.rejection)
        return replace(event, **changes) if changes else event

    def stored_event(self, event: Event) -> Event:
        """Return the event in the form that other processes may store.

        Hidden fields are omitted, not masked: equal masks would look like one aggregate or one producer. Ids that join
        events into flows are kept, because correlation needs them.
        """
        words = self.hidden_words - _JOINING_FIELDS
        if not words and event.rejection is None:
            return event
        changes: dict[str, Any] = dict.fromkeys(words)
        if self.hides_keys:
            changes[KEY] = None
        if event.rejection is not None:
            changes["rejection"] = self.rejection(event.rejection)
        return replace(event, **changes)

    def archived_event(self, event: Event) -> Event:
        """Return the event as files may keep it for weeks, without any hidden field.

        Ids that join events are left out too where they are hidden, unlike in `stored_event`.
        """
        stored = self.stored_event(event)
        words = self.hidden_words & _JOINING_FIELDS
        return replace(stored, **dict.fromkeys(words)) if words else stored

    def letter(self, letter: DeadLetter) -> DeadLetter:
        """Return the dead letter without hidden fields and keys. Its path and texts quote no hidden value."""
        if not self.active:
            return letter
        message, path = self.letter_message(letter), self.path(letter.path)
        changes: dict[str, Any] = {"message": message, "path": path}
        root = letter.root_cause
        if message != letter.message or path != letter.path or (root is not None and self.hides_free_text):
            changes["cause"] = cause_fingerprint(letter)
        if self.hides_free_text:
            changes["stacktrace"] = None
            changes["root_cause"] = None if root is None else replace(root, type=_shown_type(root.type), message=None)
        for word in self.hidden_words & _LETTER_FIELDS:
            if getattr(letter, word) is not None:
                changes[word] = HIDDEN
        if self.hides_keys and letter.record is not None and letter.record.key is not None:
            changes["record"] = replace(letter.record, key=HIDDEN.encode())
        return replace(letter, **changes)

    def letter_message(self, letter: DeadLetter) -> str:
        """Return the message of a dead letter without hidden values."""
        if letter.dialect != "tracecar" and self.hides_free_text:
            return _without_text(letter.message)
        return self.message(letter.message, letter.path, letter.code)

    def touches(self, path: str) -> bool:
        """Check whether a hidden value is at, above or below this path of a body or of a flat Redis entry.

        A path that cannot be parsed counts as hidden.
        """
        return self.active and self._is_related(path)

    def path(self, path: str | None) -> str | None:
        """Return the path without the names below a hidden place. A path that cannot be parsed is hidden whole."""
        if path is None or not self.active:
            return path
        try:
            parsed = JsonPath.parse(path)
        except InvalidPath:
            return HIDDEN
        if parsed.is_cut:
            return HIDDEN
        matched = [n for pattern in self._body if (n := pattern.matched_steps(parsed)) is not None]
        if not matched or min(matched) == len(parsed.steps):
            return path
        return str(JsonPath((*parsed.steps[: min(matched)], HIDDEN)))

    def rejection(self, rejection: Rejection) -> Rejection:
        """Return the rejection with a path and a message that quote no hidden value."""
        message = self.message(rejection.message, rejection.path, rejection.code)
        path = self.path(rejection.path)
        if message == rejection.message and path == rejection.path:
            return rejection
        return replace(rejection, message=message, path=path)

    def message(self, message: str, path: str | None, code: str) -> str:
        """Return a message without the values that it quotes, if they may be hidden."""
        if code in _SCHEMA_ID_CODES or not self.active:
            return message
        if code.startswith(_REPORTED) and self.hides_free_text:
            return _without_text(message)
        whole = path is None or code.startswith("envelope.")
        about_body = (bool(self._body) and whole) or (path is not None and self._is_related(path))
        about_header = bool(self._headers) and not code.startswith(("schema.", "decode."))
        if not (about_body or about_header):
            return message
        shown = self.path(path)
        if path is not None and shown is not None and shown != path:
            message = message.replace(path, shown)
        return normalize_message(_FOUND.sub(f"found {HIDDEN}", message))

    def _is_related(self, path: str) -> bool:
        """Return True if something hidden is at, above or below the path."""
        try:
            parsed = JsonPath.parse(path)
        except InvalidPath:
            return True
        if any(hidden.is_related(parsed) for hidden in self._body):
            return True
        return bool(self._headers) and (parsed.is_cut or self._hides_header(str(parsed.steps[0]), flat=False))

    def _hides_place(self, place: str) -> bool:
        kind, _, rest = place.partition(":")
        if kind not in ("header", "body"):
            return False
        try:
            parsed = JsonPath((rest,)) if kind == "header" else JsonPath.parse(rest)
        except InvalidPath:
            return bool(self._body)
        # A field of a flat Redis entry is header and body alike.
        if len(parsed.steps) == 1 and self._hides_header(str(parsed.steps[0]), flat=False):
            return True
        return any(hidden.covers(parsed) for hidden in self._body)

    def _hides_header(self, name: str, flat: bool) -> bool:
        folded = normal_form(name.casefold())
        if any(pattern.match(folded) for pattern in self._headers):
            return True
        return flat and any(hidden[0].match(normal_form(name)) for hidden in self._tests)


def _shown_type(name: str) -> str:
    return name if _TYPE_NAME.fullmatch(name) else HIDDEN


def _without_text(message: str) -> str:
    """Cut the text from a message of another program: only the type of an exception is kept."""
    exception = _EXCEPTION_TYPE.match(message)
    if exception is None:
        return HIDDEN if message else ""
    return message if exception.end() == len(message) else f"{exception[0]}: {HIDDEN}"


def _hide(value: Any, paths: Sequence[_Tests], depth: int = 0) -> Any:
    """`value` without what the paths, which all begin here, lead to."""
    if depth >= MAX_SEARCHED_DEPTH:
        return HIDDEN
    if isinstance(value, Mapping):
        tagged = len(value) == 1 and depth > 0
        return {
            name: _hide_part(str(name), item, paths if tagged and _is_branch(name, item) else (), paths, depth + 1)
            for name, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_hide_part(str(at), item, paths, paths, depth + 1) for at, item in enumerate(value)]
    return value if value is None else HIDDEN


def _is_branch(name: Any, value: Any) -> bool:
    """Return True if a field may be the branch of a union, as Avro's JSON encoding writes it around a value."""
    return is_union_tag(str(name)) and (isinstance(value, Mapping | list) or not str(name)[:1].isupper())


def _hide_part(name: str, value: Any, through: Sequence[_Tests], paths: Sequence[_Tests], depth: int) -> Any:
    """Hide parts of a field or an item. `through`: the paths that continue here as if this were no step."""
    name = normal_form(name)
    rest = [path[1:] for path in paths if path[0].match(name)]
    if any(not path for path in rest):
        return HIDDEN
    rest = list(dict.fromkeys((*through, *rest)))
    return _hide(value, rest, depth) if rest else value
