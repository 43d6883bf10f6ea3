"""What the ledger holds about a dead letter: its state and what was done with it, by whom, when and why.

An entry stands under several keys, always with the same bytes: under the origin's position, which every letter of that
origin shares whoever wrote it, and under the id of each letter. A letter whose origin is not known has its id alone.
With each goes the origin's timestamp, so that a stream created again is another one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from msgspec import Struct

from sidecar.domain.model import DeadLetter

MAX_ACTIONS_PER_ENTRY = 20
"""Deeds that an entry keeps: the first, and the latest."""
State = Literal["open", "replayed", "discarded"]


class PathChange(Struct, frozen=True, omit_defaults=True):
    """One difference that an edit made, as it may be shown: hidden values are masked."""

    path: str
    before: Any = None
    after: Any = None
    what: Literal["changed", "added", "removed"] = "changed"


class Actor(Struct, frozen=True, omit_defaults=True):
    """Who acts: a token's name, and the address that it was used from."""

    name: str
    address: str | None = None


class LedgerAction(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One thing that was done with a letter."""

    act: Literal["replayed", "discarded", "restored", "reported", "imported"]
    at: int
    """Microseconds, by the clock of the sidecar that did it."""
    by: str
    address: str | None = None
    why: str | None = None
    replay: str | None = None
    to: str | None = None
    """The stream that a replay published to."""
    group: str | None = None
    """For which group, where a replay was for one."""
    attempt: int | None = None
    edit: tuple[PathChange, ...] = ()
    letter: str | None = None
    """The id of the letter that was sent, of all that its origin has, where it is not the entry's."""


class LetterEntry(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """An entry of the ledger."""

    id: str
    origin: str | None = None
    timestamp: int | None = None
    """Of the origin, milliseconds."""
    state: State = "open"
    deeds: tuple[LedgerAction, ...] = ()
    """The oldest first."""

    def after(self, deed: LedgerAction, state: State) -> LetterEntry:
        """The entry once this is done too."""
        deeds = (*self.deeds, deed)
        if len(deeds) > MAX_ACTIONS_PER_ENTRY:
            deeds = (deeds[0], *deeds[2 - MAX_ACTIONS_PER_ENTRY - 1 :])
        return msgspec.structs.replace(self, state=state, deeds=deeds)


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(LetterEntry)


def encode_entry(entry: LetterEntry) -> bytes:
    return _encoder.encode(entry)


def decode_entry(entry: bytes | None) -> LetterEntry | None:
    """None where there is none, or it is not ours to understand: whoever can write to the ledger can write anything."""
    if entry is None:
        return None
    try:
        return _decoder.decode(entry)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def ledger_stream(letter: DeadLetter) -> str:
    """The stream whose ledger keeps the letter's entry (see `sidecar.domain.ports.ledger.LedgerTransaction.stream`)."""
    return letter.origin.stream if letter.origin is not None else letter.position.stream


def entry_keys(letter: DeadLetter, ids: Sequence[str] = ()) -> list[str]:
    """The keys of a letter's entry, the one that all letters of its origin share first. `ids`: of all its letters."""
    stamp = "" if letter.origin_timestamp is None else str(letter.origin_timestamp)
    names = dict.fromkeys((letter.id, *ids))
    if letter.origin is not None and letter.origin_timestamp is not None:
        names = dict.fromkeys((f"@{letter.origin}", *names))
    return [f"{name} {stamp}" for name in names]


def current_entry(stands: Sequence[bytes | None]) -> LetterEntry | None:
    """The entry that stands under a letter's keys; None where there is none yet."""
    return next((found for one in stands if (found := decode_entry(one)) is not None), None)


def new_entry(letter: DeadLetter) -> LetterEntry:
    """The entry of a letter with which nothing was done."""
    return LetterEntry(
        id=letter.id, origin=None if letter.origin is None else str(letter.origin), timestamp=letter.origin_timestamp
    )
