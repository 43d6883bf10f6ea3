"""Events of a schema subject in the history, spread over all of its time."""

from __future__ import annotations

from sidecar.api.services.search import unindexed_node
from sidecar.domain.ports.history import History
from sidecar.domain.ports.history_sql import HistorySql, SqlLimits
from sidecar.domain.ports.index import Node
from sidecar.domain.position import Position

TIMEOUT_S = 60.0
POSITIONS_PER_READ = 500
_SAMPLE = """
SELECT position FROM events WHERE schema_subject = {subject} AND rejection_code IS NULL{before}
ORDER BY hash(position), position LIMIT {limit}
"""


class SubjectHistory:
    """Chooses events of the history."""

    def __init__(self, history: History | None, sql: HistorySql | None) -> None:
        """Create the choice. None: no history is kept."""
        self._history, self._sql = history, sql

    async def sample(self, subject: str, limit: int, before_ms: int | None) -> list[Node]:
        """Return events of a subject that were not rejected, in no order of time. Raises Outage and Refused.

        Args:
            subject: The subject.
            limit: Number of events at most.
            before_ms: Only events that were appended before this time; None: all.
        """
        if self._history is None or self._sql is None:
            return []
        before = "" if before_ms is None else f" AND appended_at < to_timestamp({before_ms} / 1000)"
        quoted = "'" + subject.replace("'", "''") + "'"
        statement = _SAMPLE.format(subject=quoted, before=before, limit=limit)
        answer = await self._sql.run(statement, SqlLimits(rows=limit, timeout_s=TIMEOUT_S, until_ms=before_ms))
        positions = [Position.parse(row[0]) for row in answer.rows]
        nodes: dict[Position, Node] = {}
        for start in range(0, len(positions), POSITIONS_PER_READ):
            rows = await self._history.at(positions[start : start + POSITIONS_PER_READ])
            nodes.update((row.event.position, unindexed_node(row.event)) for row in reversed(rows))
        return list(nodes.values())
