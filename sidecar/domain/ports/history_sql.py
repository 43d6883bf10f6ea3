"""Port of SQL over the history: read-only statements by people, within limits."""

from __future__ import annotations

from typing import Any, Protocol

from msgspec import Struct

MAX_STATEMENT_CHARACTERS = 20_000


class SqlLimits(Struct, frozen=True, kw_only=True):
    """Limits of one statement."""

    rows: int = 10_000
    bytes: int = 16 << 20
    """Size of the answer."""
    timeout_s: float = 30.0
    since_ms: int | None = None
    """Read only files that may have events appended at this time or later."""
    until_ms: int | None = None
    """Read only files that may have events appended before this time."""


class SqlColumn(Struct, frozen=True):
    """A column of an answer."""

    name: str
    type: str
    """Type in the engine's words, such as VARCHAR."""


class SqlAnswer(Struct):
    """The rows that a statement selects."""

    columns: list[SqlColumn]
    rows: list[list[Any]]
    """JSON values: times as RFC 3339 text in UTC, decimals and UUIDs as text, bytes as text or `{"base64": …}`."""
    truncated: bool
    """The statement selects more rows than a limit allows."""
    elapsed_s: float
    files: int
    """Number of files that the views were made of."""


class HistorySql(Protocol):
    """Runs statements over the views `events`, `bodies`, `dead_letters` and `flows`.

    A statement can read these views and nothing else: no other file, no network, no setting, and it changes nothing.
    """

    async def run(self, statement: str, limits: SqlLimits) -> SqlAnswer:
        """Run one SELECT statement.

        Raises QueryError for a statement that is wrong or is no SELECT, Refused if it exceeds the limits, and Outage
        if the history cannot be read.
        """
