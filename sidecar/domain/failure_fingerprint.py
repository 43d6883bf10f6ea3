"""A cause: what dead letters have in common, as a short fingerprint. Three thousand letters read as a dozen causes."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache

from msgspec import Struct

from sidecar.domain.model import DeadLetter

_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_IN_APOSTROPHES = re.compile(r"(?<!\w)'[^'\s]{1,200}'(?!\w)")
_MAY_BE_HEX = re.compile(r"[0-9a-fA-F]{8}")
_HEX = re.compile(
    r"""
      \b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b     # UUIDs
    | \b(?:0x)?(?=[a-fA-F]*[0-9])[0-9a-fA-F]{8,}\b
    """,
    re.VERBOSE,
)
_NUMBER = re.compile(r"[0-9]+(?:[.,:][0-9]+)*")
_INDEX = re.compile(r"\[\d+\]")

MAX_MESSAGE_CHARACTERS = 2_000
MAX_CAUSES = 1_000
"""Causes that are told apart at the same time; beyond it those with the fewest letters are counted together."""
MAX_REMEMBERED_KEYS = 300_000
"""Origins and aggregates that are remembered to count each once, some 60 bytes each."""
MAX_NAMED_AGGREGATES = 5
"""Aggregates that are named."""
MAX_GROUPS_PER_CAUSE = 20
HOUR_US = 3_600_000_000


@lru_cache(maxsize=1_024)
def normalize_message(message: str) -> str:
    """The message without what varies from letter to letter: quoted values, ids, numbers and times become `#`."""
    message = message[:MAX_MESSAGE_CHARACTERS]
    # Several passes, each of which begins with a character that is searched for quickly, take half the time of one.
    if '"' in message:
        message = _QUOTED.sub("#", message)
    if "'" in message:
        message = _IN_APOSTROPHES.sub("#", message)
    if _MAY_BE_HEX.search(message):
        message = _HEX.sub("#", message)
    return " ".join(_NUMBER.sub("#", message).split())


def cause_fingerprint(letter: DeadLetter) -> str:
    """Twelve hex digits that are equal for letters of the same cause: stream, code, path (without indexes), message
    (normalized) and schema."""
    if letter.cause is not None:
        return letter.cause
    code, path, message = failure_signature(letter)
    subject = letter.schema.subject if letter.schema else None
    return _fingerprint(letter.stream, code, path, message, subject)


FailureSignature = tuple[str, str | None, str]


def failure_signature(letter: DeadLetter) -> FailureSignature:
    """What a cause is, but for where: equal also for letters of the same fault on another stream."""
    return letter.code, _unindexed(letter.path), normalize_message(letter.message)


def _unindexed(path: str | None) -> str | None:
    return _INDEX.sub("[]", path[:MAX_MESSAGE_CHARACTERS]) if path and "[" in path else path


@lru_cache(maxsize=1_024)
def _fingerprint(*parts: str | None) -> str:
    return hashlib.sha256(repr(parts).encode("utf-8", "backslashreplace")).hexdigest()[:12]


class FailureCause(Struct):
    """The dead letters of one cause. A letter counts once for each origin, whichever groups wrote it."""

    cause: str
    letter: DeadLetter
    """The latest of them, without its record."""
    first_seen: int
    """Microseconds, as `last_seen`: when they failed, else when they were appended."""
    last_seen: int
    count: int = 0
    recent: int = 0
    """How many of them failed within the last hour."""
    aggregates: int = 0
    """How many different ones are affected; at least so many, where not all could be remembered."""
    some_aggregates: list[str] = []
    """The first few."""
    groups: list[str] = []
    dialects: list[str] = []
    states: dict[str, int] = {}
    """What became of its letters, and of how many."""


class CauseGrouping:
    """Dead letters, taken one by one, as their causes. Bounded, whatever comes."""

    def __init__(self, now: int) -> None:
        self._recently = now - HOUR_US
        self._found: dict[str, FailureCause] = {}
        self._seen: set[int] = set()
        self._full = False
        self.letters = 0
        self.folded = 0
        """Letters of causes that are told apart no more, as there are too many."""

    def add(self, letter: DeadLetter) -> str | None:
        """Takes the letter over: one that is kept is kept without its record. Returns its cause, None where it is
        another letter of an origin that was counted already."""
        fingerprint = cause_fingerprint(letter)
        moment = letter.appended_at * 1000 if letter.failed_at is None else letter.failed_at
        found = self._found.get(fingerprint)
        if found is None:
            found = self._found[fingerprint] = FailureCause(fingerprint, letter, moment, moment)
            if len(self._found) > 2 * MAX_CAUSES:
                self._shrink(found)
        _join(found.groups, letter.group)
        _join(found.dialects, letter.dialect)
        new = self._new(hash((fingerprint, letter.origin or letter.id, letter.origin_timestamp)))
        if new:
            self.letters += 1
            found.count += 1
            found.states[letter.state] = found.states.get(letter.state, 0) + 1
            found.recent += moment >= self._recently
            self._affected(found, letter)
        if moment < found.first_seen:
            found.first_seen = moment
        elif moment >= found.last_seen:
            found.last_seen, found.letter = moment, letter
            letter.lighten()
        return fingerprint if new else None

    def returned(self, fingerprint: str) -> None:
        """One of the replayed letters of a cause failed again."""
        found = self._found.get(fingerprint)
        if found is not None and found.states.get("replayed"):
            found.states["replayed"] -= 1
            found.states["returned"] = found.states.get("returned", 0) + 1

    def _affected(self, found: FailureCause, letter: DeadLetter) -> None:
        aggregate = affected_aggregate(letter)
        if aggregate is not None and self._new(hash((found.cause, "aggregate", aggregate))):
            found.aggregates += 1
            if len(found.some_aggregates) < MAX_NAMED_AGGREGATES and aggregate not in found.some_aggregates:
                found.some_aggregates.append(aggregate)

    def found(self) -> list[FailureCause]:
        """The causes, the one with the most letters first."""
        self._shrink(None)
        return sorted(self._found.values(), key=_weight, reverse=True)

    @property
    def notes(self) -> list[str]:
        """What the numbers do not tell."""
        notes = []
        if self.folded:
            notes.append(
                f"there are more causes than the {MAX_CAUSES} that are told apart: {self.folded} letters are of others"
            )
        if self._full:
            notes.append(
                f"only {MAX_REMEMBERED_KEYS} origins and aggregates are remembered: beyond these each letter counts, "
                "and aggregates are at least as many as said"
            )
        return notes

    def _new(self, what: int) -> bool:
        """Whether this is seen for the first time, as far as can be remembered."""
        if what in self._seen:
            return False
        if len(self._seen) < MAX_REMEMBERED_KEYS:
            self._seen.add(what)
        else:
            self._full = True
        return True

    def _shrink(self, latest: FailureCause | None) -> None:
        """Keep the causes with the most letters, and the one that just came."""
        if len(self._found) <= MAX_CAUSES:
            return
        kept = sorted(self._found.values(), key=_weight, reverse=True)
        for one in kept[MAX_CAUSES:]:
            if one is not latest:
                self.folded += one.count
                del self._found[one.cause]


def affected_aggregate(letter: DeadLetter) -> str | None:
    """The aggregate that a letter is about: its id, else the record's key as text."""
    if letter.aggregate_id is not None:
        return letter.aggregate_id
    key = letter.record.key if letter.record is not None else None
    return None if not key else key[:200].decode("utf-8", "backslashreplace")


def _weight(one: FailureCause) -> tuple[int, int, str]:
    return one.count, one.last_seen, one.cause


def _join(names: list[str], name: str | None) -> None:
    if name is not None and name not in names and len(names) < MAX_GROUPS_PER_CAUSE:
        names.append(name)
