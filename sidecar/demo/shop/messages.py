"""An event in a service's memory, and what becomes of it on the wire."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Header = tuple[str, bytes]


class UnreadableMessage(Exception):
    """A service cannot make sense of a record that it has read. It leaves it aside, as many services do."""


@dataclass(frozen=True, slots=True)
class TraceIds:
    """Trace and span as lower-case hex."""

    trace_id: str
    span_id: str
    parent_id: str | None = None


@dataclass(frozen=True, slots=True)
class ShopMessage:
    """An event."""

    type: str
    id: str
    order: str
    """The id of the order that it belongs to."""
    aggregate: str
    aggregate_type: str
    correlation: str
    cause: str | None
    """The id of the event that caused it."""
    trace: TraceIds | None
    at: int
    """Milliseconds since 1970."""
    producer: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class WireRecord:
    """A record as the shop publishes and reads it."""

    key: bytes | None
    value: bytes | None
    """None: the fields of the entry stand in `headers` (a flat map)."""
    headers: tuple[Header, ...]

    def header(self, name: str) -> bytes | None:
        return next((value for found, value in self.headers if found.lower() == name.lower()), None)

    def text(self, name: str) -> str | None:
        """A header as text. Raises Unreadable where it is none."""
        value = self.header(name)
        try:
            return None if value is None else value.decode()
        except UnicodeDecodeError as error:
            raise UnreadableMessage(f"header {name} is no text") from error
