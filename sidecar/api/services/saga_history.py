"""Sagas that began before the oldest event of the index: their events are read from the history once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from sidecar.api.services.search import unindexed_node
from sidecar.domain.errors import Outage, Refused
from sidecar.domain.ports.history import MAX_PAGE_ROWS, History, HistorySelection
from sidecar.domain.ports.index import Node
from sidecar.insights.sagas.declaration import SagaDeclaration

MAX_HISTORY_EVENTS = 1_000_000
MAX_LOOK_BACK_MS = 30 * 86_400_000
EVENTS_PER_STEP = 500

_log = logging.getLogger(__name__)


class SagaHistory:
    """Reads what the history holds of the sagas that may still run, and of those that ended lately."""

    def __init__(self, history: History | None, declarations: Sequence[SagaDeclaration]) -> None:
        """Create the reader. `history`: None if none is kept."""
        self._history = history
        self._types = sorted({type for declaration in declarations for type in declaration.types()})
        longest_us = max((declaration.deadline_us for declaration in declarations), default=0)
        self._look_back_ms = min(2 * longest_us // 1000, MAX_LOOK_BACK_MS)

    async def read_before(self, until_ms: int, observe: Callable[[Sequence[Node]], None]) -> None:
        """Give the events before an append time to `observe`, oldest first, the first time that it succeeds.

        An outage of the history is logged, and the next call tries again.
        """
        if self._history is None:
            return
        try:
            read = await self._read(self._history, until_ms, observe)
        except (Outage, Refused) as error:
            _log.warning("cannot read sagas from the history: %s; trying again", error)
            return
        if read >= MAX_HISTORY_EVENTS:
            _log.warning("the history has more events of sagas than %d: the latest were not read", read)
        self._history = None

    async def _read(self, history: History, until_ms: int, observe: Callable[[Sequence[Node]], None]) -> int:
        selection = HistorySelection(
            types=self._types, since_ms=until_ms - self._look_back_ms, until_ms=until_ms, oldest_first=True
        )
        read, cursor = 0, None
        while True:
            page = await history.find(selection, limit=MAX_PAGE_ROWS, cursor=cursor)
            for start in range(0, len(page.rows), EVENTS_PER_STEP):
                observe([unindexed_node(row.event) for row in page.rows[start : start + EVENTS_PER_STEP]])
                await asyncio.sleep(0)
            read, cursor = read + len(page.rows), page.cursor
            if cursor is None or read >= MAX_HISTORY_EVENTS:
                return read
