"""Headers of other frameworks beside our own (`dead_letters.dialects`), so that tools that know those understand our
letters. What Tracecar does not know (a timestamp's type, a class) is left out; what a reader insists on says ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from sidecar.dead_letters.dialects import connect, kafka_streams, share_group, spring
from sidecar.domain.broker_traits import traits_of
from sidecar.domain.model import Decoded, Headers
from sidecar.domain.position import Position

MAX_TEXT = 2_000
PREFIXES: Mapping[str, str] = {
    "spring": spring.PREFIX,
    "connect": connect.PREFIX,
    "streams": kafka_streams.PREFIX,
    "share-group": share_group.PREFIX,
}
"""What all headers of a dialect that can be written begin with."""

_Facts = list[tuple[str, str | bytes | None]]


class _FailureFields(Struct):
    position: Position
    timestamp: int
    group: str
    error: str
    message: str
    path: str | None
    attempts: int

    @property
    def place(self) -> tuple[int, int] | None:
        """Partition and offset, where the broker has such."""
        partitioned = traits_of(self.position.system).partitioned
        return (self.position.partition, self.position.offset) if partitioned else None

    @property
    def trace(self) -> str:
        return f"{self.error}: {self.message}\n\tat {self.path or 'the record'} ({self.position})"


def prefixes(dialects: Sequence[str]) -> tuple[str, ...]:
    """What the headers of these dialects begin with; a name that is none is passed over."""
    return tuple(PREFIXES[name] for name in dialects if name in PREFIXES)


def write(decoded: Decoded, group: str, attempts: int, dialects: Sequence[str]) -> Headers:
    """The headers of these dialects for a rejected record."""
    rejection, record = decoded.event.rejection, decoded.record
    assert rejection is not None, "only a rejected record has a dead letter"
    failure = _FailureFields(
        position=record.position,
        timestamp=record.timestamp,
        group=group,
        error=f"tracecar.{rejection.code}",
        message=rejection.message[:MAX_TEXT],
        path=rejection.path,
        attempts=attempts,
    )
    return tuple(
        (PREFIXES[name] + header, value if isinstance(value, bytes) else value.encode("utf-8", "backslashreplace"))
        for name in dialects
        for header, value in _WRITERS[name](failure)
        if value is not None
    )


def _spring(failure: _FailureFields) -> _Facts:
    place = failure.place
    return [
        ("original-topic", failure.position.stream),
        ("original-partition", None if place is None else place[0].to_bytes(4, "big")),
        ("original-offset", None if place is None else place[1].to_bytes(8, "big")),
        ("original-timestamp", failure.timestamp.to_bytes(8, "big", signed=True) if _is_long(failure) else None),
        ("original-consumer-group", failure.group),
        ("exception-fqcn", failure.error),
        ("exception-message", failure.message),
        ("exception-stacktrace", failure.trace),
    ]


def _connect(failure: _FailureFields) -> _Facts:
    return [
        *_place(failure),
        ("connector.name", failure.group),
        ("task.id", "0"),
        ("stage", "VALUE_CONVERTER"),
        ("class.name", "tracecar"),
        ("exception.class.name", failure.error),
        ("exception.message", failure.message),
        ("exception.stacktrace", failure.trace),
    ]


def _streams(failure: _FailureFields) -> _Facts:
    return [
        ("exception", failure.error),
        ("message", failure.message),
        ("stacktrace", failure.trace),
        *_place(failure),
    ]


def _share_group(failure: _FailureFields) -> _Facts:
    return [
        *_place(failure),
        ("group", failure.group),
        ("delivery.count", str(failure.attempts)),
        ("message", failure.message),
    ]


def _place(failure: _FailureFields) -> _Facts:
    place = failure.place
    return [
        ("topic", failure.position.stream),
        ("partition", None if place is None else str(place[0])),
        ("offset", None if place is None else str(place[1])),
    ]


def _is_long(failure: _FailureFields) -> bool:
    return -(2**63) <= failure.timestamp < 2**63


_WRITERS: Mapping[str, Callable[[_FailureFields], _Facts]] = {
    "spring": _spring,
    "connect": _connect,
    "streams": _streams,
    "share-group": _share_group,
}
