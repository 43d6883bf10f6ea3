"""Queries of dead letters, compiled to filters of the dead-letter store (`sidecar.replay.service.LetterQueries`)."""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.api.mappers.events import EventMapper
from sidecar.api.services.origin_payloads import OriginPayloads
from sidecar.api.services.payloads import PayloadReader
from sidecar.api.services.search import EventSearch, metadata_part
from sidecar.api.services.stream_visibility import WatchedStreams
from sidecar.dead_letters.store import DeadLetterFilter
from sidecar.domain.large_records import run_for_record
from sidecar.domain.model import DeadLetter, Decoded, Record
from sidecar.query import Query, parse


class LetterQueryCompiler:
    """Compiles queries. Filters see only redacted dead letters, so a search cannot reveal hidden values."""

    def __init__(
        self,
        *,
        search: EventSearch,
        payloads: PayloadReader,
        origins: OriginPayloads,
        watched: WatchedStreams,
        mapper: EventMapper,
    ) -> None:
        self._search, self._payloads, self._origins = search, payloads, origins
        self._watched, self._mapper = watched, mapper

    def build_filter(self, query: str) -> DeadLetterFilter:
        """Compile the text of a query. Raises QueryError."""
        return self.filter(parse(query))

    def filter(self, query: Query, before: tuple[int, str] | None = None) -> DeadLetterFilter:
        """Compile a query. `before`: only dead letters older than this append time (milliseconds) and position."""
        metadata, redactor = metadata_part(query), self._mapper.redactor

        def by_letter(letter: DeadLetter) -> bool:
            return metadata.matches_letter(redactor.letter(letter))

        async def by_record(letter: DeadLetter) -> bool:
            payload = await self._origins.of(letter)
            if payload.decoded is None:
                return False
            return await run_for_record(payload.record, by_payload, letter, payload.decoded)

        def by_payload(letter: DeadLetter, decoded: Decoded) -> bool:
            headers, body = self._mapper.headers_of(decoded), self._mapper.body_of(decoded)
            return query.matches_letter(redactor.letter(letter), headers, body)

        return DeadLetterFilter(
            by_letter if str(metadata) else None,
            by_record if query.needs_payload else None,
            by_state=query.asks("state"),
            by_later_lives=query.asks("state"),
            since=query.since,
            before=before,
        )

    async def fits(self, records: Sequence[Record], query: str) -> list[bool]:
        """Return a predicate for records that match a query as events. Raises QueryError."""
        parsed = parse(query)
        return [await self._search.fits(decoded, parsed) for decoded in await self._payloads.open(records)]

    async def in_sight(self, system: str, stream: str) -> bool:
        """Check whether this is a watched stream. Raises Outage and Refused."""
        return await self._watched.contains(system, stream)
