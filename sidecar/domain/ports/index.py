"""Port of an index of recent events."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal, Protocol

from msgspec import Struct

from sidecar.domain.model import Event
from sidecar.domain.ports.history import HistoryCoverage, HistoryKey
from sidecar.domain.position import Partition, Position

EventSource = Literal["index", "history", "broker"]


class Node(Struct, gc=False):
    """An event within its flow.

    `parent` and `depth` are computed for flows only; in other answers `parent` is None and
    `depth` 0.
    """

    event: Event
    status: str
    """rejected, else duplicate, else replayed, else unchecked, else ok."""
    trace_id: int
    """The event's own trace id, or the derived one."""
    parent: Position | None
    parent_inferred: bool
    depth: int
    changed: bool = False
    """True for a duplicate whose content differs from the first event's."""
    hops: tuple[Position, ...] = ()
    """Positions of the event's copies on a framework's retry topics, oldest first; in flows only."""
    source: EventSource = "index"
    """The place that the event was read from."""


class Flow(Struct):
    """All known events of one connected component, in causal then time order.

    Parents precede their children; siblings and roots are ordered by time and position.
    """

    trace_id: int
    """Trace id of its earliest event, by occurred time (append time if it has none), then position."""
    nodes: list[Node]
    broken_keys: list[str] = []
    """Keys (such as `correlation:session-1`) that would have joined more than `correlation.max_flow` events and
    therefore do not join."""


class Coverage(Struct):
    """Extent of the events on which an answer is based."""

    events: int
    evicted: int
    """Number of events that were evicted since the start."""
    since: int | None
    """Append time in milliseconds from which all events of the covered partitions are held."""
    partitions: list[Partition]
    filling: bool
    """True while the look-back window is being read."""
    note: str | None = None
    """A sentence about events that are known to be missing."""
    history: HistoryCoverage | None = None
    """Extent of the history, where one is configured."""


class IndexPage(Struct):
    """One page of events."""

    nodes: list[Node]
    cursor: str | None
    """Cursor of the next page; None on the last page."""


class IndexReader(Protocol):
    """The queries for events. Answers do not depend on the order in which events arrive."""

    async def at(self, position: Position) -> Node | None:
        """Return the event at a position."""

    async def lookup(self, id: str) -> list[Node]:
        """Return the events with this id, newest first, at most 1,000.

        The id may be a position, event id, trace id, aggregate id or correlation id.
        """

    async def flow(self, id: str) -> Flow | None:
        """Return the flow of a trace id (hex), event id, position, aggregate id or correlation id, in this order.

        Of several flows (an aggregate has many), it is the latest.
        """

    async def flows(self, limit: int, cursor: str | None = None) -> tuple[list[Flow], str | None]:
        """Return recent flows, by their latest append time, newest first."""

    async def aggregate(self, id: str, limit: int = 1000) -> list[Node]:
        """Return the events of an aggregate, by occurred time, then position."""

    async def find_carriers(self, keys: Sequence[HistoryKey], limit: int) -> list[Event]:
        """Return the events that carry one of these ids themselves, each once, in no particular order.

        Of an id that more than `limit` events carry, at least `limit` of them are returned.
        """

    async def find_consumption(self, producers: Collection[str]) -> dict[str, set[tuple[str, str]]]:
        """Return the streams (system and name) that each producer is seen to consume.

        They are the streams with an event that one of the producer's own events names as its cause.
        """

    def coverage(self) -> Coverage:
        """Return the extent of the events in this index."""


class Index(IndexReader, Protocol):
    """Positions and metadata of recent events, with the queries for them.

    It is bounded: the oldest flows are evicted as a whole.
    """

    def add(self, events: Sequence[Event]) -> None:
        """Add events, without waiting.

        An event replaces an earlier one at the same position, so a batch that is added twice changes nothing. Never
        raises for an event's content.
        """

    def discard(self, partition: Partition, before: int) -> None:
        """Remove the events of a partition that were observed before a time (microseconds), without waiting.

        Its stream was created again, so that later events are others at the same positions. They may be added at once.
        An index that several members share removes events in the background, and those that a member which ends could
        not remove expire.
        """
