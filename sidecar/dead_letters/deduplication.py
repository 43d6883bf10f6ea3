"""Deduplication of dead letters: all dead letters of one origin are one failure, in any number of groups."""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from msgspec import Struct

from sidecar.dead_letters.ledger_entries import LetterEntry
from sidecar.domain.failure_fingerprint import cause_fingerprint
from sidecar.domain.model import DeadLetter
from sidecar.domain.position import Position

MAX_COPIES_PER_ORIGIN = 50
"""Dead letters of one origin to list by id and position."""


class DeadLetterGroup(Struct):
    """All dead letters of one origin."""

    letter: DeadLetter
    """The latest dead letter."""
    groups: list[str]
    """Consumer groups that dead-lettered this origin, in the order of their dead letters."""
    cause: str
    state: str = "open"
    ids: list[str] = []
    """Ids of all dead letters, in the order of reading."""
    positions: list[Position] = []
    """Their positions, in the same order."""
    entry: LetterEntry | None = None
    """The ledger's entry, once it was read."""
    expires_at: int | None = None
    """Time at which retention deletes the latest, in milliseconds. None: never, or unknown."""
    returned_as: str | None = None
    """Id of the dead letter of the replayed record, if it failed again."""


def origin_key(letter: DeadLetter) -> tuple[object, ...]:
    """Return the key that dead letters of one origin share: origin and timestamp, else the id."""
    if letter.origin is None:
        return (letter.id,)
    return (letter.origin, letter.origin_timestamp)


def groups_of(letter: DeadLetter) -> list[str]:
    """Return the consumer group of a dead letter, as a list of none or one."""
    return [] if letter.group is None else [letter.group]


def age_key(letter: DeadLetter) -> tuple[int, str]:
    """Return a sort key by age, the newest highest.

    The position decides between equal times, so that lists are stable.
    """
    return (letter.appended_at, str(letter.position))


class NewestLetters:
    """Newest dead letters by origin, at most `limit` of them (0: no limit)."""

    def __init__(self, limit: int, *, whole: bool = False, before: tuple[int, str] | None = None) -> None:
        """Create an empty collection.

        Args:
            limit: Number of origins to keep; 0 keeps all.
            whole: Keep records and stack traces too.
            before: Keep only origins of which every dead letter is older than this `age_key`.
        """
        self._limit, self._whole, self._before = limit, whole, before
        self._newer: set[int] = set()
        """Hashes of the origins that are left out; there may be many."""
        self._groups: dict[tuple[object, ...], DeadLetterGroup] = {}

    def add(self, letter: DeadLetter) -> None:
        """Add a dead letter. The object is modified."""
        fingerprint = cause_fingerprint(letter)
        if not self._whole:
            letter.lighten()
        origin = origin_key(letter)
        if self._before is not None:
            if age_key(letter) >= self._before:
                self._newer.add(hash(origin))
                self._groups.pop(origin, None)
                return
            if hash(origin) in self._newer:
                return
        held = self._groups.get(origin)
        if held is None:
            self._groups[origin] = DeadLetterGroup(
                letter, groups_of(letter), fingerprint, ids=[letter.id], positions=[letter.position]
            )
            if self._limit and len(self._groups) > 4 * self._limit + 1_000:
                self._shrink()
            return
        held.groups = list(dict.fromkeys([*held.groups, *groups_of(letter)]))
        if letter.position not in held.positions and len(held.positions) < MAX_COPIES_PER_ORIGIN:
            held.ids = list(dict.fromkeys([*held.ids, letter.id]))
            held.positions.append(letter.position)
        if age_key(letter) >= age_key(held.letter):
            held.letter, held.cause = letter, fingerprint

    def letters(self) -> list[DeadLetterGroup]:
        """Return the kept dead letters, newest first."""
        self._shrink()
        return sorted(self._groups.values(), key=lambda group: age_key(group.letter), reverse=True)

    def _shrink(self) -> None:
        if self._limit:
            kept: Iterable[DeadLetterGroup] = heapq.nlargest(
                self._limit, self._groups.values(), key=lambda group: age_key(group.letter)
            )
            self._groups = {origin_key(group.letter): group for group in kept}
