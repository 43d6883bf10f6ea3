"""Use cases of flows and aggregates."""

from __future__ import annotations

from sidecar.api import models
from sidecar.api.mappers import consumer_groups
from sidecar.api.mappers.events import EventMapper, coverage
from sidecar.api.services.id_lookup import IdLookup, canonical_id
from sidecar.api.services.pages import MAX_ITEMS_PER_PAGE, page_size
from sidecar.api.services.ports import DeadLetterSource
from sidecar.api.services.search import invalid_cursor
from sidecar.dead_letters.store import DeadLetterFilter
from sidecar.domain.dead_letter_id import parse_origin_position
from sidecar.domain.ports.index import Flow, IndexReader
from sidecar.domain.position import Position
from sidecar.pipeline.consumer_groups.tracker import ConsumerGroupTracker


class FlowService:
    """Queries for flows and aggregates. Methods raise QueryError, NotFoundError, Outage and Refused."""

    def __init__(
        self,
        *,
        index: IndexReader,
        ids: IdLookup,
        mapper: EventMapper,
        groups: ConsumerGroupTracker,
        letters: DeadLetterSource,
    ) -> None:
        self._index, self._mapper, self._groups = index, mapper, groups
        self._ids, self._letters = ids, letters

    async def flow(self, id: str) -> models.FlowModel:
        """Return the flow of a trace, event, aggregate or correlation id, of a position, or of a dead letter.

        Of several, it is the latest.
        """
        flow = await self._find(id)
        if flow is None and (origin := await self._origin_of_letter(id)) is not None:
            flow, id = await self._find(origin), origin
        if flow is None:
            raise self._ids.not_found("flow", id)
        model = self._mapper.flow(flow, self._index.coverage())
        positions = {position for node in flow.nodes for position in (node.event.position, *node.hops)}
        model.elsewhere = sum(
            node.event.position not in positions and self._ids.reveals(node, id)
            for node in await self._index.lookup(canonical_id(id))
        )
        delivery = consumer_groups.flow_delivery(flow, self._groups)
        if delivery is not None:
            model.delivery = delivery
        return model

    async def _find(self, id: str) -> Flow | None:
        flow = await self._index.flow(canonical_id(id))
        return flow if flow is not None and any(self._ids.reveals(node, id) for node in flow.nodes) else None

    async def _origin_of_letter(self, id: str) -> str | None:
        """Return the position of the record that a dead letter is about; None if the id is not a dead letter's."""
        position = parse_origin_position(id)
        if position is not None and not await self._letters.reads(position.system, position.stream):
            return str(position)  # the id names the record itself: no dead-letter stream has to be read
        if position is None:
            try:
                position = Position.parse(id)
            except ValueError:
                return None
            if not await self._letters.reads(position.system, position.stream):
                return None
        wish = DeadLetterFilter(lambda letter: letter.id == id or letter.position == position)
        for group in (await self._letters.newest(1, wish)).letters:
            if group.letter.origin is not None:
                return str(group.letter.origin)
        return None

    async def flows(self, limit: int = 100, cursor: str | None = None) -> models.FlowPageModel:
        """Return recent flows without their events, by their latest append time, newest first."""
        try:
            flows, next_cursor = await self._index.flows(page_size(limit), cursor)
        except ValueError:
            raise invalid_cursor(cursor or "") from None
        return models.FlowPageModel(
            items=[self._mapper.flow(flow, whole=False) for flow in flows],
            cursor=next_cursor,
            coverage=coverage(self._index.coverage()),
        )

    async def aggregate(self, id: str, limit: int = MAX_ITEMS_PER_PAGE) -> models.AggregateModel:
        """Return the events of an aggregate in the index, by occurred time, then position."""
        nodes = [node for node in await self._index.aggregate(id, page_size(limit)) if self._ids.reveals(node, id)]
        if not nodes:
            raise self._ids.not_held("aggregate", id)
        events = [self._mapper.event(node) for node in nodes]
        types = (event.aggregate_type for event in reversed(events))
        return models.AggregateModel(
            aggregate_id=events[0].aggregate_id or id,
            aggregate_type=next((type for type in types if type is not None), None),
            events=events,
            coverage=coverage(self._index.coverage()),
        )
