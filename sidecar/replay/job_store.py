"""Jobs in the ledger: the request, the progress, and the selection that was frozen at the start.

The selection is written first, in parts, then the job. A crash in between leaves parts that belong to no job; a sweep
deletes them. Jobs are changed only by compare-and-set: after a conflict the job is read again.
"""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence

import msgspec
import structlog
from msgspec import Struct
from msgspec.structs import replace

from sidecar.domain.errors import Refused
from sidecar.domain.json_safe import encode_json, parse_float
from sidecar.domain.ports.ledger import Ledger, LedgerTransaction, LedgerWrite
from sidecar.replay.models import BodyEdit, ReplayJob

log = structlog.get_logger()

JOB, SELECTION, RANGE = "job:", "selection:", "range:"
"""Prefixes of ledger keys.

The progress of a range is stored beside its target, the others with the entries that belong to no stream.
"""
MAX_LETTERS_PER_PART, PART_BYTES = 1_000, 400_000
"""Size of one part of a selection: maximum number of letters, and approximate bytes before compression. Parts are
limited because the ledger is held in memory, and because brokers refuse large records."""
MAX_PART_BYTES = 16 << 20
"""Limit of a decompressed part, because anyone who can write to the ledger can write anything."""
MAX_ENDED_JOBS = 500
"""Ended and failed jobs to keep. The oldest are dropped."""
MAX_PARTS_PER_CALL = 16
"""Parts to write in one step."""


class LetterRef(Struct, frozen=True, array_like=True, gc=False):
    """One origin of a selection, with all its dead letters."""

    positions: list[str]
    """Positions of the letters; the first is the one to send."""
    ids: list[str]
    """Ids of all the letters."""
    groups: list[str]
    """The groups that wrote them."""


class StoredJob(Struct):
    """A job, and its bytes in the ledger."""

    job: ReplayJob
    stands: bytes


_jobs = msgspec.json.Decoder(ReplayJob, float_hook=parse_float)
_refs = msgspec.json.Decoder(list[LetterRef])


class JobStore:
    """Jobs of one broker. Raises Outage and Refused.

    Redacted values of an edit are not written: the process that makes a job keeps its edit in memory until it ends.
    """

    def __init__(self, ledger: Ledger, hide: Callable[[BodyEdit], BodyEdit] = lambda edit: edit) -> None:
        """Open the jobs in a ledger. `hide` masks the values of an edit that may not be stored."""
        self._ledger, self._hide = ledger, hide
        self._edits: dict[str, BodyEdit] = {}
        """Edits with masked values of running jobs, by job."""
        self._swept: set[str] = set()
        """Ranges that have nothing in the ledger any more but their jobs."""

    async def all(self) -> dict[str, StoredJob]:
        """Read all jobs, by id.

        Unreadable entries are skipped: anyone who can write to the ledger can write anything.
        """
        jobs: dict[str, StoredJob] = {}
        for key, value in (await self._ledger.under(JOB)).items():
            job = self._decode(value)
            if job is not None and key == JOB + job.id:
                jobs[job.id] = StoredJob(job, value)
        return jobs

    async def get(self, id: str) -> StoredJob | None:
        (value,) = await self._ledger.entries(None, [JOB + id])
        job = None if value is None else self._decode(value)
        return None if job is None or value is None else StoredJob(job, value)

    def has_edit(self, job: ReplayJob) -> bool:
        """Check whether the job's edit is known here with all its values."""
        return not job.hides_edit or job.id in self._edits

    def _encode(self, job: ReplayJob) -> bytes:
        edit = self._hide(job.request.edit)
        if edit != job.request.edit:
            job = replace(job, request=replace(job.request, edit=edit), hides_edit=True)
        return encode_json(job)

    def _decode(self, value: bytes) -> ReplayJob | None:
        job = _decode_job(value)
        if job is not None and job.hides_edit:
            if job.state in ("done", "cancelled"):
                self._edits.pop(job.id, None)
            elif job.id in self._edits:
                job.request = replace(job.request, edit=self._edits[job.id])
        return job

    async def make(self, job: ReplayJob, refs: Sequence[LetterRef]) -> StoredJob:
        """Write a new job with its selection."""
        parts = list(_split_selection(refs))
        job.chunks, job.parts = len(parts), [start for start, _ in parts]
        for at in range(0, len(parts), MAX_PARTS_PER_CALL):
            await self._ledger.act(
                [
                    LedgerTransaction(None, (LedgerWrite(_part_key(job.id, number), None, value),))
                    for number, (_, value) in enumerate(parts[at : at + MAX_PARTS_PER_CALL], at)
                ]
            )
        stands = self._encode(job)
        if self._hide(job.request.edit) != job.request.edit:
            job.hides_edit, self._edits[job.id] = True, job.request.edit
        await self._ledger.act([LedgerTransaction(None, (LedgerWrite(JOB + job.id, None, stands),))])
        return StoredJob(job, stands)

    async def change(self, held: StoredJob, job: ReplayJob) -> StoredJob | None:
        """Replace the held job by another one. Returns None if the stored job was changed meanwhile."""
        stands = self._encode(job)
        if stands == held.stands:
            return held
        (done,) = await self._ledger.act([LedgerTransaction(None, (LedgerWrite(JOB + job.id, held.stands, stands),))])
        return StoredJob(job, stands) if done.carried_out else None

    async def put_back(self, job: ReplayJob) -> StoredJob | None:
        """Write a job that is missing in the ledger. Returns None if it is there."""
        stands = self._encode(job)
        (done,) = await self._ledger.act([LedgerTransaction(None, (LedgerWrite(JOB + job.id, None, stands),))])
        return StoredJob(job, stands) if done.carried_out else None

    async def refs(self, job: ReplayJob, start: int, end: int) -> list[LetterRef]:
        """Read the selection between two indexes. Raises Refused if the ledger has lost it."""
        if start >= end:
            return []
        starts = job.parts
        first, last = bisect_right(starts, start) - 1, bisect_right(starts, end - 1) - 1
        refs: list[LetterRef] = []
        if first >= 0:
            keys = [_part_key(job.id, number) for number in range(first, last + 1)]
            for part in await self._ledger.entries(None, keys):
                refs += self._decode_part(job, part)
            refs = refs[start - starts[first] : end - starts[first]]
        if len(refs) != end - start:
            raise self._build_lost_error(job)
        return refs

    def _decode_part(self, job: ReplayJob, part: bytes | None) -> list[LetterRef]:
        try:
            if part is not None:
                return _refs.decode(zlib.decompressobj().decompress(part, MAX_PART_BYTES))
        except (msgspec.MsgspecError, ValueError, zlib.error):
            pass
        raise self._build_lost_error(job)

    @staticmethod
    def _build_lost_error(job: ReplayJob) -> Refused:
        return Refused(
            f"replay {job.id}: its selection is missing in the ledger. Cancel it and start another replay, "
            "which skips the letters that were sent, by their own entries"
        )

    async def _without_range(self, job: ReplayJob) -> list[LedgerTransaction]:
        """Build the transaction that deletes the progress of a range; nothing if it is gone."""
        try:
            (stands,) = await self._ledger.entries(job.request.to, [RANGE + job.id])
        except Refused as refused:  # anyone who can write to the ledger can write any target
            log.debug("replay.not_swept", replay=job.id, reason=str(refused))
            stands = None
        if stands is None:
            self._swept.add(job.id)
            return []
        return [LedgerTransaction(job.request.to, (LedgerWrite(RANGE + job.id, stands, None),))]

    async def sweep(self, known: dict[str, StoredJob], orphans: set[str]) -> set[str]:
        """Delete ledger entries that no job needs.

        These are selections of finished jobs, progress of finished ranges, and the oldest finished jobs. An entry is
        deleted only if it was already an orphan in the previous sweep (`orphans`). Returns the current orphans.
        """
        acts: list[LedgerTransaction] = []
        ended = sorted(
            (stored for stored in known.values() if _ended_at_us(stored.job)),
            key=lambda stored: _ended_at_us(stored.job),
        )
        for stored in ended[: max(0, len(ended) - MAX_ENDED_JOBS)]:
            forgotten = LedgerTransaction(None, (LedgerWrite(JOB + stored.job.id, stored.stands, None),))
            if stored.job.request.range is None or stored.job.id in self._swept:
                acts.append(forgotten)
            elif (await self._ledger.act([forgotten]))[0].carried_out:  # it cannot be resumed any more
                acts += await self._without_range(stored.job)
        without: set[str] = set()
        for id, stored in known.items():
            # A runner that was taken for dead may be about to send what stands there as not sent. It looks at its job
            # first: only where that had ended at two looks, the entry is useless.
            if stored.job.request.range is not None and stored.job.state in ("done", "cancelled"):
                without.add(RANGE + id)
                if RANGE + id in orphans and id not in self._swept:
                    acts += await self._without_range(stored.job)
        self._swept &= known.keys()
        for key, value in (await self._ledger.under(SELECTION)).items():
            id = key.removeprefix(SELECTION).rpartition(":")[0]
            held = known.get(id)
            # One whose job is written just now has none yet: only a selection without a job at two looks is an orphan.
            if held is None:
                without.add(key)
            if (held is None and key in orphans) or (held is not None and held.job.state in ("done", "cancelled")):
                acts.append(LedgerTransaction(None, (LedgerWrite(key, value, None),)))
        if acts:
            await self._ledger.act(acts[:1_000])
        return without


def _ended_at_us(job: ReplayJob) -> int:
    """Return the moment (microseconds) since which a job no longer runs; 0 while it runs or will run."""
    if job.state == "failed":
        return job.changed_at or job.started_at
    return job.ended_at or 0


def _split_selection(refs: Sequence[LetterRef]) -> Iterator[tuple[int, bytes]]:
    """Split a selection into parts, each with the index that it begins at."""
    start, part, size = 0, list[bytes](), 0
    for at, ref in enumerate(refs):
        encoded = encode_json(ref)
        if part and (len(part) >= MAX_LETTERS_PER_PART or size + len(encoded) > PART_BYTES):
            yield start, _compress_part(part)
            start, part, size = at, [], 0
        part.append(encoded)
        size += len(encoded)
    if part:
        yield start, _compress_part(part)


def _compress_part(part: Sequence[bytes]) -> bytes:
    return zlib.compress(b"[" + b",".join(part) + b"]", 1)


def _part_key(id: str, number: int) -> str:
    return f"{SELECTION}{id}:{number}"


def _decode_job(value: bytes) -> ReplayJob | None:
    try:
        return _jobs.decode(value)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
