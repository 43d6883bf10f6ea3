"""Setting letters aside, and taking them back: entries of the ledger alone. Nothing is deleted, nothing is sent.

Each letter is one compare-and-set act. Dying in between leaves some done and some not, and the same call does the rest;
a replay that sends a letter meanwhile changes its entry, and the second of the two finds it changed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Literal

from sidecar.dead_letters.desk import Desk
from sidecar.dead_letters.desk import Wish as Wanted
from sidecar.dead_letters.entries import Deed, Who, begun, encode, home, keys, standing
from sidecar.dead_letters.merging import Letters, Newest
from sidecar.ports import Act, Entry, Ledger
from sidecar.replaying.wishes import Outcome

What = Literal["discarded", "restored"]
WHY_NOT = {
    ("discarded", "replayed"): "it was replayed: nothing is open",
    ("discarded", "replaying"): "a replay has it: cancel that first (tracecar replays)",
    ("restored", "open"): "it is open: nothing to undo",
    ("restored", "parked"): "it was not discarded: it is parked (dlq replay --force sends it)",
    ("restored", "replayed"): "it was not discarded: it was replayed (dlq replay --force sends it again)",
    ("restored", "returned"): "it was not discarded: it was replayed, and failed again as a letter of its own",
    ("restored", "replaying"): "it was not discarded: a replay has it",
}
TRIES = 3
"""How often one letter is tried while others change it."""


async def set_aside(
    desk: Desk,
    ledger_of: Callable[[str], Ledger],
    ids: Sequence[str],
    what: What,
    reason: str | None,
    who: Who,
    now: int,
) -> AsyncIterator[Outcome]:
    """Discard or restore the letters with these ids; what came of each, in the order in which they are found, then
    those that are not there. `ledger_of` a broker's system; `now` in microseconds. Raises Outage, Refused."""
    notes: list[str] = []
    wanted, unseen, newest = frozenset(ids), dict.fromkeys(ids), Newest(0)
    async for letter in desk.each(Wanted(lambda letter: letter.id in wanted), notes):
        unseen.pop(letter.id, None)
        newest.add(letter)
    letters = newest.letters()
    notes += await desk.states_of(letters)
    for one in letters:
        yield await _one(ledger_of(one.letter.position.system), one, what, reason, who, now)
    unread = f" ({'; '.join(dict.fromkeys(notes))})" if notes else ""
    for id in unseen:
        yield Outcome(
            id=id, done=False, state="unknown", why=f"no dead-letter stream holds a letter with this id{unread}"
        )


async def _one(ledger: Ledger, one: Letters, what: What, reason: str | None, who: Who, now: int) -> Outcome:
    letter, state = one.letter, one.state
    names = keys(letter, one.ids)
    for _ in range(TRIES):
        if (what, state) == ("discarded", "discarded"):
            return Outcome(id=letter.id, done=True, state=state)
        why = WHY_NOT.get((what, state))
        if why is not None:
            return Outcome(id=letter.id, done=False, state=state, why=why)
        stands = await ledger.entries(home(letter), names)
        entry = standing(stands)
        before = entry or begun(letter)
        deed = Deed(act=what, at=now, by=who.name, address=who.address, why=reason)
        after = encode(before.after(deed, "discarded" if what == "discarded" else "open"))
        entries = tuple([Entry(key, stood, after) for key, stood in zip(names, stands, strict=True)])
        (done,) = await ledger.act([Act(home(letter), entries)])
        if done.carried_out:
            return Outcome(id=letter.id, done=True, state="discarded" if what == "discarded" else "open")
        changed = standing(done.stands)
        state = changed.state if changed is not None else state
    return Outcome(id=letter.id, done=False, state=state, why="others act on it at the same time: try again")
