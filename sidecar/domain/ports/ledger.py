"""The ledger: what was done with each dead letter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from sidecar.domain.model import Outgoing
from sidecar.domain.position import Position


class LedgerWrite(Struct, frozen=True, gc=False):
    """A change of one entry of the ledger."""

    key: str
    before: bytes | None
    """What stood there when the change was thought of; None: nothing."""
    after: bytes | None
    """What shall stand there; None: nothing. The same as `before` where it shall only still be so."""


class LedgerTransaction(Struct, frozen=True, gc=False):
    """Changes of the ledger and what is published with them: all of it or nothing, and once."""

    stream: str | None
    """The stream whose entries these are: the one that a letter's record failed on, or its dead-letter stream where
    that is not known. None: entries that belong to no stream, such as jobs. Redis keeps those of a stream in a hash
    beside its dead-letter stream, the others in one of their own; Kafka has all in one topic."""
    entries: tuple[LedgerWrite, ...]
    """At least one of them changes something: by that an act that was carried out already is known again."""
    outgoing: tuple[Outgoing, ...] = ()


class LedgerOutcome(Struct, frozen=True, gc=False):
    """What became of an act."""

    carried_out: bool
    """Now, or by an earlier call with the same act."""
    stands: tuple[bytes | None, ...]
    """What stands in the ledger now, for each entry of the act."""
    positions: tuple[Position, ...] = ()
    """Where what was published lies; empty where nothing was, or an earlier call did it."""


class Ledger(Protocol):
    """What was done with dead letters, durable in the broker and shared by every sidecar on it: bytes by key.

    Raises Outage and Refused.
    """

    async def entries(self, stream: str | None, keys: Sequence[str]) -> list[bytes | None]:
        """What stands for each key of a stream (see `LedgerTransaction.stream`), everything committed before the call
        included."""

    async def under(self, prefix: str) -> dict[str, bytes]:
        """All entries that belong to no stream and whose key begins with `prefix`, by key.

        Such keys have no space, as those of letters do.
        """

    async def act(self, acts: Sequence[LedgerTransaction]) -> list[LedgerOutcome]:
        """Carry out each act whose entries all still stand as `before` says, or leave it and say what stands instead.

        Each wholly or not at all, and durably. What they publish is in order within each partition. After an
        exception each may have been carried out or not; the same call may be made again and finds out, however many
        others act meanwhile: no act is ever carried out twice. Raises TooLarge (with the index of the record among
        all that the acts publish), Refused where a target is missing or not to be written; then all acts, or (Redis)
        those from that one on, were not carried out.
        """

    async def ledger_started_at(self, stream: str | None) -> int | None:
        """Since when (milliseconds) the ledger has had entries of this stream; None before the first.

        What was done before that time, by a ledger that was deleted since, is not known.
        """
