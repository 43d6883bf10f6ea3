"""Moments in the life of an aggregate: a time, or the position of a record."""

from __future__ import annotations

import time
from collections.abc import Callable

from msgspec import Struct

from sidecar.api.services.aggregates.replay_order import AggregateEvent, ReplayOrder
from sidecar.api.services.payloads import PayloadReader
from sidecar.api.services.stream_visibility import StreamVisibility
from sidecar.domain.broker_traits import position_forms
from sidecar.domain.correlation.event_order import moment
from sidecar.domain.errors import NotFoundError, QueryError
from sidecar.domain.model import Event
from sidecar.domain.ports.index import IndexReader
from sidecar.domain.position import Position, looks_like_position
from sidecar.domain.timestamps import format_rfc3339, parse_moment


class ReplayMoment(Struct, frozen=True):
    """A moment up to which events are applied."""

    at: int
    """Microseconds: events that occurred later are not applied. For a position, its record's time."""
    position: Position | None = None
    """The last event to apply, if the position is that of an event of the aggregate."""

    def __str__(self) -> str:
        return str(self.position) if self.position is not None else format_rfc3339(self.at) or ""

    def select(self, order: ReplayOrder) -> list[AggregateEvent]:
        """Return the events that are applied up to this moment, in order."""
        if self.position is None:
            return [event for event in order.iterate_applied() if moment(event.event)[0] <= self.at]
        selected: list[AggregateEvent] = []
        for event in order.events:
            if event.event.position not in order.skipped:
                selected.append(event)
            if self.position in (event.event.position, *event.node.hops):
                break
        return selected

    def sort_key(self, order: ReplayOrder) -> tuple[int, int]:
        """Return a key by which two moments can be ordered."""
        rank = next((n for n, each in enumerate(order.events) if each.event.position == self.position), -1)
        return self.at, rank


class MomentParser:
    """Parses the moments that callers name: a time, a duration before now, `now`, or a position."""

    def __init__(
        self,
        index: IndexReader,
        payloads: PayloadReader,
        visibility: StreamVisibility,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000,
    ) -> None:
        self._index, self._payloads, self._visibility, self._clock = index, payloads, visibility, clock

    async def parse(self, text: str, order: ReplayOrder) -> ReplayMoment:
        """Return the moment. Raises QueryError, NotFoundError, Outage and Refused."""
        if looks_like_position(text):
            try:
                position = Position.parse(text)
            except ValueError as error:
                raise QueryError(str(error), text, 0) from None
            for each in order.events:
                if position in (each.event.position, *each.node.hops):
                    return ReplayMoment(moment(each.event)[0], each.event.position)
            return ReplayMoment(moment(await self._event_at(position))[0])
        try:
            return ReplayMoment(parse_moment(text, self._clock()))
        except ValueError as error:
            raise QueryError(f"{error}, or a position such as {position_forms()}", text, 0) from None

    async def _event_at(self, position: Position) -> Event:
        node = await self._index.at(position)
        if node is not None:
            return node.event
        if not await self._visibility.allows(position.system, position.stream):
            raise NotFoundError(f"{position}: this sidecar does not watch that stream, so its time is unknown")
        payload = await self._payloads.at(position)
        if payload.decoded is None:
            raise NotFoundError(f"{position}: {payload.note}")
        return payload.decoded.event
