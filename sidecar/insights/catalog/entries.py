"""Entries of the catalog, and the builder that makes them of events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from statistics import median
from typing import Any

from msgspec import Struct

from sidecar.domain.model import SchemaRef
from sidecar.domain.ports.index import Node

OWNER_HEADERS = ("owner", "x-owner", "team", "x-team", "ce_owner")
"""Headers in which producers name their team, in order of preference."""
MAX_PRODUCERS_PER_ENTRY = 20


class SchemaUse(Struct, frozen=True):
    """A schema version that events of a type use."""

    ref: SchemaRef
    events: int
    last_seen: int
    """Milliseconds."""


class CatalogEntry(Struct, kw_only=True):
    """One type of events on one stream."""

    system: str
    stream: str
    type: str | None
    """None: the events do not say what they are."""
    events: int
    rejected: int
    first_seen: int
    """Append time of the first event, in milliseconds."""
    last_seen: int
    rate: float | None
    """Events a second between the first and the last; None for fewer than two moments."""
    producers: list[str]
    """Most frequent first."""
    consumers: list[str]
    """Consumer groups that consume the stream, by name."""
    versions: list[str]
    """Versions that the events state, by name."""
    schemas: list[SchemaUse]
    """Schema versions in use, the latest first."""
    aggregate_types: list[str]
    causes: list[str]
    """Types of the events that caused these, as far as the events say so."""
    owner: str | None
    size_bytes: int | None
    """Median size of the sampled values."""
    max_size_bytes: int | None
    example: Any
    """Redacted body of a recent event; None if none could be read."""
    documentation: str | None = None
    """Documentation of the record in its latest schema."""
    schema_text: str | None = None
    schema_kind: str | None = None


class _Tally:
    """Counts of one entry."""

    __slots__ = (
        "aggregates", "causes", "events", "examples", "first", "last", "owners", "producers", "rejected", "schemas",
        "sizes", "versions",
    )  # fmt: skip

    def __init__(self) -> None:
        self.events = self.rejected = 0
        self.first = self.last = 0
        self.producers: dict[str, int] = {}
        self.versions: dict[str, int] = {}
        self.aggregates: dict[str, int] = {}
        self.causes: dict[str, int] = {}
        self.schemas: dict[SchemaRef, list[int]] = {}
        self.owners: dict[str, int] = {}
        self.sizes: list[int] = []
        self.examples: list[Any] = []


class CatalogBuilder:
    """Builds the catalog: counts events, causes and sampled payloads by stream and type, and makes an entry of each."""

    def __init__(self, owners: Mapping[str, str]) -> None:
        """Create the builder. `owners`: team by a pattern of streams or types; the first that fits counts."""
        self._owners = owners
        self._tallies: dict[tuple[str, str, str | None], _Tally] = {}

    def observe(self, nodes: Iterable[Node]) -> None:
        """Count events, in any order. Each event must be given once."""
        for node in nodes:
            event = node.event
            key = event.position.system, event.position.stream, event.type
            tally = self._tallies.get(key)
            if tally is None:
                tally = self._tallies[key] = _Tally()
                tally.first = tally.last = event.appended_at
            tally.events += 1
            tally.rejected += event.rejection is not None
            tally.first = min(tally.first, event.appended_at)
            tally.last = max(tally.last, event.appended_at)
            _count(tally.producers, event.producer)
            _count(tally.versions, event.version)
            _count(tally.aggregates, event.aggregate_type)
            if event.schema is not None and event.rejection is None:
                use = tally.schemas.get(event.schema)
                if use is None:
                    tally.schemas[event.schema] = [1, event.appended_at]
                else:
                    use[0] += 1
                    use[1] = max(use[1], event.appended_at)

    def observe_cause(self, node: Node, cause: Node) -> None:
        """Count the type of an event's cause. Events without an entry (see `observe`) are ignored."""
        event = node.event
        tally = self._tallies.get((event.position.system, event.position.stream, event.type))
        if tally is not None:
            _count(tally.causes, cause.event.type)

    def observe_payload(self, node: Node, headers: Mapping[str, str], body: Any, size_bytes: int) -> None:
        """Use a sampled payload for sizes, the owner and the example of its entry.

        Args:
            node: The event of the payload.
            headers: Redacted headers, with names in lower case.
            body: Redacted body as JSON values; None if there is none.
            size_bytes: Size of the record's value.
        """
        event = node.event
        tally = self._tallies.get((event.position.system, event.position.stream, event.type))
        if tally is None:
            return
        tally.sizes.append(size_bytes)
        _count(tally.owners, next((headers[name] for name in OWNER_HEADERS if headers.get(name)), None))
        if event.rejection is None and not tally.examples and body is not None:
            tally.examples.append(body)

    def entries(self, consumers: Mapping[tuple[str, str], Sequence[str]]) -> list[CatalogEntry]:
        """Return the entries, sorted by stream and type. `consumers`: consumer groups by (broker system, stream)."""
        return [
            self._entry(key, tally, consumers.get(key[:2], ()))
            for key, tally in sorted(self._tallies.items(), key=lambda item: (item[0][1], item[0][2] or "", item[0][0]))
        ]

    def _entry(self, key: tuple[str, str, str | None], tally: _Tally, consumers: Sequence[str]) -> CatalogEntry:
        system, stream, type = key
        elapsed_s = (tally.last - tally.first) / 1000
        return CatalogEntry(
            system=system,
            stream=stream,
            type=type,
            events=tally.events,
            rejected=tally.rejected,
            first_seen=tally.first,
            last_seen=tally.last,
            rate=round((tally.events - 1) / elapsed_s, 3) if elapsed_s else None,
            producers=_by_frequency(tally.producers)[:MAX_PRODUCERS_PER_ENTRY],
            consumers=sorted(consumers),
            versions=sorted(tally.versions),
            schemas=[
                SchemaUse(ref, events, last)
                for ref, (events, last) in sorted(
                    tally.schemas.items(), key=lambda item: (item[0].version or 0, item[1][1]), reverse=True
                )
            ],
            aggregate_types=sorted(tally.aggregates),
            causes=_by_frequency(tally.causes),
            owner=self._owner(stream, type) or next(iter(_by_frequency(tally.owners)), None),
            size_bytes=round(median(tally.sizes)) if tally.sizes else None,
            max_size_bytes=max(tally.sizes, default=None),
            example=next(iter(tally.examples), None),
        )

    def _owner(self, stream: str, type: str | None) -> str | None:
        names = [name for name in (type, stream) if name is not None]
        return next(
            (owner for pattern, owner in self._owners.items() if any(fnmatchcase(name, pattern) for name in names)),
            None,
        )


def _count(counts: dict[str, int], name: str | None) -> None:
    if name is not None:
        counts[name] = counts.get(name, 0) + 1


def _by_frequency(counts: Mapping[str, int]) -> list[str]:
    return sorted(counts, key=lambda name: (-counts[name], name))
