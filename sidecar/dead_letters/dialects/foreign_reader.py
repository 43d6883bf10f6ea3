"""Dead letters that other frameworks wrote: from what their headers tell to a dead letter of ours.

Whoever can write to the stream can write anything: a value that is not what it should be is taken as absent."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from sidecar.domain.broker_traits import traits_of
from sidecar.domain.model import DeadLetter, Headers, Record
from sidecar.domain.position import Position
from sidecar.domain.stream_names import StreamNames

MAX_MESSAGE = 2_000
MAX_NAME = 1_000
"""Characters of the name of a stream or group."""
_LARGEST = {4: 2**31 - 1, 8: 2**63 - 1}


class FailureHeaders(Struct):
    """What a framework's headers say about a failure; None where they do not."""

    stream: str | None = None
    partition: int | None = None
    offset: int | None = None
    timestamp: int | None = None
    """Milliseconds: the origin's."""
    group: str | None = None
    exception: str | None = None
    message: str | None = None
    attempts: int | None = None
    failed_at: int | None = None
    """Microseconds."""
    code: str = "reported.error"
    omitted: tuple[str, ...] = ()
    """Parts of the record that the letter does not keep."""


class HeaderValues:
    """The headers of a letter by name, all values of a name in order."""

    def __init__(self, headers: Headers) -> None:
        self._found: dict[str, list[bytes | None]] = {}
        for name, value in headers:
            self._found.setdefault(name, []).append(value)

    def all(self, name: str) -> list[bytes | None]:
        return self._found.get(name, [])

    def text(self, name: str) -> str | None:
        """The latest value as text; None where it is absent or empty."""
        values = self._found.get(name)
        return text(values[-1]) if values else None

    def number(self, name: str, width: int = 8) -> int | None:
        """The latest value as a number."""
        values = self._found.get(name)
        return number(values[-1], width) if values else None


def text(value: bytes | None) -> str | None:
    """UTF-8; what is not is replaced. None for absent and empty values."""
    return value[: 4 * MAX_MESSAGE].decode("utf-8", "replace") if value else None


def number(value: bytes | None, width: int = 8) -> int | None:
    """A number that is not negative: decimal digits, or big-endian bytes, at most `width` of them. Bytes that are all
    digits are taken as such: read as big-endian they would be larger than any partition or offset there is."""
    if not value or len(value) > 20:
        return None
    if value.isdigit():
        found = int(value)
    elif len(value) <= width:
        found = int.from_bytes(value, "big", signed=True)
    else:
        return None
    return found if 0 <= found <= _LARGEST[width] else None


def latest_at_the_first(
    topics: Sequence[bytes | None], *places: Sequence[bytes | None]
) -> tuple[bytes | None, list[bytes | None]]:
    """Of a record's failures, oldest first, the stream that it first failed on and where it last failed there: later
    failures are those of retry and dead-letter streams, unless it was published to the first stream again. Places
    whose values do not pair up with the topics are absent."""
    if not topics:
        return None, [None for _ in places]
    at = max(index for index, topic in enumerate(topics) if topic == topics[0])
    return topics[0], [values[at] if len(values) == len(topics) else None for values in places]


def letter(
    record: Record, naming: StreamNames, dialect: str, told: FailureHeaders, own: Callable[[str], bool]
) -> DeadLetter:
    """The dead letter that a framework's headers describe. `own` tells its headers from those of the record."""
    stream = (told.stream or "")[:MAX_NAME] or None
    origin = None
    if (
        stream
        and told.partition is not None
        and told.offset is not None
        and traits_of(record.position.system).partitioned
    ):
        origin = Position(record.position.system, stream, told.partition, told.offset)
    if stream is None:
        stream = next(iter(naming.origins(record.position.stream)), record.position.stream)
    return DeadLetter(
        id=f"@{record.position}",
        position=record.position,
        origin=origin,
        origin_timestamp=told.timestamp,
        stream=stream,
        group=(told.group or "")[:MAX_NAME] or None,
        code=told.code,
        message=_message(told),
        path=None,
        event_id=None,
        type=None,
        trace_id=None,
        aggregate_id=None,
        failed_at=told.failed_at,
        attempts=told.attempts if told.attempts and told.attempts <= 1_000_000 else 1,
        dialect=dialect,
        omitted=told.omitted,
        record=replace(
            record,
            position=origin or record.position,
            headers=tuple([header for header in record.headers if not own(header[0])]),
            timestamp=record.timestamp if told.timestamp is None else told.timestamp,
            value_at=sum(not own(header[0]) for header in record.headers[: record.value_at]),
        ),
        appended_at=record.timestamp,
    )


def _message(told: FailureHeaders) -> str:
    exception, message = told.exception, told.message
    if not message:
        return (exception or "no reason is given")[:MAX_MESSAGE]
    if not exception or message.startswith(exception):
        return message[:MAX_MESSAGE]
    return f"{exception[:MAX_NAME]}: {message}"[:MAX_MESSAGE]
