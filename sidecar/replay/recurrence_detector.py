"""Detector of failures that recur during a replay in growing batches, which stops the replay.

A cause recurs if a letter fails again in the same way as before it was sent, or if a second letter fails in a new way
in which a first one did. The job's selection tells which earlier letter a returned one comes from, and its stream how
that failed, so that a runner that takes over reaches the same result.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sidecar.dead_letters.reader import LetterSource
from sidecar.domain.failure_fingerprint import FailureSignature, failure_signature
from sidecar.domain.model import DeadLetter
from sidecar.domain.position import Position
from sidecar.replay.job_store import MAX_LETTERS_PER_PART, JobStore, LetterRef
from sidecar.replay.letter_fetcher import fetch_letters
from sidecar.replay.models import ReplayJob

MAX_LETTERS_PER_BATCH = 1_000
"""Returned letters of one batch that are evaluated."""
MAX_SIGNATURES = 1_000
"""Failure signatures of one replay to distinguish. Beyond that, each counts as recurring."""
MAX_READ_BYTES = 8 << 20


class RecurrenceDetector:
    """Collects the letters of one job that failed again. Raises Outage, Refused."""

    def __init__(self, source: LetterSource, jobs: JobStore) -> None:
        self._source, self._jobs = source, jobs
        self._seen: set[FailureSignature] = set()
        """Signatures of failures of this replay so far."""
        self._new: list[DeadLetter] = []
        self._here: list[DeadLetter] = []
        """Letters that failed again since the last evaluation, as far as they were examined."""
        self._again: set[FailureSignature] = set()
        """Signatures that recurred."""

    def seed(self, letters: Iterable[DeadLetter]) -> None:
        """Note failures that an operator has seen before."""
        for letter in letters:
            self._note(failure_signature(letter))

    def take(self, letters: Sequence[DeadLetter]) -> None:
        """Record letters that failed again just now."""
        self._new += letters[: MAX_LETTERS_PER_BATCH - len(self._new) - len(self._here)]

    async def list_recurring(self, job: ReplayJob) -> list[DeadLetter]:
        """List the letters since the last evaluation whose cause recurred."""
        once: dict[FailureSignature, DeadLetter] = {}
        for letter in self._new:
            what = failure_signature(letter)
            if what in self._again:
                continue
            if what in self._seen or what in once:
                self._again.add(what)
                once.pop(what, None)
            else:
                once[what] = letter
        before = await self._before(job, list(once.values()))
        for what, letter in once.items():
            earlier = before.get(letter.replay_of or "")
            if earlier is None or failure_signature(earlier) == what or len(self._seen) >= MAX_SIGNATURES:
                self._again.add(what)
        for letter in self._new:
            self._note(failure_signature(letter))
        self._here += self._new
        self._new = []
        return [letter for letter in self._here if failure_signature(letter) in self._again]

    def reset(self) -> list[DeadLetter]:
        """Start a new evaluation. Returns the letters that did not recur."""
        others = [letter for letter in self._here if failure_signature(letter) not in self._again]
        self._here, self._again = [], set()
        return others

    def _note(self, what: FailureSignature) -> None:
        if len(self._seen) < MAX_SIGNATURES:
            self._seen.add(what)

    async def _before(self, job: ReplayJob, letters: Sequence[DeadLetter]) -> dict[str, DeadLetter]:
        """Read the letters that these were when they were sent, by id, as far as they still exist."""
        wanted = {letter.replay_of for letter in letters if letter.replay_of is not None}
        refs: list[LetterRef] = []
        for end in range(job.at, 0, -MAX_LETTERS_PER_PART):  # most are of the last batch
            if not wanted:
                break
            for ref in await self._jobs.refs(job, max(0, end - MAX_LETTERS_PER_PART), end):
                if not wanted.isdisjoint(ref.ids):
                    wanted.difference_update(ref.ids)
                    refs.append(ref)
        positions = [candidate for ref in refs if (candidate := _first_position(ref)) is not None]
        by_id: dict[str, DeadLetter] = {}
        while positions:
            read, left = await fetch_letters(self._source.broker, self._source.naming, positions, MAX_READ_BYTES)
            for letter in read.values():
                letter.lighten()
                by_id[letter.id] = letter
            positions = [position for position in positions if position in left]
        # Letters of one origin are one: whichever of them was sent, the first was read.
        return {id: by_id[candidate] for ref in refs for candidate in ref.ids if candidate in by_id for id in ref.ids}


def _first_position(ref: LetterRef) -> Position | None:
    """Return the first position; None if it is invalid, as anyone who can write to the ledger can write anything."""
    try:
        return Position.parse(ref.positions[0])
    except (ValueError, IndexError):
        return None
