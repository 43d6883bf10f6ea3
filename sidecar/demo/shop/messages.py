"""An event in the memory of a service, and a record on the wire."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Header = tuple[str, bytes]


class UnreadableMessage(Exception):
    """A record that a service cannot use. The service skips it, as many services do."""


@dataclass(frozen=True, slots=True)
class TraceIds:
    """Ids of a trace and a span as lower-case hex."""

    trace_id: str
    span_id: str
    parent_id: str | None = None


@dataclass(frozen=True, slots=True)
class ShopMessage:
    """An event."""

    type: str
    id: str
    order: str
    """Id of the order."""
    aggregate: str
    aggregate_type: str
    correlation: str
    cause: str | None
    """Id of the causing event."""
    trace: TraceIds | None
    at: int
    """Milliseconds since 1970."""
    producer: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class WireRecord:
    """A record."""

    key: bytes | None
    value: bytes | None
    """None: `headers` contains the fields of the entry (a flat map)."""
    headers: tuple[Header, ...]

    def header(self, name: str) -> bytes | None:
        """Return the first header with this name, ignoring case."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def text(self, name: str) -> str | None:
        """Return a header as text. Raises UnreadableMessage if it is not UTF-8."""
        value = self.header(name)
        try:
            return None if value is None else value.decode()
        except UnicodeDecodeError as error:
            raise UnreadableMessage(f"header {name} is not UTF-8") from error
