"""Our own dead-letter headers: written after the record's own, which stay first and as they were."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec

from sidecar.dead_letters.dialects.foreign_writers import prefixes
from sidecar.domain.model import DeadLetter, Decoded, Headers, Record, SchemaRef
from sidecar.domain.position import SCHEME, Position
from sidecar.domain.timestamps import format_rfc3339, parse_rfc3339

PREFIX = "tracecar."
ID_HEADER = "tracecar.dead-letter-id"
STREAM_HEADER = "tracecar.stream"
"""Of a reported record that lies nowhere: the stream that it is of."""
STACKTRACE_HEADER = "tracecar.stacktrace"
NO_TIMESTAMP = -1
"""Of a reported record that lies nowhere, and whose time was not told."""
OMITTED_HEADER = "tracecar.omitted"
"""Names the parts (`body`, `headers`, `key`) that the broker would not take; they are still at the origin."""

REPLAY_ID = "tracecar.replay-id"
REPLAY_OF = "tracecar.replay-of"
REPLAY_ATTEMPT = "tracecar.replay-attempt"
REPLAY_GROUP = "tracecar.replay-group"
"""On a replayed record, and on the letter of one that failed again: what ties it to its earlier life."""

DIALECTS_HEADER = "tracecar.dialects"
"""Names the dialects whose headers were written beside ours, and so are not the record's own."""

_OF_REPLAYS = (REPLAY_ID, REPLAY_OF, REPLAY_ATTEMPT, REPLAY_GROUP)
_SCHEMA = msgspec.json.Decoder(SchemaRef)
_ORIGIN = re.compile(rf"(.*)@{SCHEME}://|(.*?)@sha256:", re.DOTALL)
MAX_HEADER_BYTES = 8_192
"""Bytes of a header's value that are looked at."""
MAX_MESSAGE_CHARACTERS = 2_000
"""Characters of a message that a header keeps."""


def dead_letter_id(group: str, position: Position) -> str:
    return f"{group}@{position}"


def own_headers(headers: Headers, dialects: Sequence[str] = ()) -> Headers:
    """The headers that are the record's own: all but earlier `tracecar.*` ones and those of the `dialects` that are
    written beside them, so that rounds do not pile up."""
    ours = (PREFIX, *prefixes(dialects))
    return tuple([header for header in headers if not header[0].startswith(ours)])


def attempt_number(headers: Headers) -> int:
    """Which attempt this is: 1, or one more than the replay it comes from says."""
    return replay_count(dict(headers)) + 1


def replay_count(facts: Mapping[str, bytes | None]) -> int:
    """How often the record was replayed before, as its headers say."""
    said = text(facts.get(REPLAY_ATTEMPT))
    return int(said) if said and said.isascii() and said.isdigit() and len(said) < 7 else 0


def add_replay_facts(letter: DeadLetter, headers: Headers) -> DeadLetter:
    """The letter with what its headers say of the replay that it came from, whoever wrote the letter."""
    facts = {name: value for name, value in headers if name.startswith("tracecar.replay-")}
    if facts:
        letter.replay_of = text(facts.get(REPLAY_OF))
        letter.replay_id = text(facts.get(REPLAY_ID))
        letter.replays = replay_count(facts)
    return letter


def build_replay_headers(id: str, letter: str, attempt: int, group: str | None) -> Headers:
    """What a replayed record carries after its own headers: the replay, the dead letter's id, how many replays there
    were with this one, and for which group, where it is for one."""
    found = [(REPLAY_ID, id), (REPLAY_OF, letter), (REPLAY_ATTEMPT, str(attempt))]
    if group is not None:
        found.append((REPLAY_GROUP, group))
    return tuple([(name, value.encode("utf-8", "backslashreplace")) for name, value in found])


def write(
    decoded: Decoded,
    group: str,
    service: str,
    failed_at: int,
    *,
    attempts: int | None = None,
    nowhere: str | None = None,
) -> Headers:
    """The headers that a dead letter of this rejected record carries beyond the record's own. `failed_at` in
    microseconds; `attempts`: how often it was tried, where somebody counted; `nowhere`: what stands for the position in
    the letter's id, where the record lies nowhere. Absent facts have no header."""
    event, record, rejection = decoded.event, decoded.record, decoded.event.rejection
    assert rejection is not None, "only a rejected record has a dead letter"
    fields: list[tuple[str, str | None]] = [
        (ID_HEADER, f"{group}@{nowhere or record.position}"),
        ("tracecar.stage", rejection.stage),
        ("tracecar.code", rejection.code),
        ("tracecar.message", rejection.message[:MAX_MESSAGE_CHARACTERS]),
        ("tracecar.path", rejection.path),
        ("tracecar.failed-at", format_rfc3339(failed_at)),
        ("tracecar.service", service),
        ("tracecar.attempts", str(attempts or attempt_number(record.headers))),
        ("tracecar.origin", None if nowhere else str(record.position)),
        (STREAM_HEADER, record.position.stream if nowhere else None),
        ("tracecar.origin-timestamp", None if nowhere and record.timestamp == NO_TIMESTAMP else str(record.timestamp)),
        ("tracecar.event-id", event.event_id),
        ("tracecar.event-type", event.type),
        ("tracecar.trace-id", None if event.trace_id is None else f"{event.trace_id:032x}"),
        ("tracecar.aggregate-id", event.aggregate_id),
        ("tracecar.schema", None if event.schema is None else msgspec.json.encode(event.schema).decode()),
    ]
    said = [(name, value.encode("utf-8", "backslashreplace")) for name, value in fields if value is not None]
    if event.replay_of is not None:
        said += [(name, value) for name, value in record.headers if name in _OF_REPLAYS and value is not None]
    return tuple(dict(said).items())


def read(letter: Record) -> DeadLetter | None:
    """The dead letter that our headers describe; None where they are not there. Headers that do not parse are taken as
    absent: whoever can write to the stream can write anything."""
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
    found = DeadLetter(
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
        stacktrace=get(STACKTRACE_HEADER),
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
    return add_replay_facts(found, letter.headers) if REPLAY_OF in facts or REPLAY_ATTEMPT in facts else found


def _group(id: str) -> str:
    """The group of an id in which more than the group's end is written `@`."""
    match = _ORIGIN.match(id)
    if match is None:
        return id.partition("@")[0]
    return match[1] if match[1] is not None else match[2]


def parse_list(text: str | None) -> tuple[str, ...]:
    """What a header lists, separated by commas."""
    return tuple([part for part in text.split(",", 16) if part]) if text else ()


def text(value: bytes | None) -> str | None:
    """What a header says, as far as it is looked at."""
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
        return _SCHEMA.decode(text) if text else None
    except (msgspec.MsgspecError, ValueError):
        return None
