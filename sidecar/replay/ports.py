"""Port between the API and replays: the operations on dead letters."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Sequence
from typing import Protocol

from msgspec import Struct

from sidecar.dead_letters.ledger_entries import Actor
from sidecar.domain.model import Headers
from sidecar.domain.position import Position
from sidecar.replay.audit import Audit
from sidecar.replay.models import DiscardResult, LetterOutcome, ReplayJob, ReplayPlan, ReplayRequest, ReportResult


class FailedRecord(Struct, frozen=True, kw_only=True):
    """A record that a service sends itself, because it is in no stream that the sidecar can read."""

    stream: str
    key: bytes | None = None
    value: bytes | None = None
    headers: Headers = ()
    timestamp: int | None = None
    """Timestamp in milliseconds."""


class ReportedFailure(Struct, frozen=True, kw_only=True):
    """An event that a service could not process: its position, or the record itself."""

    group: str
    position: Position | None = None
    record: FailedRecord | None = None
    type: str
    """Type of the error, such as a class name."""
    message: str
    stacktrace: str | None = None
    attempts: int = 1


class ExportedLetter(Struct, frozen=True, kw_only=True):
    """A dead letter with exact bytes, as its stream holds it."""

    id: str
    position: Position
    stream: str
    """Dead-letter stream."""
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp: int
    """Timestamp of the dead letter in milliseconds."""
    value_at: int = 0
    hidden: tuple[str, ...] = ()
    """Parts that are left out because something in them is redacted: `body`, `key`, `header:NAME`."""
    state: str = "open"


class DeadLetterOperations(Protocol):
    """All operations that change dead letters.

    Each is audited: the ledger and the log contain its actor (`who`). All raise NotFoundError, Refused, Outage and
    QueryError.
    """

    async def plan(self, request: ReplayRequest) -> ReplayPlan:
        """Plan a replay without changing anything."""

    async def replay(self, request: ReplayRequest, who: Actor) -> ReplayJob:
        """Freeze the selection and start to publish it; returns at once.

        If nothing is selected, the job is done, and the ledger does not store it.
        """

    async def jobs(self, limit: int = 100) -> list[ReplayJob]:
        """List the replays of all sidecars, newest first."""

    async def job(self, id: str) -> ReplayJob:
        """Return one replay. Raises NotFoundError."""

    async def pause(self, id: str, who: Actor) -> ReplayJob: ...

    async def resume(self, id: str, who: Actor) -> ReplayJob: ...

    async def cancel(self, id: str, who: Actor) -> ReplayJob:
        """Cancel a replay. Letters that were not sent stay open."""

    async def discard(self, ids: Sequence[str], reason: str, who: Actor) -> list[LetterOutcome]:
        """Discard these letters. Deletes nothing."""

    async def discard_found(self, query: str, reason: str, who: Actor) -> DiscardResult:
        """Discard matching letters that are open or parked, some thousands in one call."""

    async def restore(self, ids: Sequence[str], who: Actor) -> list[LetterOutcome]:
        """Undo `discard`."""

    async def report(self, failure: ReportedFailure, who: Actor) -> ReportResult:
        """Store a reported failure as one dead letter, however often it is reported.

        The letter is durable when this returns. Raises NotFoundError if the position holds no record.
        """

    async def audit(self, limit: int = 100) -> Audit:
        """Return the audit log, latest entry first."""

    def export(self, query: str = "", limit: int = 0) -> AsyncIterator[ExportedLetter]:
        """Yield matching dead letters, oldest first, with exact bytes.

        Letters of one origin are exported separately.
        """

    def import_letters(self, letters: AsyncIterable[ExportedLetter], who: Actor) -> AsyncIterator[LetterOutcome]:
        """Write exported letters into their dead-letter streams, each once, unless they are there."""
