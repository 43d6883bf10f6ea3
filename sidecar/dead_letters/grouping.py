"""Grouping of dead letters by cause, in bounded memory."""

from __future__ import annotations

from msgspec import Struct

from sidecar.domain.failure_fingerprint import cause_fingerprint
from sidecar.domain.model import DeadLetter

MAX_CAUSES = 1_000
"""Causes to distinguish. Beyond that, the causes with the fewest dead letters are counted together."""
MAX_REMEMBERED_KEYS = 300_000
"""Origins and aggregates to remember, so that each counts once; about 60 bytes each."""
MAX_NAMED_AGGREGATES = 5
MAX_GROUPS_PER_CAUSE = 20
HOUR_US = 3_600_000_000


class FailureCause(Struct):
    """Dead letters of one cause. A dead letter counts once for each origin, in any number of groups."""

    cause: str
    letter: DeadLetter
    """The latest dead letter, without its record."""
    first_seen: int
    """Time of the first failure in microseconds (if unknown, the time of appending), as in `last_seen`."""
    last_seen: int
    count: int = 0
    recent: int = 0
    """Number of dead letters that failed within the last hour."""
    aggregates: int = 0
    """Number of affected aggregates. It is a lower bound if there were too many to remember."""
    some_aggregates: list[str] = []
    """The first few affected aggregates."""
    groups: list[str] = []
    dialects: list[str] = []
    states: dict[str, int] = {}
    """Number of dead letters by state."""


class CauseGrouping:
    """Groups dead letters, added one by one, by their cause."""

    def __init__(self, now: int) -> None:
        """Start empty. `now` is in microseconds."""
        self._recently = now - HOUR_US
        self._causes: dict[str, FailureCause] = {}
        self._seen: set[int] = set()
        self._is_full = False
        self.letters = 0
        self.folded = 0
        """Dead letters whose causes are counted together, because there are too many causes."""

    def add(self, letter: DeadLetter) -> str | None:
        """Add a dead letter. Returns its cause, or None if its origin counted before.

        The object is modified if it is kept.
        """
        fingerprint = cause_fingerprint(letter)
        moment = letter.appended_at * 1000 if letter.failed_at is None else letter.failed_at
        cause = self._causes.get(fingerprint)
        if cause is None:
            cause = self._causes[fingerprint] = FailureCause(fingerprint, letter, moment, moment)
            if len(self._causes) > 2 * MAX_CAUSES:
                self._shrink(cause)
        _append_once(cause.groups, letter.group)
        _append_once(cause.dialects, letter.dialect)
        is_new = self._remember(hash((fingerprint, letter.origin or letter.id, letter.origin_timestamp)))
        if is_new:
            self.letters += 1
            cause.count += 1
            cause.states[letter.state] = cause.states.get(letter.state, 0) + 1
            cause.recent += moment >= self._recently
            self._add_aggregate(cause, letter)
        if moment < cause.first_seen:
            cause.first_seen = moment
        elif moment >= cause.last_seen:
            cause.last_seen, cause.letter = moment, letter
            letter.lighten()
        return fingerprint if is_new else None

    def mark_returned(self, fingerprint: str) -> None:
        """Count one replayed dead letter of a cause as returned, because it failed again."""
        cause = self._causes.get(fingerprint)
        if cause is not None and cause.states.get("replayed"):
            cause.states["replayed"] -= 1
            cause.states["returned"] = cause.states.get("returned", 0) + 1

    def causes(self) -> list[FailureCause]:
        """Return the causes, the one with the most dead letters first."""
        self._shrink(None)
        return sorted(self._causes.values(), key=_weight, reverse=True)

    @property
    def notes(self) -> list[str]:
        """Sentences about data that the numbers leave out."""
        notes = []
        if self.folded:
            notes.append(
                f"there are more than {MAX_CAUSES} causes: {self.folded} letters of further causes are not listed"
            )
        if self._is_full:
            notes.append(
                f"only {MAX_REMEMBERED_KEYS} origins and aggregates are remembered: beyond these every letter "
                "counts, and the numbers of aggregates are lower bounds"
            )
        return notes

    def _add_aggregate(self, cause: FailureCause, letter: DeadLetter) -> None:
        aggregate = affected_aggregate(letter)
        if aggregate is not None and self._remember(hash((cause.cause, "aggregate", aggregate))):
            cause.aggregates += 1
            if len(cause.some_aggregates) < MAX_NAMED_AGGREGATES and aggregate not in cause.some_aggregates:
                cause.some_aggregates.append(aggregate)

    def _remember(self, key: int) -> bool:
        """Return True if the key is new, as far as keys can be remembered."""
        if key in self._seen:
            return False
        if len(self._seen) < MAX_REMEMBERED_KEYS:
            self._seen.add(key)
        else:
            self._is_full = True
        return True

    def _shrink(self, latest: FailureCause | None) -> None:
        """Keep the causes with the most dead letters, and the latest one."""
        if len(self._causes) <= MAX_CAUSES:
            return
        by_weight = sorted(self._causes.values(), key=_weight, reverse=True)
        for cause in by_weight[MAX_CAUSES:]:
            if cause is not latest:
                self.folded += cause.count
                del self._causes[cause.cause]


def affected_aggregate(letter: DeadLetter) -> str | None:
    """Return the aggregate that a dead letter affects: its id, else the record's key as text."""
    if letter.aggregate_id is not None:
        return letter.aggregate_id
    key = letter.record.key if letter.record is not None else None
    return None if not key else key[:200].decode("utf-8", "backslashreplace")


def _weight(cause: FailureCause) -> tuple[int, int, str]:
    return cause.count, cause.last_seen, cause.cause


def _append_once(names: list[str], name: str | None) -> None:
    if name is not None and name not in names and len(names) < MAX_GROUPS_PER_CAUSE:
        names.append(name)
