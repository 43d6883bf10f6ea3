"""State of a dead letter, from its ledger entry and from the dead letters of its replays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

from sidecar.dead_letters.ledger_entries import LetterEntry, current_entry, entry_keys, ledger_stream
from sidecar.domain.model import DeadLetter
from sidecar.domain.ports.ledger import Ledger
from sidecar.domain.position import Position

MAX_REPLAY_LINKS = 300_000
"""Dead letters of replayed records to remember in one search."""
ReplayLinks = dict[tuple[str, str | None], str]
"""Dead letter of a replayed record that failed again, by the replayed dead letter and the replay."""


def remember_replay(links: ReplayLinks, letter: DeadLetter) -> None:
    """Note the dead letter whose replay failed with this one, if this one comes from a replay."""
    if letter.replay_of is not None and len(links) < MAX_REPLAY_LINKS:
        links[letter.replay_of, letter.replay_id] = letter.id


def latest_replay(entry: LetterEntry | None) -> tuple[str, str | None] | None:
    """Return the key of the latest replay in `ReplayLinks`; None if the state is not `replayed`."""
    if entry is None or entry.state != "replayed":
        return None
    last = next((action for action in reversed(entry.actions) if action.act == "replayed"), None)
    return None if last is None else (last.letter or entry.id, last.replay)


class LetterStates:
    """Determines the states of dead letters."""

    def __init__(self, attempts: int, replaying: Callable[[Position], bool]) -> None:
        """Set the rules.

        Args:
            attempts: Number of replays after which a dead letter is parked; 0 parks none.
            replaying: Returns True if a running replay selected the dead letter at a position and has not sent it.
        """
        self._attempts, self._replaying = attempts, replaying

    async def entries(
        self, ledger: Ledger, letters: Sequence[DeadLetter], ids: Sequence[Sequence[str]] | None = None
    ) -> list[LetterEntry | None]:
        """Read the ledger's entry of each dead letter.

        Args:
            ledger: The broker's ledger.
            letters: The dead letters.
            ids: For each, the ids of all dead letters of its origin.

        Raises:
            Outage: The ledger cannot be reached.
            Refused: The ledger cannot be read.
        """
        entries: list[LetterEntry | None] = []
        with_ids = zip(letters, ids or [()] * len(letters), strict=True)
        for stream, group in groupby(with_ids, key=lambda pair: ledger_stream(pair[0])):
            keys_of_each = [entry_keys(letter, more) for letter, more in group]
            stored = iter(await ledger.entries(stream, [key for keys in keys_of_each for key in keys]))
            for keys in keys_of_each:
                entries.append(current_entry([next(stored) for _ in keys]))
        return entries

    def state(self, letter: DeadLetter, entry: LetterEntry | None, links: ReplayLinks) -> str:
        """Return the state of a dead letter."""
        if entry is not None and entry.state == "discarded":
            return "discarded"
        if entry is not None and entry.state == "replayed":
            return "returned" if latest_replay(entry) in links else "replayed"
        if self._replaying(letter.position):
            return "replaying"
        return "parked" if self._attempts and letter.replays >= self._attempts else "open"
