"""Port of the ledger: the record of all actions on dead letters."""

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
    """Entries to compare and set. At least one must change, because the change shows that a transaction is done."""
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
    """Durable record of the actions on dead letters, shared by all sidecars of a broker: bytes by key.

    Raises Outage and Refused.
    """

    async def entries(self, stream: str | None, keys: Sequence[str]) -> list[bytes | None]:
        """Return the value of each key of a stream (see `LedgerTransaction.stream`).

        It includes everything that was committed before the call.
        """

    async def under(self, prefix: str) -> dict[str, bytes]:
        """Return, by key, the entries of no stream whose key starts with `prefix`.

        Such keys contain no space; those of dead letters do.
        """

    async def act(self, acts: Sequence[LedgerTransaction]) -> list[LedgerOutcome]:
        """Execute each transaction whose entries all still have the value `before`; report the values of the others.

        Each is executed completely or not at all, and durably. Published records are in order within each partition.
        After an exception the outcome of each is unknown. The same call may be repeated and finds out, even if other
        sidecars act meanwhile: no transaction is ever executed twice. Raises TooLarge with the index of the record
        among all records of the transactions, and Refused if a target is missing or may not be written; then no
        transaction was executed, or (Redis) none from that one on.
        """

    async def ledger_started_at(self, stream: str | None) -> int | None:
        """Return the time of the first entry of this stream, in milliseconds; None if there is no entry.

        Earlier actions, recorded in a ledger that was deleted since, are unknown.
        """
