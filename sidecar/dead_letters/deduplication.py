"""Letters of one origin are one: one failure, whichever groups met it."""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from msgspec import Struct

from sidecar.dead_letters.ledger_entries import LetterEntry
from sidecar.domain.failure_fingerprint import cause_fingerprint
from sidecar.domain.model import DeadLetter
from sidecar.domain.position import Position

MAX_COPIES_PER_ORIGIN = 50
"""Letters of one origin that are told apart."""


class DeadLetterGroup(Struct):
    """All letters of one origin."""

    letter: DeadLetter
    """The latest of them."""
    groups: list[str]
    """The groups that dead-lettered this origin, in the order of their letters."""
    cause: str
    state: str = "open"
    ids: list[str] = []
    """Of all of them, in the order of their letters."""
    positions: list[Position] = []
    """Where they lie, in the same order."""
    entry: LetterEntry | None = None
    """What the ledger knows of it."""
    expires_at: int | None = None
    """Milliseconds: when retention will take the latest; None: never, or nobody says."""
    returned_as: str | None = None
    """The letter of its next life, where it failed again."""


def origin_key(letter: DeadLetter) -> tuple[object, ...]:
    """What letters of one origin have in common."""
    if letter.origin is None:
        return (letter.id,)
    return (letter.origin, letter.origin_timestamp)


def groups_of(letter: DeadLetter) -> list[str]:
    return [] if letter.group is None else [letter.group]


def age_key(letter: DeadLetter) -> tuple[int, str]:
    """Newest letters compare highest; the position commits ties so that lists do not flicker."""
    return (letter.appended_at, str(letter.position))


class NewestLetters:
    """The newest letters by origin, at most `limit` of them (0: no bound). Without `whole` they are kept without their
    records. `before`: only origins all of whose letters are older (`age_key`)."""

    def __init__(self, limit: int, *, whole: bool = False, before: tuple[int, str] | None = None) -> None:
        self._limit, self._whole, self._before = limit, whole, before
        self._newer: set[int] = set()
        """Origins that are left out: small, for there may be many."""
        self._found: dict[tuple[object, ...], DeadLetterGroup] = {}

    def add(self, letter: DeadLetter) -> None:
        fingerprint = cause_fingerprint(letter)
        if not self._whole:
            letter.lighten()
        origin = origin_key(letter)
        if self._before is not None:
            if age_key(letter) >= self._before:
                self._newer.add(hash(origin))
                self._found.pop(origin, None)
                return
            if hash(origin) in self._newer:
                return
        held = self._found.get(origin)
        if held is None:
            self._found[origin] = DeadLetterGroup(
                letter, groups_of(letter), fingerprint, ids=[letter.id], positions=[letter.position]
            )
            if self._limit and len(self._found) > 4 * self._limit + 1_000:
                self._shrink()
            return
        held.groups = list(dict.fromkeys([*held.groups, *groups_of(letter)]))
        if letter.position not in held.positions and len(held.positions) < MAX_COPIES_PER_ORIGIN:
            held.ids = list(dict.fromkeys([*held.ids, letter.id]))
            held.positions.append(letter.position)
        if age_key(letter) >= age_key(held.letter):
            held.letter, held.cause = letter, fingerprint

    def letters(self) -> list[DeadLetterGroup]:
        """Newest first."""
        self._shrink()
        return sorted(self._found.values(), key=lambda one: age_key(one.letter), reverse=True)

    def _shrink(self) -> None:
        if self._limit:
            kept: Iterable[DeadLetterGroup] = heapq.nlargest(
                self._limit, self._found.values(), key=lambda one: age_key(one.letter)
            )
            self._found = {origin_key(one.letter): one for one in kept}
