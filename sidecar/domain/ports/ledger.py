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
    """Expected value; None: no entry."""
    after: bytes | None
    """New value; None: delete the entry. Equal to `before` for an entry that is only compared."""


class LedgerTransaction(Struct, frozen=True, gc=False):
    """Changes of the ledger, and the records to publish with them: all or nothing, and once."""

    stream: str | None
    """Stream that owns these entries: the origin stream of the dead letter, or its dead-letter stream if the origin is
    unknown. None for entries that belong to no stream, such as replay jobs. Redis keeps the entries of a stream in a
    hash beside its dead-letter stream, and the others in a hash of their own; Kafka keeps all in one topic."""
    entries: tuple[LedgerWrite, ...]
    """Entries to compare and set. At least one changes: by it a transaction that is already done is recognized."""
    outgoing: tuple[Outgoing, ...] = ()


class LedgerOutcome(Struct, frozen=True, gc=False):
    """Result of one transaction."""

    carried_out: bool
    """True if the transaction is done, by this call or by an earlier one."""
    stands: tuple[bytes | None, ...]
    """Current value of each entry of the transaction."""
    positions: tuple[Position, ...] = ()
    """Positions of the published records; empty if there are none, or an earlier call published them."""


class Ledger(Protocol):
    """Durable record of what was done with dead letters, shared by all sidecars of a broker: bytes by key.

    Raises Outage and Refused.
    """

    async def entries(self, stream: str | None, keys: Sequence[str]) -> list[bytes | None]:
        """Return the value of each key of a stream (see `LedgerTransaction.stream`).

        Everything that was committed before the call is included.
        """

    async def under(self, prefix: str) -> dict[str, bytes]:
        """Return by key the entries of no stream whose key begins with `prefix`.

        Such keys contain no space; those of letters do.
        """

    async def act(self, acts: Sequence[LedgerTransaction]) -> list[LedgerOutcome]:
        """Carry out each transaction whose entries all still have the value `before`; report the others' values.

        Each is carried out wholly or not at all, and durably. Published records are in order within each partition.
        After an exception the outcome of each is unknown. The same call may be made again and finds out, even if other
        sidecars act meanwhile: no transaction is ever carried out twice. Raises TooLarge with the index of the record
        among all that the transactions publish, and Refused if a target is missing or may not be written; then no
        transaction was carried out, or (Redis) none from that one on.
        """

    async def ledger_started_at(self, stream: str | None) -> int | None:
        """Return the time of the first entry of this stream, in milliseconds; None if there is no entry.

        Actions before that time, recorded in a ledger that was deleted since, are unknown.
        """
