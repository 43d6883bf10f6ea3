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

import msgspec
from msgspec.structs import replace

from sidecar.domain.derived_ids import mask_id
from sidecar.domain.failure_fingerprint import cause_fingerprint, normalize_message
from sidecar.domain.json_path import InvalidPath, JsonPath, PathPattern, is_union_tag, name_test, normal_form
from sidecar.domain.model import DeadLetter, Event, Headers, Record, Rejection
from sidecar.domain.transport_fields import (
    FASTSTREAM_FIELD,
    WATERMILL_BODY_FIELD,
    WATERMILL_ID_FIELD,
    WATERMILL_METADATA_FIELD,
)

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
_WRAPPERS = (("payload",), ("before",), ("after",), ("payload", "before"), ("payload", "after"))
"""Places of the event in what Kafka Connect and Debezium write around it: patterns apply there as well."""
_WRAPPER_NAMES = frozenset(steps[0] for steps in _WRAPPERS)
_WRAPPING_FIELDS = frozenset({FASTSTREAM_FIELD, WATERMILL_ID_FIELD})
_WRAPPED_FIELDS = frozenset({FASTSTREAM_FIELD, WATERMILL_METADATA_FIELD, WATERMILL_BODY_FIELD})
"""Fields of Redis entries into which frameworks write a message with headers and body."""
_BINARY_DATA = {"data_base64": "data"}
"""Fields of a CloudEvent that hold another field in other form."""
_FAILURE_TEXT = re.compile(
    r"stack|traceback|tracecar\.message\Z"
    r"|(?:exception|error|fault|failure|poison|dead.?letter|reject).*(?:message|reason|cause|descri|detail|text|info)"
    r"|(?:message|reason|cause|descri|detail|text|info).*(?:exception|error|fault|failure|poison|dead.?letter|reject)"
    r"|(?:exception|error|fault|failure|reason|cause)\Z"
)
"""Names of headers in which frameworks write about a failure in words, which often quote the event."""
_LETTER_FIELDS = frozenset({"event_id", "type", "aggregate_id"})
_Tests = tuple[re.Pattern[str], ...]
_ANY_NAME = name_test("*").pattern
_PAYLOAD = name_test("payload")


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
        self._firsts: list[re.Pattern[str]] = []
        """The first name of each pattern: a field of a flat entry that begins with it is hidden whole."""
        for pattern in patterns:
            kind, _, rest = pattern.partition(":")
            if kind == "header":
                self._headers.append(name_test(rest.casefold()))
            elif kind == "body":
                tests = PathPattern.parse(rest).tests
                self._firsts.append(tests[0])
                self._body.append(PathPattern(tests))
                self._body += [PathPattern((*map(name_test, steps), *tests)) for steps in _WRAPPERS]
        self._tests: list[_Tests] = [pattern.tests for pattern in self._body]
        last = [_last_name(pattern.tests) for pattern in self._body]
        self._last_tests: list[_Tests] = [tests for name in last for tests in ((name,), (_PAYLOAD, name))]
        """The fields that the patterns lead to, wherever they stand: in keys of records, which hold a few of them."""
        self.hidden_words = frozenset(
            word for word, where in (places or {}).items() if any(self.hides_place(place) for place in where)
        )
        """Fields of an event that are not shown and cannot be searched."""
        self.active = bool(self._body or self._headers)
        self.hides_free_text = self.active and free_text
        """True if messages and stack traces of other programs are hidden."""

    def hides_place(self, place: str) -> bool:
        """Check whether a location, `header:NAME` or `body:PATH`, holds hidden values."""
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

    @property
    def hides_keys(self) -> bool:
        """True if keys of records may contain a hidden value: they are not shown and cannot be searched."""
        return "aggregate_id" in self.hidden_words

    def hides_key_bytes(self, key: bytes) -> bool:
        """Check whether a record's key may hold a hidden value."""
        if not self.active:
            return False
        start = next((at for at in (0, 5, 9) if key[at : at + 1] in (b"{", b"[")), 0)  # behind a schema id
        return self._hides_key(key[start:].decode("utf-8", "replace"))

    def _hides_key(self, key: str | None) -> bool:
        """Check whether a key may hold a hidden value: as the place of one, or as JSON with a field of that name."""
        if self.hides_keys:
            return True
        if not self._tests or key is None or key[:1] not in ("{", "["):
            return False
        try:
            fields = msgspec.json.decode(key)
        except (msgspec.DecodeError, RecursionError):
            return True  # it was cut
        return bool(_hide(fields, self._tests) != fields or _hide(fields, self._last_tests) != fields)

    def headers(self, headers: Headers, *, flat: bool = False) -> Headers:
        """Replace the hidden values of headers. `flat`: they are the body of a Redis entry without a body field."""
        if not self.active:
            return headers
        wrapped = not _WRAPPING_FIELDS.isdisjoint(name for name, _ in headers)
        return tuple(
            (name, HIDDEN.encode() if self._hides_value(name, value, flat, wrapped) else value)
            for name, value in headers
        )

    def _hides_field(self, name: str, value: Any) -> bool:
        """Check whether a field of a flat entry is hidden. JSON text that may be written around an event is."""
        if self._hides_header(name, flat=True):
            return True
        is_json = isinstance(value, str | bytes) and value[:1] in ("{", "[", b"{", b"[")
        return bool(self._body) and is_json and name in _WRAPPER_NAMES

    def _hides_value(self, name: str, value: bytes | None, flat: bool, wrapped: bool) -> bool:
        if self._hides_header(name, flat) or (wrapped and name in _WRAPPED_FIELDS):
            return True
        if flat and self._hides_field(name, value):
            return True
        return value is not None and self.hides_free_text and tells_of_failure(name) and not _is_type_name(value)

    def body(self, value: Any, *, flat: bool = False) -> Any:
        """Replace the hidden values of a decoded body. `flat`: it is a Redis entry without a body field."""
        if flat:
            if not self.active or not isinstance(value, Mapping):
                return value
            return {
                name: HIDDEN if item is not None and self._hides_field(str(name), item) else item
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
        if event.key is not None and self._hides_key(event.key):
            changes[KEY] = HIDDEN
            if event.aggregate_id is not None and event.aggregate_id in event.key:
                changes["aggregate_id"] = HIDDEN
        if event.rejection is not None:
            changes["rejection"] = self.rejection(event.rejection)
        return replace(event, **changes) if changes else event

    def stored_event(self, event: Event) -> Event:
        """Return the event in the form that other processes may store.

        Hidden fields are omitted, not masked: equal masks would look like one aggregate or one producer. Ids that join
        events into flows are replaced by hashes, all of them if any is hidden, because they hold one another's values.
        """
        stored = self._without_hidden(event, self.hidden_words - _JOINING_FIELDS)
        if self.hidden_words.isdisjoint(_JOINING_FIELDS):
            return stored
        ids = {word: getattr(event, word) for word in _JOINING_FIELDS}
        return replace(stored, **{word: None if id is None else mask_id(id) for word, id in ids.items()})

    def _without_hidden(self, event: Event, words: frozenset[str]) -> Event:
        """Return the event without some fields, without a key that may hold a hidden value, and with safe texts."""
        hides_key = self._hides_key(event.key)
        if not words and not hides_key and event.rejection is None:
            return event
        changes: dict[str, Any] = dict.fromkeys(words)
        if hides_key:
            changes[KEY] = None
            if event.aggregate_id is not None and event.aggregate_id in (event.key or ""):
                changes["aggregate_id"] = None
        if event.rejection is not None:
            changes["rejection"] = self.rejection(event.rejection)
        return replace(event, **changes)

    def archived_event(self, event: Event) -> Event:
        """Return the event as files may keep it for weeks, without any hidden field."""
        return self._without_hidden(event, self.hidden_words)

    def described_event(self, event: Event) -> Event:
        """Return a rejected event in the form in which its dead letter describes it.

        The record in the dead letter stays as it is. The headers beside it quote no hidden value.
        """
        return self.stored_event(event) if self.active else event

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
        record = letter.record
        if record is not None and record.key is not None and self.hides_key_bytes(record.key):
            changes["record"] = replace(record, key=HIDDEN.encode())
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

    def _hides_header(self, name: str, flat: bool) -> bool:
        folded = normal_form(name.casefold())
        if any(pattern.match(folded) for pattern in self._headers):
            return True
        return flat and any(first.match(normal_form(name)) for first in self._firsts)


def _last_name(tests: _Tests) -> re.Pattern[str]:
    """Return the last test that is for a name: `card` of `card.*`."""
    return next((test for test in reversed(tests) if test.pattern != _ANY_NAME), tests[-1])


def tells_of_failure(name: str) -> bool:
    """Check whether a header, by its name, says in words why a record failed."""
    return _FAILURE_TEXT.search(name.casefold()) is not None


def _is_type_name(value: bytes) -> bool:
    return _TYPE_NAME.fullmatch(value[:500].decode("utf-8", "replace")) is not None and b"." in value


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
    if name in _BINARY_DATA and any(path[0].match(_BINARY_DATA[name]) for path in paths):
        return value if value is None else HIDDEN
    rest = list(dict.fromkeys((*through, *rest)))
    return _hide(value, rest, depth) if rest else value
