"""Tracecar's own dead-letter headers, written after the record's own, which stay first and unchanged."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec

from sidecar.dead_letters.dialects.dialect import Dialect
from sidecar.dead_letters.dialects.foreign import header_prefixes
from sidecar.dead_letters.root_cause import parse_root_cause
from sidecar.domain.model import DeadLetter, Decoded, Headers, Record, SchemaRef
from sidecar.domain.position import SCHEME, Position
from sidecar.domain.timestamps import format_rfc3339, parse_rfc3339

PREFIX = "tracecar."
ID_HEADER = "tracecar.dead-letter-id"
STREAM_HEADER = "tracecar.stream"
"""Stream of a reported record that has no position."""
STACKTRACE_HEADER = "tracecar.stacktrace"
CAUSE_HEADER = "tracecar.cause"
"""Fingerprint of the cause, of a letter whose words are redacted."""
UNKNOWN_TIMESTAMP_MS = -1
"""Timestamp of a reported record that has neither a position nor a time."""
OMITTED_HEADER = "tracecar.omitted"
"""Parts (`body`, `headers`, `key`) that the broker refused for their size. The origin still has them."""

REPLAY_ID = "tracecar.replay-id"
REPLAY_OF = "tracecar.replay-of"
REPLAY_ATTEMPT = "tracecar.replay-attempt"
REPLAY_GROUP = "tracecar.replay-group"
"""Links a replayed record, and the dead letter of one that failed again, to the earlier failure."""

DIALECTS_HEADER = "tracecar.dialects"
"""Dialects whose headers were written beside ours, and therefore do not belong to the record."""

_REPLAY_HEADERS = (REPLAY_ID, REPLAY_OF, REPLAY_ATTEMPT, REPLAY_GROUP)
_SCHEMA_DECODER = msgspec.json.Decoder(SchemaRef)
_CAUSE = re.compile(r"[0-9a-f]{12}")
_GROUP_OF_ID = re.compile(rf"(.*)@{SCHEME}://|(.*?)@sha256:", re.DOTALL)
MAX_HEADER_BYTES = 8_192
"""Longest header value to read, except stack traces."""
MAX_STACKTRACE_BYTES = 262_144
MAX_MESSAGE_CHARACTERS = 2_000


def own_headers(headers: Headers, dialects: Sequence[str] = ()) -> Headers:
    """Return the record's own headers: without earlier `tracecar.*` ones and those of the `dialects` that are written.

    Without this, headers would accumulate with each failure.
    """
    added = (PREFIX, *header_prefixes(dialects))
    return tuple([header for header in headers if not header[0].startswith(added)])


def attempt_number(headers: Headers) -> int:
    """Return the number of this attempt: one more than the number of the record's replays."""
    return replay_count(dict(headers)) + 1


def replay_count(facts: Mapping[str, bytes | None]) -> int:
    """Return the number of earlier replays of the record, from its headers."""
    count = text(facts.get(REPLAY_ATTEMPT))
    return int(count) if count and count.isascii() and count.isdigit() and len(count) < 7 else 0


def add_replay_facts(letter: DeadLetter, headers: Headers) -> DeadLetter:
    """Set the replay that the failed record came from, in a dead letter of any dialect."""
    facts = {name: value for name, value in headers if name.startswith("tracecar.replay-")}
    if facts:
        letter.replay_of = text(facts.get(REPLAY_OF))
        letter.replay_id = text(facts.get(REPLAY_ID))
        letter.replays = replay_count(facts)
    return letter


def build_replay_headers(id: str, letter: str, attempt: int, group: str | None) -> Headers:
    """Build the headers that a replayed record carries after its own.

    Args:
        id: Id of the replay.
        letter: Id of the dead letter that is replayed.
        attempt: Number of replays, this one included.
        group: Consumer group that the replay is for, if it is for only one.
    """
    headers = [(REPLAY_ID, id), (REPLAY_OF, letter), (REPLAY_ATTEMPT, str(attempt))]
    if group is not None:
        headers.append((REPLAY_GROUP, group))
    return tuple([(name, value.encode("utf-8", "backslashreplace")) for name, value in headers])


def write(
    decoded: Decoded,
    group: str,
    service: str,
    failed_at: int,
    *,
    attempts: int | None = None,
    digest: str | None = None,
) -> Headers:
    """Build the headers that a dead letter of this rejected record has beyond the record's own.

    Absent facts have no header.

    Args:
        decoded: The rejected record.
        group: Consumer group that could not process it.
        service: Service of this sidecar.
        failed_at: Microseconds since 1970.
        attempts: Number of attempts, if the reporter counted them.
        digest: Replaces the position in the id of a dead letter whose record has no position.
    """
    event, record, rejection = decoded.event, decoded.record, decoded.event.rejection
    assert rejection is not None, "only a rejected record has a dead letter"
    is_timeless = digest is not None and record.timestamp == UNKNOWN_TIMESTAMP_MS
    fields: list[tuple[str, str | None]] = [
        (ID_HEADER, f"{group}@{digest or record.position}"),
        ("tracecar.stage", rejection.stage),
        ("tracecar.code", rejection.code),
        ("tracecar.message", rejection.message[:MAX_MESSAGE_CHARACTERS]),
        ("tracecar.path", rejection.path),
        ("tracecar.failed-at", format_rfc3339(failed_at)),
        ("tracecar.service", service),
        ("tracecar.attempts", str(attempts or attempt_number(record.headers))),
        ("tracecar.origin", None if digest else str(record.position)),
        (STREAM_HEADER, record.position.stream if digest else None),
        ("tracecar.origin-timestamp", None if is_timeless else str(record.timestamp)),
        ("tracecar.event-id", event.event_id),
        ("tracecar.event-type", event.type),
        ("tracecar.trace-id", None if event.trace_id is None else f"{event.trace_id:032x}"),
        ("tracecar.aggregate-id", event.aggregate_id),
        ("tracecar.schema", None if event.schema is None else msgspec.json.encode(event.schema).decode()),
    ]
    headers = [(name, value.encode("utf-8", "backslashreplace")) for name, value in fields if value is not None]
    if event.replay_of is not None:
        headers += [(name, value) for name, value in record.headers if name in _REPLAY_HEADERS and value is not None]
    return tuple(dict(headers).items())


def read(letter: Record) -> DeadLetter | None:
    """Read the dead letter that our headers describe; None if they are missing.

    Anyone who can write to the stream can write anything, so headers that do not parse count as absent.
    """
    facts = {
        name: value[:MAX_HEADER_BYTES].decode("utf-8", "replace")
        for name, value in letter.headers
        if value is not None and name.startswith(PREFIX)
    }
    get = facts.get
    id = get(ID_HEADER)
    if not id:
        return None
    origin, timestamp = _position(get("tracecar.origin")), _int(get("tracecar.origin-timestamp"))
    own: Headers = tuple([header for header in letter.headers if not header[0].startswith(PREFIX)])
    if DIALECTS_HEADER in facts:
        own = own_headers(own, parse_list(facts[DIALECTS_HEADER]))
    stacktrace = _stacktrace(letter.headers) if STACKTRACE_HEADER in facts else None
    result = DeadLetter(
        id=id,
        position=letter.position,
        origin=origin,
        origin_timestamp=timestamp,
        stream=origin.stream if origin else get(STREAM_HEADER) or letter.position.stream,
        group=(id.partition("@")[0] if id.count("@") == 1 else _group(id)) or None,
        code=get("tracecar.code") or "reported.error",
        message=get("tracecar.message") or "",
        path=get("tracecar.path"),
        event_id=get("tracecar.event-id"),
        type=get("tracecar.event-type"),
        trace_id=get("tracecar.trace-id"),
        aggregate_id=get("tracecar.aggregate-id"),
        failed_at=_micros(get("tracecar.failed-at")),
        attempts=_int(get("tracecar.attempts")) or 1,
        dialect="tracecar",
        schema=_schema(get("tracecar.schema")),
        service=get("tracecar.service"),
        omitted=parse_list(get(OMITTED_HEADER)),
        stacktrace=stacktrace,
        root_cause=parse_root_cause(stacktrace) if stacktrace else None,
        cause=cause if (cause := get(CAUSE_HEADER)) and _CAUSE.fullmatch(cause) else None,
        record=Record(
            position=origin or letter.position,
            key=letter.key,
            value=letter.value,
            headers=own,
            timestamp=letter.timestamp if timestamp is None else timestamp,
            value_at=letter.value_at,
        ),
        appended_at=letter.timestamp,
    )
    return add_replay_facts(result, letter.headers) if REPLAY_OF in facts or REPLAY_ATTEMPT in facts else result


def _group(id: str) -> str:
    """Return the group of an id that contains more than one `@`."""
    match = _GROUP_OF_ID.match(id)
    if match is None:
        return id.partition("@")[0]
    return match[1] if match[1] is not None else match[2]


def _stacktrace(headers: Headers) -> str | None:
    value = dict(headers).get(STACKTRACE_HEADER)
    return None if value is None else value[:MAX_STACKTRACE_BYTES].decode("utf-8", "replace")


def parse_list(text: str | None) -> tuple[str, ...]:
    """Split the value of a header that lists names, separated by commas."""
    return tuple([part for part in text.split(",", 16) if part]) if text else ()


def text(value: bytes | None) -> str | None:
    """Decode a header's value, up to `MAX_HEADER_BYTES`."""
    return None if value is None else value[:MAX_HEADER_BYTES].decode("utf-8", "replace")


def _int(text: str | None) -> int | None:
    try:
        return int(text) if text and len(text) <= 20 else None
    except ValueError:
        return None


def _micros(text: str | None) -> int | None:
    try:
        return parse_rfc3339(text) if text and len(text) <= 64 else None
    except (ValueError, OverflowError):
        return None


def _position(text: str | None) -> Position | None:
    try:
        return Position.parse(text) if text else None
    except ValueError:
        return None


def _schema(text: str | None) -> SchemaRef | None:
    try:
        return _SCHEMA_DECODER.decode(text) if text else None
    except (msgspec.MsgspecError, ValueError):
        return None


DIALECT = Dialect(
    name="tracecar",
    framework="Tracecar",
    read=lambda record, _: read(record),
    markers=(ID_HEADER,),
    streams=("{stream}.dlt",),
)
