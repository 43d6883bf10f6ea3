"""The operations on dead letters: the port between the API and the replay room."""

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
    """A record that a service hands over because it lies nowhere that we could read it."""

    stream: str
    key: bytes | None = None
    value: bytes | None = None
    headers: Headers = ()
    timestamp: int | None = None
    """Milliseconds."""


class ReportedFailure(Struct, frozen=True, kw_only=True):
    """An event that a service could not process: where it lies, or the record itself."""

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
    """The dead-letter stream."""
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp: int
    """Milliseconds, of the letter."""
    value_at: int = 0
    hidden: tuple[str, ...] = ()
    """Parts that are left out because something in them may not be shown: `body`, `key`, `header:NAME`."""
    state: str = "open"


class DeadLetterOperations(Protocol):
    """All operations that change something about dead letters.

    Each is audited: the ledger and the log name its actor (`who`). All raise NotFoundError, Refused, Outage and
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
        """Set these letters aside. Deletes nothing."""

    async def discard_found(self, query: str, reason: str, who: Actor) -> DiscardResult:
        """Set those aside that match and wait for a person, some thousands at once."""

    async def restore(self, ids: Sequence[str], who: Actor) -> list[LetterOutcome]:
        """Undo `discard`."""

    async def report(self, failure: ReportedFailure, who: Actor) -> ReportResult:
        """Store a reported failure as one dead letter, however often it is reported.

        The letter is durable when this returns. Raises NotFoundError if the position holds no record.
        """

    async def audit(self, limit: int = 100) -> Audit:
        """List who did what, latest first."""

    def export(self, query: str = "", limit: int = 0) -> AsyncIterator[ExportedLetter]:
        """Dead letters that match, oldest first, with exact bytes; those of one origin are each exported."""

    def import_letters(self, letters: AsyncIterable[ExportedLetter], who: Actor) -> AsyncIterator[LetterOutcome]:
        """Write exported letters into their dead-letter streams again, those that are not there; each once."""
