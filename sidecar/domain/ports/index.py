"""Port of an index of recent events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from sidecar.domain.model import Event
from sidecar.domain.position import Partition, Position


class Node(Struct, gc=False):
    """An event within its flow.

    `parent` and `depth` are computed for flows only; in other answers `parent` is None and
    `depth` 0.
    """

    event: Event
    status: str
    """rejected, else duplicate, else replayed, else unchecked, else ok."""
    trace_id: int
    """The event's own, or derived."""
    parent: Position | None
    parent_inferred: bool
    depth: int
    changed: bool = False
    """A duplicate whose content differs from the first's."""
    hops: tuple[Position, ...] = ()
    """Positions of the event's copies on a framework's retry topics, oldest first; in flows only."""


class Flow(Struct):
    """All held events of one connected component, in causal then time order.

    Parents before children, siblings and roots by time and position.
    """

    trace_id: int
    """Trace id of its earliest event, by occurred time (append time if it has none), then position."""
    nodes: list[Node]
    broken_keys: list[str] = []
    """Keys (such as `correlation:session-1`) that would have joined more than `correlation.max_flow` events and
    therefore do not join."""


class Coverage(Struct):
    """Extent of the events that an answer is based on."""

    events: int
    evicted: int
    """Events that were evicted since start."""
    since: int | None
    """Milliseconds: the oldest append time from which everything of the covered partitions is held."""
    partitions: list[Partition]
    filling: bool
    """True while the look-back window is being read."""
    note: str | None = None
    """A sentence for a person, where something is known to be missing."""


class IndexPage(Struct):
    """One page of an answer."""

    nodes: list[Node]
    cursor: str | None
    """Pass it to get the next page; None on the last page."""


class Index(Protocol):
    """Positions and metadata of the events seen lately, and the questions people ask of them.

    Bounded: the oldest flows are evicted whole. The order in which events arrive never shows in an answer.
    """

    def add(self, events: Sequence[Event]) -> None:
        """Take these events in, without waiting.

        An event at a position that is held replaces it (so a batch seen twice changes nothing). Never raises for what
        an event holds.
        """

    def discard(self, partition: Partition) -> None:
        """Remove the events that are held of a partition, without waiting.

        Its stream was created again, and the events that follow are others at the same positions.
        """

    async def at(self, position: Position) -> Node | None:
        """Return the event at a position."""

    async def lookup(self, id: str) -> list[Node]:
        """Return the events with this id, newest first, at most 1,000.

        The id may be a position, event id, trace id, aggregate id or correlation id.
        """

    async def flow(self, id: str) -> Flow | None:
        """Return the flow of a trace id (hex), event id, position, aggregate id or correlation id, in this order.

        Of several flows (an aggregate's) the latest.
        """

    async def flows(self, limit: int, cursor: str | None = None) -> tuple[list[Flow], str | None]:
        """Return recent flows, by their latest append time, newest first."""

    async def aggregate(self, id: str, limit: int = 1000) -> list[Node]:
        """Return the events of an aggregate, by occurred time, then position."""

    def coverage(self) -> Coverage:
        """Return the extent of the events in this index."""
