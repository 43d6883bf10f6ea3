"""Selection of the dead letters of an action: those that match, in allowed states.

Letters of one origin count as one. They are ordered by the positions of their records at the origin.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from sys import intern

from msgspec import Struct
from msgspec.structs import replace

from sidecar.dead_letters.deduplication import MAX_COPIES_PER_ORIGIN, age_key, groups_of, origin_key
from sidecar.dead_letters.grouping import affected_aggregate
from sidecar.dead_letters.store import DeadLetterFilter, DeadLetterStore
from sidecar.domain.model import DeadLetter
from sidecar.domain.position import Position
from sidecar.replay.job_store import LetterRef

MAX_LEFT_OUT_KEYS = 300_000
"""Skipped origins to distinguish, some hundred bytes each. Beyond that, each of their letters counts."""
OPEN_STATES = ("open",)
"""States of letters that a replay takes."""
FORCED_STATES = ("open", "replayed", "discarded", "parked")
"""States of letters that a replay takes with `--force`.

Returned letters belong to their later letter, replaying ones to their replay.
"""
UNDECIDED_STATES = ("open", "parked")
"""States of letters that wait for a decision, and may be discarded."""
SKIP_REASONS = {
    "replayed": "was replayed already",
    "returned": "was replayed and failed again: see its later letter",
    "discarded": "was discarded",
    "parked": "is parked: it was replayed the maximum number of times",
    "replaying": "is selected by another replay: wait for its end, or cancel it first (tracecar replays)",
}


class ReplayCandidate(Struct, gc=False):
    """All selected letters of one origin."""

    letter: DeadLetter
    """The latest letter, without its record."""
    positions: list[Position]
    ids: list[str]
    groups: list[str]

    @property
    def ref(self) -> LetterRef:
        latest = self.letter.position
        others = [str(position) for position in reversed(self.positions) if position != latest]
        return LetterRef([str(latest), *others], self.ids, self.groups)

    @property
    def order(self) -> tuple[str, int, int]:
        at = self.letter.origin or self.letter.position
        return at.stream, at.partition, at.offset


class ReplaySelection(Struct):
    """The letters that a replay would take, in order."""

    candidates: list[ReplayCandidate]
    left_out: dict[str, int]
    """Number of skipped origins, by reason."""
    notes: list[str]
    """Sentences about streams that could not be read."""
    systems: list[str]
    missing: list[str]
    """Requested ids that no stream has."""
    more: bool = False
    """True if further letters match and were not selected."""

    def list_notes(self, *, force: bool) -> list[str]:
        """List notes about the selection. `force`: letters that were already sent are selected too."""
        if not self.more:
            return self.notes
        again = "run it again for the others"
        how = "select the others by another query: the same query would take these again" if force else again
        return [*self.notes, f"the first {len(self.candidates)} are taken (dead_letters.replay.selection); {how}"]


async def select(
    store: DeadLetterStore,
    wanted: DeadLetterFilter,
    ids: Collection[str],
    *,
    takes: Collection[str] = OPEN_STATES,
    most: int,
) -> ReplaySelection:
    """Select dead letters.

    `ids`: only these letters; `takes`: allowed states; `most`: origins that one replay takes. Streams that cannot be
    read are noted.
    """
    notes: list[str] = []
    candidates_by_origin: dict[tuple[object, ...], ReplayCandidate] = {}
    left_out: dict[int, str] = {}
    uncounted: dict[str, int] = {}
    unseen, more = set(ids), False
    if ids:
        wanted = replace(wanted, wanted=_match_ids_too(wanted, frozenset(ids)))
    stated = replace(wanted, by_state=True, by_later_lives=wanted.by_later_lives or "replayed" in takes)
    async for letter in store.each(stated, notes):
        unseen.discard(letter.id)
        key = origin_key(letter)
        if letter.state not in takes:
            why = SKIP_REASONS.get(letter.state, letter.state)
            if len(left_out) < MAX_LEFT_OUT_KEYS or hash(key) in left_out:
                left_out[hash(key)] = why
            else:
                uncounted[why] = uncounted.get(why, 0) + 1
            continue
        _strip(letter)
        held = candidates_by_origin.get(key)
        if held is None:
            if len(candidates_by_origin) >= most:
                more = True
                break
            candidates_by_origin[key] = ReplayCandidate(letter, [letter.position], [letter.id], groups_of(letter))
        elif len(held.positions) < MAX_COPIES_PER_ORIGIN:
            _add_letter(held, letter)
    candidates = sorted(candidates_by_origin.values(), key=lambda item: item.order)
    reasons, taken = uncounted, {hash(key) for key in candidates_by_origin}
    for number, why in left_out.items():
        if number not in taken:
            reasons[why] = reasons.get(why, 0) + 1
    systems = sorted({candidate.letter.position.system for candidate in candidates})
    return ReplaySelection(candidates, reasons, list(dict.fromkeys(notes)), systems, sorted(unseen), more)


def _strip(letter: DeadLetter) -> None:
    """Forget what is not asked about: there may be some hundred thousand of them."""
    letter.aggregate_id = affected_aggregate(letter)  # by its key too, which goes with the record
    letter.lighten()
    letter.message, letter.code = "", intern(letter.code)
    letter.path = letter.event_id = letter.type = letter.trace_id = letter.service = letter.stacktrace = None
    letter.schema = letter.failed_at = None
    letter.stream = intern(letter.stream)
    letter.group = None if letter.group is None else intern(letter.group)


def _match_ids_too(wanted: DeadLetterFilter, ids: frozenset[str]) -> Callable[[DeadLetter], bool]:
    before = wanted.wanted
    return lambda letter: letter.id in ids and (before is None or before(letter))


def _add_letter(held: ReplayCandidate, letter: DeadLetter) -> None:
    if letter.position in held.positions:
        return
    held.positions.append(letter.position)
    held.ids = list(dict.fromkeys([*held.ids, letter.id]))
    held.groups = list(dict.fromkeys([*held.groups, *groups_of(letter)]))
    if age_key(letter) >= age_key(held.letter):
        held.letter = letter
