"""Use cases of events: search in the index, one event by id, live matching, and scans of the brokers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from sidecar.api import models
from sidecar.api.mappers import consumer_groups
from sidecar.api.mappers.events import EventMapper, coverage
from sidecar.api.services.id_lookup import IdLookup
from sidecar.api.services.pages import page_size, suggest_if_empty
from sidecar.api.services.payloads import PayloadReader
from sidecar.api.services.scan import ScanProgress, ScanRequest, scan
from sidecar.api.services.search import EventSearch, SearchableIndex, unindexed_node
from sidecar.api.services.stream_visibility import StreamVisibility
from sidecar.domain.errors import NotFoundError
from sidecar.domain.json_safe import to_text
from sidecar.domain.large_records import run_for_record
from sidecar.domain.model import Decoded
from sidecar.domain.ports.broker import Broker
from sidecar.domain.position import Position
from sidecar.pipeline.consumer_groups.tracker import ConsumerGroupTracker
from sidecar.query import Query, parse, suggest_query


class EventService:
    """Queries for events. Methods raise QueryError, NotFoundError, Outage and Refused."""

    def __init__(
        self,
        *,
        index: SearchableIndex,
        ids: IdLookup,
        brokers: Sequence[Broker],
        search: EventSearch,
        payloads: PayloadReader,
        mapper: EventMapper,
        visibility: StreamVisibility,
        groups: ConsumerGroupTracker,
    ) -> None:
        self._index, self._brokers, self._search = index, list(brokers), search
        self._payloads, self._mapper, self._visibility, self._groups = payloads, mapper, visibility, groups
        self._ids = ids

    async def events(
        self, query: str = "", limit: int = 100, cursor: str | None = None, *, full: bool = False
    ) -> models.EventPage:
        """Return matching events in the index, newest first. `full`: with headers and bodies."""
        page = await self._search.newest(parse(query), page_size(limit), cursor, full=full)
        held = coverage(self._index.coverage())
        if page.note is not None:
            held.note = f"{held.note} {page.note}" if held.note else page.note
        return models.EventPage(
            items=page.events,
            cursor=page.cursor,
            coverage=held,
            did_you_mean=suggest_if_empty(page.events, query),
        )

    async def event(self, id: str) -> models.EventModel:
        """Return the event at a position, or the latest one with this event id, with headers and body."""
        position = await self._ids.position(id)
        node = await self._index.at(position)
        if node is None and not await self._visibility.allows(position.system, position.stream):
            raise _not_watched(position)
        payload = await self._payloads.at(position)
        if node is None:
            if payload.decoded is None:
                raise NotFoundError(f"{position}: {payload.note}")
            node = unindexed_node(payload.decoded.event)
        event = await run_for_record(payload.record, self._mapper.event, node, payload)
        consumer_groups.add_delivery(event, position, self._groups)
        return event

    async def matching(self, decoded: Sequence[Decoded], query: Query) -> list[models.EventModel]:
        """Return the events among those just processed that match, with their nodes from the index."""
        return await self._search.matching(decoded, query)

    async def scan(
        self, query: str = "", limit: int = 0, key: str | None = None, *, full: bool = False
    ) -> AsyncIterator[models.EventModel | models.ScanProgressModel | models.ScanEndModel]:
        """Read matching records from the brokers, partition by partition, oldest first, with progress in between.

        Ends after `limit` matches (0: no limit). The last item is a `ScanEndModel`.
        """
        parsed = parse(query)
        progress, matched = ScanProgress(), 0
        request = ScanRequest(
            streams=parsed.streams,
            key=None if key is None else key.encode("utf-8", "surrogateescape"),
            since=parsed.since,
            until=parsed.until,
            is_partition_read=parsed.possible_in,
            is_decoded=self._search.build_record_filter(parsed),
        )
        async for part in scan(self._brokers, self._payloads, request, progress, self._visibility.allows):
            for event in await self._search.matching(part.decoded, parsed, full=full):
                yield event
                matched += 1
                if matched == limit:
                    yield models.ScanEndModel(
                        reason="the limit is reached", complete=False, scanned=progress.scanned, matched=matched
                    )
                    return
            yield models.ScanProgressModel(
                scanned=part.scanned, matched=matched, total=part.total, partition=str(part.partition)
            )
        reason = "; ".join(progress.notes) or "everything was read"
        yield models.ScanEndModel(
            reason=reason,
            complete=progress.complete,
            scanned=progress.scanned,
            matched=matched,
            did_you_mean=None if matched else suggest_query(query),
        )


def _not_watched(position: Position) -> NotFoundError:
    return NotFoundError(
        f"{position}: this sidecar does not watch the stream {to_text(position.stream)!r} (neither as a source nor as "
        "a dead-letter stream). Add it to the sources in the configuration, or check the spelling."
    )
