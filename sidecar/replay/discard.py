"""Discarding and restoring of letters. Only ledger entries change: nothing is deleted or sent.

Each letter is one compare-and-set transaction. After a crash some letters are done and others are not; repeating the
call does the rest. If a replay sends a letter meanwhile, its entry changes, and the second of the two actions finds the
change.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Literal

from sidecar.dead_letters.deduplication import DeadLetterGroup, NewestLetters
from sidecar.dead_letters.ledger_entries import (
    Actor,
    LedgerAction,
    State,
    current_entry,
    encode_entry,
    entry_keys,
    ledger_stream,
    new_entry,
)
from sidecar.dead_letters.store import DeadLetterFilter, DeadLetterStore
from sidecar.domain.dead_letter_id import describe_malformed_id
from sidecar.domain.ports.ledger import Ledger, LedgerTransaction, LedgerWrite
from sidecar.replay.models import LetterOutcome

DiscardAction = Literal["discarded", "restored"]
REFUSALS = {
    ("discarded", "replayed"): "it was replayed, so there is nothing to discard",
    ("discarded", "replaying"): "a replay has selected it: cancel the replay first (tracecar replays)",
    ("restored", "open"): "it is open, so there is nothing to restore",
    ("restored", "parked"): "it was not discarded: it is parked (dlq replay --force sends it)",
    ("restored", "replayed"): "it was not discarded: it was replayed (dlq replay --force sends it again)",
    ("restored", "returned"): "it was not discarded: it was replayed, and failed again as a letter of its own",
    ("restored", "replaying"): "it was not discarded: a replay has selected it",
}
NEW_STATES: dict[DiscardAction, State] = {"discarded": "discarded", "restored": "open"}
"""State of a letter after each action."""
MAX_TRIES = 3
"""Attempts for one letter while other actors change it."""
MAX_LETTERS_PER_CALL = 500
"""Letters in one call of the ledger."""


async def change_letters(
    store: DeadLetterStore,
    ledger_of: Callable[[str], Ledger],
    ids: Sequence[str],
    what: DiscardAction,
    reason: str | None,
    who: Actor,
    now: int,
) -> AsyncIterator[LetterOutcome]:
    """Discard or restore letters by id.

    Yields an outcome for each letter in the order of the streams, then for the ids that no stream has. `ledger_of`
    returns the ledger of a broker's system; `now` is in microseconds. Raises Outage, Refused.
    """
    notes: list[str] = []
    wanted, unseen, newest = frozenset(ids), dict.fromkeys(ids), NewestLetters(0)
    async for letter in store.each(DeadLetterFilter(lambda letter: letter.id in wanted), notes):
        unseen.pop(letter.id, None)
        newest.add(letter)
    letters = newest.letters()
    notes += await store.states_of(letters)
    for at in range(0, len(letters), MAX_LETTERS_PER_CALL):
        for outcome in await _change_letters(
            ledger_of, letters[at : at + MAX_LETTERS_PER_CALL], what, reason, who, now
        ):
            yield outcome
    unread = f" ({'; '.join(dict.fromkeys(notes))})" if notes else ""
    for id in unseen:
        why = describe_malformed_id(id) or f"no dead-letter stream has a letter with this id{unread}"
        yield LetterOutcome(id=id, done=False, state="unknown", why=why)


async def _change_letters(
    ledger_of: Callable[[str], Ledger],
    letters: Sequence[DeadLetterGroup],
    what: DiscardAction,
    reason: str | None,
    who: Actor,
    now: int,
) -> list[LetterOutcome]:
    """Discard or restore each letter in its own ledger transaction.

    All transactions of one broker are sent in one call.
    """
    outcomes: dict[int, LetterOutcome] = {}
    states = [letter.state for letter in letters]
    for _ in range(MAX_TRIES):
        for number, letter in enumerate(letters):
            if number not in outcomes and (known := _find_outcome(letter.letter.id, what, states[number])) is not None:
                outcomes[number] = known
        due: dict[str, list[int]] = {}
        for number, letter in enumerate(letters):
            if number not in outcomes:
                due.setdefault(letter.letter.position.system, []).append(number)
        for system, numbers in due.items():
            ledger = ledger_of(system)
            acts = await _build_transactions(ledger, [letters[number] for number in numbers], what, reason, who, now)
            for number, done in zip(numbers, await ledger.act(acts), strict=True):
                if done.carried_out:
                    outcomes[number] = LetterOutcome(id=letters[number].letter.id, done=True, state=NEW_STATES[what])
                else:
                    changed = current_entry(done.stands)
                    states[number] = changed.state if changed is not None else states[number]
    why = "another operator changed it at the same time: try again"
    return [
        outcomes.get(number) or LetterOutcome(id=letter.letter.id, done=False, state=states[number], why=why)
        for number, letter in enumerate(letters)
    ]


def _find_outcome(id: str, what: DiscardAction, state: str) -> LetterOutcome | None:
    """Return the outcome of a letter that needs no change; None if it needs one."""
    if (what, state) == ("discarded", "discarded"):
        return LetterOutcome(id=id, done=True, state=state)
    why = REFUSALS.get((what, state))
    return None if why is None else LetterOutcome(id=id, done=False, state=state, why=why)


async def _build_transactions(
    ledger: Ledger, letters: Sequence[DeadLetterGroup], what: DiscardAction, reason: str | None, who: Actor, now: int
) -> list[LedgerTransaction]:
    """Build the ledger transaction of each letter."""
    by_home: dict[str, list[int]] = {}
    for number, letter in enumerate(letters):
        by_home.setdefault(ledger_stream(letter.letter), []).append(number)
    acts: dict[int, LedgerTransaction] = {}
    deed = LedgerAction(act=what, at=now, by=who.name, address=who.address, why=reason)
    for stream, numbers in by_home.items():
        names = [entry_keys(letters[number].letter, letters[number].ids) for number in numbers]
        stands = iter(await ledger.entries(stream, [name for some in names for name in some]))
        for number, some in zip(numbers, names, strict=True):
            stood = [next(stands) for _ in some]
            before = current_entry(stood) or new_entry(letters[number].letter)
            after = encode_entry(before.with_action(deed, NEW_STATES[what]))
            acts[number] = LedgerTransaction(
                stream, tuple([LedgerWrite(key, stored, after) for key, stored in zip(some, stood, strict=True)])
            )
    return [acts[number] for number in range(len(letters))]
