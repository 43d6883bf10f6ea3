"""Which dead letters a replay takes: those that are open and match, letters of one origin as one, in the order in which
their records lie at the origin."""

from __future__ import annotations

from collections.abc import Callable, Collection

from msgspec import Struct
from msgspec.structs import replace

from sidecar.dead_letters.causes import cause
from sidecar.dead_letters.desk import Desk
from sidecar.dead_letters.desk import Wish as Wanted
from sidecar.dead_letters.merging import MOST_COPIES, age, group_of, origin_of
from sidecar.model import DeadLetter, Position
from sidecar.replaying.jobs import Ref

FORCED = ("replayed", "discarded", "parked")
"""What `--force` takes as well. Not what returned: its later life stands for it. Not what another replay has."""
WHY = {
    "replayed": "was replayed already",
    "returned": "was replayed and failed again: its later letter stands for it",
    "discarded": "was discarded",
    "parked": "is parked: it was replayed as often as is allowed",
    "replaying": "another replay has it",
}


class Candidate(Struct):
    """All selected letters of one origin."""

    letter: DeadLetter
    """The latest, without its record."""
    positions: list[Position]
    ids: list[str]
    groups: list[str]
    cause: str

    @property
    def ref(self) -> Ref:
        latest = self.letter.position
        others = [str(one) for one in reversed(self.positions) if one != latest]
        return Ref([str(latest), *others], self.ids, self.groups, self.cause)

    @property
    def order(self) -> tuple[str, int, int]:
        at = self.letter.origin or self.letter.position
        return at.stream, at.partition, at.offset


class Selection(Struct):
    """What a replay would take, in order."""

    candidates: list[Candidate]
    left_out: dict[str, int]
    """Why, and how many origins."""
    notes: list[str]
    """Sentences: what could not be looked at."""
    systems: list[str]
    missing: list[str]
    """Ids that were asked for and that no stream holds."""


async def select(desk: Desk, wanted: Wanted, ids: Collection[str], *, force: bool, most: int) -> Selection:
    """Select. `ids`: only these letters; `most`: origins that one replay takes. What cannot be read is noted."""
    takes = {"open", *(FORCED if force else ())}
    notes: list[str] = []
    found: dict[tuple[object, ...], Candidate] = {}
    left_out: dict[tuple[object, ...], str] = {}
    unseen = set(ids)
    if ids:
        wanted = replace(wanted, wanted=_both(wanted, frozenset(ids)))
    stated = replace(wanted, by_state=True, by_later_lives=wanted.by_later_lives or force)
    async for letter in desk.each(stated, notes):
        unseen.discard(letter.id)
        key = origin_of(letter)
        if letter.state not in takes:
            left_out[key] = WHY.get(letter.state, letter.state)
            continue
        fingerprint = cause(letter)
        letter.lighten()
        held = found.get(key)
        if held is None:
            if len(found) >= most:
                notes.append(f"the first {most} are taken (dead_letters.replay.selection); run it again for the others")
                break
            found[key] = Candidate(letter, [letter.position], [letter.id], group_of(letter), fingerprint)
        elif len(held.positions) < MOST_COPIES:
            _join(held, letter, fingerprint)
    candidates = sorted(found.values(), key=lambda one: one.order)
    reasons: dict[str, int] = {}
    for key, why in left_out.items():
        if key not in found:
            reasons[why] = reasons.get(why, 0) + 1
    systems = sorted({one.letter.position.system for one in candidates})
    return Selection(candidates, reasons, list(dict.fromkeys(notes)), systems, sorted(unseen))


def _both(wanted: Wanted, ids: frozenset[str]) -> Callable[[DeadLetter], bool]:
    before = wanted.wanted
    return lambda letter: letter.id in ids and (before is None or before(letter))


def _join(held: Candidate, letter: DeadLetter, fingerprint: str) -> None:
    if letter.position in held.positions:
        return
    held.positions.append(letter.position)
    held.ids = list(dict.fromkeys([*held.ids, letter.id]))
    held.groups = list(dict.fromkeys([*held.groups, *group_of(letter)]))
    if age(letter) >= age(held.letter):
        held.letter, held.cause = letter, fingerprint
