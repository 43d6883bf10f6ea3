"""The interface of a dead-letter dialect: how one framework names the headers of its dead letters.

A dialect is one module with a `DIALECT`. Add it to the table in `sidecar.dead_letters.dialects.foreign`.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from sidecar.domain.broker_traits import traits_of
from sidecar.domain.model import DeadLetter, Record
from sidecar.domain.position import Position
from sidecar.domain.stream_names import StreamNames

ReadDialect = Callable[[Record, StreamNames], DeadLetter | None]
"""Function that reads a record of a dead-letter stream. Returns None if its headers are not of this dialect."""
HeaderFields = list[tuple[str, str | bytes | None]]
"""Header names without the dialect's prefix, and values. A header with the value None is not written."""


class RejectionFields(Struct, frozen=True):
    """Facts about a rejected record that a dialect can write."""

    position: Position
    timestamp: int
    """Timestamp of the rejected record in milliseconds."""
    group: str
    error: str
    message: str
    path: str | None
    attempts: int

    @property
    def partition_and_offset(self) -> tuple[int, int] | None:
        """Partition and offset; None where the broker numbers neither."""
        is_partitioned = traits_of(self.position.system).partitioned
        return (self.position.partition, self.position.offset) if is_partitioned else None

    @property
    def stacktrace(self) -> str:
        """The failure in the form of a stack trace, for tools that require one."""
        return f"{self.error}: {self.message}\n\tat {self.path or 'the record'} ({self.position})"

    def origin_as_text(self) -> HeaderFields:
        """Return topic, partition and offset as Kafka's own frameworks write them: in decimal digits."""
        place = self.partition_and_offset
        return [
            ("topic", self.position.stream),
            ("partition", None if place is None else str(place[0])),
            ("offset", None if place is None else str(place[1])),
        ]


class Dialect(Struct, frozen=True):
    """Dead-letter headers of one framework."""

    name: str
    framework: str
    read: ReadDialect
    markers: tuple[str, ...] = ()
    """Headers that identify the dialect: each of them is sufficient."""
    streams: tuple[str, ...] = ()
    """Default names of its dead-letter streams, as `dead_letters.read` takes them."""
    prefix: str = ""
    """Prefix of all headers that `write` builds; empty if the dialect cannot be written."""
    write: Callable[[RejectionFields], HeaderFields] | None = None
    """Function that builds the headers of a rejected record. None: `dead_letters.dialects` refuses this dialect."""

    @property
    def is_written(self) -> bool:
        """True if `dead_letters.dialects` accepts this dialect."""
        return self.write is not None or self.name == "tracecar"
