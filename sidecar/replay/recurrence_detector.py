"""What failed again of a replay in growing batches: whether it is a cause that comes back, which stops the replay, or
something else that one letter had as well.

A cause comes back where a letter fails again as it did before it was sent, or where a second one fails in a new way
that the first did. Which letter a returned one was before, the job's selection says, and how that failed, its stream:
so whoever takes the job over comes to the same verdict."""

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
"""Letters that came back of one batch, beyond which they are not looked at for its verdict."""
MAX_SIGNATURES = 1_000
"""Faults of one replay that are told apart; each beyond that is taken for one that comes back."""
MAX_READ_BYTES = 8 << 20


class RecurrenceDetector:
    """Takes the letters of one job that failed again. Raises Outage, Refused."""

    def __init__(self, source: LetterSource, jobs: JobStore) -> None:
        self._source, self._jobs = source, jobs
        self._seen: set[FailureSignature] = set()
        """How letters of this replay failed again so far."""
        self._new: list[DeadLetter] = []
        self._here: list[DeadLetter] = []
        """What failed again since the last verdict, as far as it was looked at."""
        self._again: set[FailureSignature] = set()
        """Which of its faults came back."""

    def seed(self, letters: Iterable[DeadLetter]) -> None:
        """They failed again before, and somebody saw it."""
        for letter in letters:
            self._note(failure_signature(letter))

    def take(self, letters: Sequence[DeadLetter]) -> None:
        """They failed again just now."""
        self._new += letters[: MAX_LETTERS_PER_BATCH - len(self._new) - len(self._here)]

    async def list_recurring(self, job: ReplayJob) -> list[DeadLetter]:
        """Those since the last verdict whose cause came back."""
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
        """A verdict was found. Returns those that had no part in it."""
        others = [letter for letter in self._here if failure_signature(letter) not in self._again]
        self._here, self._again = [], set()
        return others

    def _note(self, what: FailureSignature) -> None:
        if len(self._seen) < MAX_SIGNATURES:
            self._seen.add(what)

    async def _before(self, job: ReplayJob, letters: Sequence[DeadLetter]) -> dict[str, DeadLetter]:
        """What these were when they were sent, by id: those that are still there."""
        wanted = {letter.replay_of for letter in letters if letter.replay_of is not None}
        refs: list[LetterRef] = []
        for end in range(job.at, 0, -MAX_LETTERS_PER_PART):  # most are of the last batch
            if not wanted:
                break
            for ref in await self._jobs.refs(job, max(0, end - MAX_LETTERS_PER_PART), end):
                if not wanted.isdisjoint(ref.ids):
                    wanted.difference_update(ref.ids)
                    refs.append(ref)
        positions = [one for ref in refs if (one := _first_position(ref)) is not None]
        found: dict[str, DeadLetter] = {}
        while positions:
            read, left = await fetch_letters(self._source.broker, self._source.naming, positions, MAX_READ_BYTES)
            for letter in read.values():
                letter.lighten()
                found[letter.id] = letter
            positions = [position for position in positions if position in left]
        # Letters of one origin are one: whichever of them was sent, the first was read.
        return {id: found[one] for ref in refs for one in ref.ids if one in found for id in ref.ids}


def _first_position(ref: LetterRef) -> Position | None:
    """None where it is none: whoever can write to the ledger can write anything."""
    try:
        return Position.parse(ref.positions[0])
    except (ValueError, IndexError):
        return None
