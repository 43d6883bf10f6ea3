"""What became of dead letters: what the ledger says, and what follows from the letters themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

from sidecar.dead_letters.ledger_entries import LetterEntry, current_entry, entry_keys, ledger_stream
from sidecar.domain.model import DeadLetter
from sidecar.domain.ports.ledger import Ledger
from sidecar.domain.position import Position

MAX_REPLAY_LINKS = 300_000
"""Letters of replayed records that are remembered in one search."""
ReplayLinks = dict[tuple[str, str | None], str]
"""For the letter of an earlier life and the replay that ended it: the letter of the next."""


def remember_replay(lives: ReplayLinks, letter: DeadLetter) -> None:
    """Take note of the earlier life that this letter's record had, if it had one."""
    if letter.replay_of is not None and len(lives) < MAX_REPLAY_LINKS:
        lives[letter.replay_of, letter.replay_id] = letter.id


def next_attempt(entry: LetterEntry | None) -> tuple[str, str | None] | None:
    """The life that the latest replay of a letter began; None where there was none."""
    if entry is None or entry.state != "replayed":
        return None
    last = next((deed for deed in reversed(entry.deeds) if deed.act == "replayed"), None)
    return None if last is None else (last.letter or entry.id, last.replay)


class LetterStates:
    """Tells the states of letters. `attempts`: replays beyond which a letter is parked (0: none is); `replaying` says
    whether the letter at a position is selected by a running replay and not sent yet."""

    def __init__(self, attempts: int, replaying: Callable[[Position], bool]) -> None:
        self._attempts, self._replaying = attempts, replaying

    async def entries(
        self, ledger: Ledger, letters: Sequence[DeadLetter], ids: Sequence[Sequence[str]] | None = None
    ) -> list[LetterEntry | None]:
        """What the ledger knows of each. `ids`: of all letters of its origin. Raises Outage, Refused."""
        found: list[LetterEntry | None] = []
        numbered = zip(letters, ids or [()] * len(letters), strict=True)
        for stream, group in groupby(numbered, key=lambda one: ledger_stream(one[0])):
            each = [entry_keys(letter, more) for letter, more in group]
            stands = iter(await ledger.entries(stream, [key for some in each for key in some]))
            for some in each:
                found.append(current_entry([next(stands) for _ in some]))
        return found

    def state(self, letter: DeadLetter, entry: LetterEntry | None, lives: ReplayLinks) -> str:
        """What became of a letter, as far as its entry and the letters of later lives tell."""
        if entry is not None and entry.state == "discarded":
            return "discarded"
        if entry is not None and entry.state == "replayed":
            return "returned" if next_attempt(entry) in lives else "replayed"
        if self._replaying(letter.position):
            return "replaying"
        return "parked" if self._attempts and letter.replays >= self._attempts else "open"
