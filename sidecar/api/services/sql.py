"""SQL over the history."""

from __future__ import annotations

import time
from collections.abc import Callable

from sidecar.api import models
from sidecar.domain.errors import QueryError, Refused
from sidecar.domain.json_safe import to_json, to_text
from sidecar.domain.ports.history_sql import HistorySql, SqlLimits
from sidecar.domain.timestamps import parse_moment

MAX_ROWS = 10_000
MAX_TIMEOUT_S = 60.0
MIN_TIMEOUT_S = 0.1


class SqlService:
    """Runs statements. Methods raise QueryError, Refused and Outage."""

    def __init__(self, sql: HistorySql | None, clock: Callable[[], int] = lambda: time.time_ns() // 1_000) -> None:
        self._sql, self._clock = sql, clock

    async def run(self, request: models.SqlRequestModel) -> models.SqlAnswerModel:
        """Run a statement and return its rows."""
        if self._sql is None:
            raise Refused("there is no history to read: set history.url in the configuration")
        limits = SqlLimits(
            rows=min(request.limit, MAX_ROWS) if request.limit > 0 else MAX_ROWS,
            timeout_s=min(max(request.timeout_s, MIN_TIMEOUT_S), MAX_TIMEOUT_S),
            since_ms=self._moment("since", request.since),
            until_ms=self._moment("until", request.until),
        )
        answer = await self._sql.run(request.statement, limits)
        return models.SqlAnswerModel(
            columns=[models.SqlColumnModel(name=to_text(column.name), type=column.type) for column in answer.columns],
            rows=[[to_json(value) for value in row] for row in answer.rows],
            truncated=answer.truncated,
            elapsed_ms=round(answer.elapsed_s * 1000, 3),
            files=answer.files,
        )

    def _moment(self, name: str, text: str | None) -> int | None:
        if text is None:
            return None
        try:
            return parse_moment(text, self._clock()) // 1000
        except ValueError as error:
            raise QueryError(f"{name}: {error}", text, 0) from None
