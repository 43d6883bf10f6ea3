"""Use cases of dead letters: lists, causes, and one dead letter with the record that failed."""

from __future__ import annotations

import time
from collections.abc import Sequence

from sidecar.api import models
from sidecar.api.mappers.events import EventMapper
from sidecar.api.services.letter_queries import LetterQueryCompiler
from sidecar.api.services.origin_payloads import OriginPayloads
from sidecar.api.services.pages import page_size, suggest_if_empty
from sidecar.api.services.ports import DeadLetterSource
from sidecar.api.services.search import parse_cursor
from sidecar.dead_letters.deduplication import DeadLetterGroup
from sidecar.domain.dead_letter_id import unknown_id_error
from sidecar.domain.large_records import run_for_record
from sidecar.query import parse


class DeadLetterService:
    """Queries for dead letters. Methods raise QueryError, NotFoundError, Outage and Refused."""

    def __init__(
        self,
        *,
        letters: DeadLetterSource,
        queries: LetterQueryCompiler,
        origins: OriginPayloads,
        mapper: EventMapper,
    ) -> None:
        self._letters, self._queries, self._origins, self._mapper = letters, queries, origins, mapper

    async def dead_letters(self, query: str = "", limit: int = 100, cursor: str | None = None) -> models.DeadLetterPage:
        """Return matching dead letters, newest first. Dead letters of one origin are one item."""
        size = page_size(limit)
        result = await self._letters.newest(size + 1, self._queries.filter(parse(query), _before(cursor)))
        more = len(result.letters) > size
        return models.DeadLetterPage(
            items=[self._mapper.dead_letter(group) for group in result.letters[:size]],
            cursor=_cursor_after(result.letters[size - 1]) if more else None,
            note=_join(result.notes),
            did_you_mean=suggest_if_empty(result.letters, query),
        )

    async def causes(self, query: str = "", limit: int = 100) -> models.CausePage:
        """Return the causes of the matching dead letters, the one with the most dead letters first."""
        result = await self._letters.groups(self._queries.build_filter(query))
        now = time.time_ns() // 1_000
        return models.CausePage(
            items=[self._mapper.cause(cause, now) for cause in result.causes[: page_size(limit)]],
            letters=result.letters,
            folded=result.folded,
            note=_join(result.notes),
            did_you_mean=suggest_if_empty(result.causes, query),
        )

    async def dead_letter(self, id: str) -> models.DeadLetterModel:
        """Return one dead letter with the record that failed."""
        group = await self._letters.show(id)
        if group is None:
            raise unknown_id_error(
                id, f"no dead letter has the id {id!r}, in any dead-letter stream of the watched streams"
            )
        payload = await self._origins.of(group.letter)
        return await run_for_record(payload.record, self._mapper.dead_letter, group, payload)


def _join(notes: Sequence[str]) -> str | None:
    return " ".join(notes) or None


def _cursor_after(group: DeadLetterGroup) -> str:
    return f"{group.letter.appended_at}@{group.letter.position}"


def _before(cursor: str | None) -> tuple[int, str] | None:
    if cursor is None:
        return None
    appended, position = parse_cursor(cursor)
    return appended, str(position)
