"""Fields of queries: their values, and their sources in events and dead letters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sidecar.domain.failure_fingerprint import cause_fingerprint
from sidecar.domain.model import DeadLetter, SchemaRef
from sidecar.domain.ports.index import Node

STATUSES = ("ok", "unchecked", "replayed", "duplicate", "rejected")
SAGA_STATES = ("running", "completed", "compensated", "failed", "stuck")
STATES = ("open", "replaying", "replayed", "returned", "parked", "discarded")
STAGES = ("decode", "schema", "envelope", "reported", "delivery")
CODES = (
    "decode.truncated",
    "decode.trailing_bytes",
    "decode.malformed",
    "decode.limit",
    "schema.unknown_id",
    "schema.unknown_subject",
    "schema.wrong_subject",
    "schema.unknown_version",
    "schema.mismatch",
    "envelope.missing",
    "envelope.invalid",
    "reported.error",
    "delivery.exhausted",
    "delivery.refused",
)

Found = str | tuple[str, ...] | None
"""A text; several texts, of which one must match; or None."""


@dataclass(frozen=True, slots=True)
class QueryField:
    """A field of events and dead letters."""

    name: str
    about: str
    """Description for users, shown in completions."""
    event: Callable[[Node], Found]
    letter: Callable[[DeadLetter], Found]
    values: tuple[str, ...] = ()
    """All possible values; empty: any value."""
    ordered: bool = False
    """True if the field can be compared with `>` and the like."""


def _hex(trace_id: int) -> str:
    return f"{trace_id:032x}"


def _number(partition: int | None) -> str | None:
    return None if partition is None else str(partition)


def _schema(ref: SchemaRef | None) -> tuple[str, ...]:
    if ref is None:
        return ()
    names = [ref.subject, ref.guid, None if ref.id is None else str(ref.id)]
    if ref.subject is not None and ref.version is not None:
        names += [f"{ref.subject}:v{ref.version}", f"{ref.subject}:{ref.version}"]
    return tuple(name for name in names if name is not None)


def _letter_key(letter: DeadLetter) -> str | None:
    key = letter.record.key if letter.record else None
    return None if key is None else key.decode("utf-8", "backslashreplace")


def _root_cause(letter: DeadLetter) -> str | None:
    root = letter.root_cause
    return None if root is None else f"{root.type}: {root.message}" if root.message else root.type


def _positions(letter: DeadLetter) -> tuple[str, ...]:
    return (str(letter.position),) if letter.origin is None else (str(letter.origin), str(letter.position))


_ALL = (
    QueryField("stream", "the topic or stream", lambda n: n.event.position.stream, lambda d: d.stream),
    QueryField("type", "the event's type", lambda n: n.event.type, lambda d: d.type),
    QueryField("version", "the event's version", lambda n: n.event.version, lambda d: None, ordered=True),
    QueryField("event", "the event's id", lambda n: n.event.event_id, lambda d: d.event_id),
    QueryField("trace", "the trace id, in hex", lambda n: _hex(n.trace_id), lambda d: d.trace_id),
    QueryField(
        "aggregate", "the aggregate's id", lambda n: n.event.aggregate_id, lambda d: d.aggregate_id, ordered=True
    ),
    QueryField("correlation", "the correlation id", lambda n: n.event.correlation_id, lambda d: None),
    QueryField("causation", "the id of the event that caused it", lambda n: n.event.causation_id, lambda d: None),
    QueryField("producer", "who published it", lambda n: n.event.producer, lambda d: None),
    QueryField("status", "the status of the event", lambda n: n.status, lambda d: "rejected", STATUSES),
    QueryField(
        "code",
        "the code of the rejection",
        lambda n: n.event.rejection.code if n.event.rejection else None,
        lambda d: d.code,
        CODES,
    ),
    QueryField(
        "stage",
        "where it failed",
        lambda n: n.event.rejection.stage if n.event.rejection else None,
        lambda d: d.stage,
        STAGES,
    ),
    QueryField("group", "the consumer group of a dead letter", lambda n: None, lambda d: d.group),
    QueryField("cause", "the cause of a dead letter, by its fingerprint", lambda n: None, cause_fingerprint),
    QueryField("message", "the text of a dead letter's error", lambda n: None, lambda d: d.message),
    QueryField("root_cause", "the innermost exception behind a dead letter", lambda n: None, _root_cause),
    QueryField("stacktrace", "the stack trace of a dead letter", lambda n: None, lambda d: d.stacktrace),
    QueryField(
        "state",
        "the state of a dead letter or of a saga",
        lambda n: None,
        lambda d: d.state,
        (*STATES, *SAGA_STATES),
    ),
    QueryField("saga", "the name of a saga, as declared in the configuration", lambda n: None, lambda d: None),
    QueryField("dialect", "the framework that wrote a dead letter", lambda n: None, lambda d: d.dialect),
    QueryField(
        "schema",
        "SUBJECT, SUBJECT:v3, a schema id or GUID",
        lambda n: _schema(n.event.schema),
        lambda d: _schema(d.schema),
    ),
    QueryField("key", "the record's key", lambda n: n.event.key, _letter_key, ordered=True),
    QueryField("position", "such as kafka://orders/0/4711", lambda n: str(n.event.position), _positions),
    QueryField(
        "partition",
        "the partition's number",
        lambda n: str(n.event.position.partition),
        lambda d: _number(d.origin.partition if d.origin else None),
        ordered=True,
    ),
)
FIELDS: Mapping[str, QueryField] = {field.name: field for field in _ALL}
SPECIAL: Mapping[str, str] = {
    "header.": "a header, by name",
    "body.": "a value in the body, by path: body.data.items.qty",
    "since": "not older than a duration (15m) or a time",
    "until": "older than a duration or a time",
}
"""Fields that are not plain values, with their descriptions."""
ALIASES: Mapping[str, str] = {
    "event_id": "event",
    "trace_id": "trace",
    "aggregate_id": "aggregate",
    "correlation_id": "correlation",
    "causation_id": "causation",
}
"""Names in the JSON of events that are accepted instead of a field's name."""


def event_ids(node: Node) -> tuple[str | None, ...]:
    """List the ids of an event with which a bare word is compared."""
    event = node.event
    return (
        event.event_id,
        event.aggregate_id,
        event.correlation_id,
        event.causation_id,
        event.key,
        _hex(node.trace_id),
        str(event.position),
    )


def letter_ids(letter: DeadLetter) -> tuple[str | None, ...]:
    """List the ids of a dead letter with which a bare word is compared."""
    return (
        letter.id,
        letter.event_id,
        letter.aggregate_id,
        letter.trace_id,
        _letter_key(letter),
        *_positions(letter),
    )


def event_time(node: Node) -> int | None:
    """Return the append time in milliseconds."""
    return node.event.appended_at


def letter_time(letter: DeadLetter) -> int | None:
    """Return the time of failure in milliseconds; if unknown, the append time of the origin."""
    return letter.origin_timestamp if letter.failed_at is None else letter.failed_at // 1000
