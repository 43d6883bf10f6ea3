"""Audit log of actions and their actors, from the jobs and from the ledger entries of the letters that still exist.

Actions on letters that retention has deleted are only in the sidecars' logs, and so are jobs that the ledger has
dropped (`sidecar.replay.job_store.MAX_ENDED_JOBS`).
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from sidecar.dead_letters.ledger_entries import LedgerAction
from sidecar.dead_letters.store import DeadLetterStore
from sidecar.replay.models import ReplayJob

MAX_NAMED_IDS = 20
"""Ids of letters to list in one entry."""


class AuditEntry(Struct, kw_only=True):
    """One action of a user or a service."""

    act: str
    """`replay.started`, `replay.paused`, `replay.resumed`, `replay.cancelled`; `dead_letters.discarded`, `.restored`,
    `.reported`, `.imported`."""
    at: int
    """Time in microseconds."""
    by: str
    address: str | None = None
    letters: int = 0
    """Number of letters that the action concerned."""
    ids: list[str] = []
    """The first few of their ids."""
    why: str | None = None
    job: ReplayJob | None = None
    """The job, if the action concerned a replay."""


class Audit(Struct):
    """A page of the audit log."""

    lines: list[AuditEntry]
    """Entries, newest first."""
    notes: list[str]
    """Messages about streams that could not be read."""


async def audit(store: DeadLetterStore, jobs: Iterable[ReplayJob], limit: int) -> Audit:
    """List the latest actions, at most `limit`. Reads the dead-letter streams from end to end."""
    notes: list[str] = []
    batch = _AuditBatch(limit)
    async for letter, entry in store.entries(notes):
        for deed in entry.actions:
            if deed.act != "replayed":  # its job tells that
                batch.add(deed, letter.id, entry.id)
    lines = [*batch.lines(), *(line for job in jobs for line in _of(job))]
    lines.sort(key=lambda line: line.at, reverse=True)
    return Audit(lines[:limit], list(dict.fromkeys(notes)))


def _of(job: ReplayJob) -> Iterable[AuditEntry]:
    yield AuditEntry(
        act="replay.started", at=job.started_at, by=job.by, address=job.address, letters=job.selected, job=job
    )
    for decision in job.decisions:
        yield AuditEntry(
            act=f"replay.{decision.act}",
            at=decision.at,
            by=decision.by,
            address=decision.address,
            letters=job.selected,
            job=job,
        )


class _AuditBatch:
    """Deeds that were one act, of many letters, as one line. At most some thousand more than `limit` are held."""

    def __init__(self, limit: int) -> None:
        self._limit, self._oldest = limit, 0
        self._lines: dict[tuple[object, ...], AuditEntry] = {}
        self._seen: dict[tuple[object, ...], set[int]] = {}
        """The entries that were counted: the letters of one origin share theirs."""

    def add(self, deed: LedgerAction, id: str, entry: str) -> None:
        if deed.at < self._oldest:
            return
        key = (deed.at, deed.act, deed.by, deed.address, deed.why)
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = AuditEntry(
                act=f"dead_letters.{deed.act}", at=deed.at, by=deed.by, address=deed.address, why=deed.why
            )
            self._seen[key] = set()
            if len(self._lines) > 2 * self._limit + 1_000:
                self._shrink()
        if hash(entry) in self._seen.get(key, ()):
            return
        self._seen.setdefault(key, set()).add(hash(entry))
        line.letters += 1
        if len(line.ids) < MAX_NAMED_IDS:
            line.ids.append(id)

    def lines(self) -> Iterable[AuditEntry]:
        return self._lines.values()

    def _shrink(self) -> None:
        kept = sorted(self._lines, key=lambda key: self._lines[key].at, reverse=True)[: self._limit]
        self._oldest = self._lines[kept[-1]].at if kept else 0
        self._lines = {key: self._lines[key] for key in kept}
        self._seen = {key: self._seen[key] for key in kept}
