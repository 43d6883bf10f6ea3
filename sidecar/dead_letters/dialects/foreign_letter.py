"""Dead letters of other frameworks: builds a `DeadLetter` from their headers.

Anyone who can write to the stream can write anything, so a value of an unexpected form counts as absent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from sidecar.dead_letters.root_cause import parse_root_cause
from sidecar.domain.broker_traits import traits_of
from sidecar.domain.model import DeadLetter, Headers, Record, RootCause
from sidecar.domain.position import Position
from sidecar.domain.stream_names import StreamNames

MAX_MESSAGE_CHARACTERS = 2_000
MAX_NAME_CHARACTERS = 1_000
"""Longest name of a stream, a group or an exception class."""
MAX_STACKTRACE_BYTES = 262_144
_MAX_ATTEMPTS = 1_000_000
"""A larger number of attempts is taken for a value of another kind."""
_MAX_BY_WIDTH = {4: 2**31 - 1, 8: 2**63 - 1}
"""Largest number in a signed big-endian integer of so many bytes."""


class FailureHeaders(Struct):
    """Failure details read from a framework's headers; None if absent."""

    stream: str | None = None
    partition: int | None = None
    offset: int | None = None
    timestamp: int | None = None
    """Timestamp of the original record in milliseconds."""
    group: str | None = None
    exception: str | None = None
    message: str | None = None
    attempts: int | None = None
    failed_at: int | None = None
    """Time of the failure in microseconds."""
    stacktrace: str | None = None
    root_cause: RootCause | None = None
    """Root cause that separate headers state. Without it, the stack trace is searched for one."""
    likely_cause: RootCause | None = None
    """Innermost exception that the headers name, used if the stack trace shows none."""
    code: str = "reported.error"
    omitted: tuple[str, ...] = ()
    """Parts of the record that the dead letter lacks."""
    reserialized: bool = False
    """True if the framework may have serialized key or value again, so that they differ from the original bytes."""


class HeaderValues:
    """Header values by name; values of a repeated name in order."""

    def __init__(self, headers: Headers) -> None:
        self._values: dict[str, list[bytes | None]] = {}
        for name, value in headers:
            self._values.setdefault(name, []).append(value)

    def has_any(self, names: Sequence[str]) -> bool:
        """Check whether a header with one of these names exists."""
        return any(name in self._values for name in names)

    def all(self, name: str) -> list[bytes | None]:
        """Return all values of a name, oldest first."""
        return self._values.get(name, [])

    def text(self, name: str, max_bytes: int = 4 * MAX_MESSAGE_CHARACTERS) -> str | None:
        """Return the latest value as text; None if it is absent or empty."""
        values = self._values.get(name)
        return to_text(values[-1], max_bytes) if values else None

    def first_text(self, name: str) -> str | None:
        """Return the first value as text; None if it is absent or empty."""
        values = self._values.get(name)
        return to_text(values[0]) if values else None

    def stacktrace(self, name: str) -> str | None:
        """Return the latest value as text, up to the length of a stack trace."""
        return self.text(name, MAX_STACKTRACE_BYTES)

    def number(self, name: str, width: int = 8) -> int | None:
        """Return the latest value as a number (see `to_number`)."""
        values = self._values.get(name)
        return to_number(values[-1], width) if values else None


def to_text(value: bytes | None, max_bytes: int = 4 * MAX_MESSAGE_CHARACTERS) -> str | None:
    """Decode UTF-8, replacing other bytes. None for absent and empty values."""
    return value[:max_bytes].decode("utf-8", "replace") if value else None


def to_number(value: bytes | None, width: int = 8) -> int | None:
    """Read a non-negative number, in decimal digits or as a big-endian integer of at most `width` bytes.

    Bytes that are all digits are read as digits: as an integer they would exceed every real partition or offset.
    """
    if not value or len(value) > 20:
        return None
    if value.isdigit():
        number = int(value)
    elif len(value) <= width:
        number = int.from_bytes(value, "big", signed=True)
    else:
        return None
    return number if 0 <= number <= _MAX_BY_WIDTH[width] else None


def latest_on_first_stream(
    topics: Sequence[bytes | None], *places: Sequence[bytes | None]
) -> tuple[bytes | None, list[bytes | None]]:
    """Find the stream on which a record first failed, and the place of its latest failure there.

    Later failures are those of retry and dead-letter streams, unless the record was published to the first stream
    again. All sequences are oldest first. Places that do not match the topics are None.
    """
    if not topics:
        return None, [None for _ in places]
    at = max(index for index, topic in enumerate(topics) if topic == topics[0])
    return topics[0], [values[at] if len(values) == len(topics) else None for values in places]


def build_letter(
    record: Record, naming: StreamNames, dialect: str, failure: FailureHeaders, is_own: Callable[[str], bool]
) -> DeadLetter:
    """Build the dead letter that a framework's headers describe. `is_own` recognizes the framework's headers."""
    stream = (failure.stream or "")[:MAX_NAME_CHARACTERS] or None
    origin = None
    partition, offset = failure.partition, failure.offset
    if stream and partition is not None and offset is not None and traits_of(record.position.system).partitioned:
        origin = Position(record.position.system, stream, partition, offset)
    if stream is None:
        stream = next(iter(naming.origins(record.position.stream)), record.position.stream)
    attempts, stacktrace = failure.attempts, failure.stacktrace
    return DeadLetter(
        id=f"@{record.position}",
        position=record.position,
        origin=origin,
        origin_timestamp=failure.timestamp,
        stream=stream,
        group=(failure.group or "")[:MAX_NAME_CHARACTERS] or None,
        code=failure.code,
        message=_message(failure),
        path=None,
        event_id=None,
        type=None,
        trace_id=None,
        aggregate_id=None,
        failed_at=failure.failed_at,
        attempts=attempts if attempts is not None and 1 <= attempts <= _MAX_ATTEMPTS else None,
        dialect=dialect,
        omitted=failure.omitted,
        reserialized=failure.reserialized,
        record=replace(
            record,
            position=origin or record.position,
            headers=tuple([header for header in record.headers if not is_own(header[0])]),
            timestamp=record.timestamp if failure.timestamp is None else failure.timestamp,
            value_at=sum(not is_own(header[0]) for header in record.headers[: record.value_at]),
        ),
        appended_at=record.timestamp,
        stacktrace=stacktrace,
        root_cause=failure.root_cause or (parse_root_cause(stacktrace) if stacktrace else None) or failure.likely_cause,
    )


def _message(failure: FailureHeaders) -> str:
    exception, message = failure.exception, failure.message
    if not message:
        return (exception or "no reason is given")[:MAX_MESSAGE_CHARACTERS]
    if not exception or message.startswith(exception):
        return message[:MAX_MESSAGE_CHARACTERS]
    return f"{exception[:MAX_NAME_CHARACTERS]}: {message}"[:MAX_MESSAGE_CHARACTERS]
