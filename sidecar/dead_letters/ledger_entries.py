"""Ledger entries: the state of a dead letter, and each action on it with its actor, time and reason.

An entry is stored under several keys, always with the same bytes: under the position of the origin, which all dead
letters of that origin share, and under the id of each dead letter. If the origin is unknown, there is only the id. The
origin's timestamp is part of each key, so that a stream that was deleted and created again has entries of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from msgspec import Struct, field

from sidecar.domain.model import DeadLetter

MAX_ACTIONS_PER_ENTRY = 20
"""Actions that an entry keeps: the first one and the latest ones."""
State = Literal["open", "replayed", "discarded"]


class PathChange(Struct, frozen=True, omit_defaults=True):
    """One difference that an edit made. Redacted values are masked."""

    path: str
    before: Any = None
    after: Any = None
    what: Literal["changed", "added", "removed"] = "changed"


class Actor(Struct, frozen=True, omit_defaults=True):
    """Name of an API token, and the address that used it."""

    name: str
    address: str | None = None


class LedgerAction(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """An action on a dead letter, for the audit."""

    act: Literal["replayed", "discarded", "restored", "reported", "imported"]
    at: int
    """Time in microseconds, by the acting sidecar's clock."""
    by: str
    address: str | None = None
    why: str | None = None
    replay: str | None = None
    to: str | None = None
    """Stream to which a replay published."""
    group: str | None = None
    """Consumer group that a replay was for, if it was for only one."""
    attempt: int | None = None
    edit: tuple[PathChange, ...] = ()
    letter: str | None = None
    """Id of the replayed dead letter, if it differs from the entry's own."""


class LetterEntry(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The ledger's entry of one origin."""

    id: str
    origin: str | None = None
    timestamp: int | None = None
    """Timestamp of the origin in milliseconds."""
    state: State = "open"
    actions: tuple[LedgerAction, ...] = field(default=(), name="deeds")
    """Actions, oldest first."""

    def with_action(self, action: LedgerAction, state: State) -> LetterEntry:
        """Return the entry after one more action."""
        actions = (*self.actions, action)
        if len(actions) > MAX_ACTIONS_PER_ENTRY:
            actions = (actions[0], *actions[1 - MAX_ACTIONS_PER_ENTRY :])
        return msgspec.structs.replace(self, state=state, actions=actions)


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(LetterEntry)


def encode_entry(entry: LetterEntry) -> bytes:
    """Encode an entry as JSON."""
    return _encoder.encode(entry)


def decode_entry(entry: bytes | None) -> LetterEntry | None:
    """Decode an entry.

    Returns None for None, and for bytes that are not an entry: others may write to the ledger too.
    """
    if entry is None:
        return None
    try:
        return _decoder.decode(entry)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def ledger_stream(letter: DeadLetter) -> str:
    """Return the stream whose ledger keeps the entry (see `sidecar.domain.ports.ledger.LedgerTransaction.stream`)."""
    return letter.origin.stream if letter.origin is not None else letter.position.stream


def entry_keys(letter: DeadLetter, ids: Sequence[str] = ()) -> list[str]:
    """Return the keys of an entry; the key of the origin is the first. `ids` are those of the origin's dead letters."""
    stamp = "" if letter.origin_timestamp is None else str(letter.origin_timestamp)
    names = dict.fromkeys((letter.id, *ids))
    if letter.origin is not None and letter.origin_timestamp is not None:
        names = dict.fromkeys((f"@{letter.origin}", *names))
    return [f"{name} {stamp}" for name in names]


def current_entry(stored: Sequence[bytes | None]) -> LetterEntry | None:
    """Return the first entry among the values under an entry's keys; None if there is none."""
    return next((entry for value in stored if (entry := decode_entry(value)) is not None), None)


def new_entry(letter: DeadLetter) -> LetterEntry:
    """Build the entry of a dead letter without actions."""
    return LetterEntry(
        id=letter.id, origin=None if letter.origin is None else str(letter.origin), timestamp=letter.origin_timestamp
    )
