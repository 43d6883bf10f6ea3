"""Ledger on Redis: one hash beside each dead-letter stream, and one for entries that belong to no stream.

One Lua script executes transactions: it compares, adds and sets, and nothing happens in between.

- A crash before, during or after a call: transactions that the server executed are complete, the others are not. The
  same call finds out which, because an executed transaction left its new values.
- Two members act at once: the server runs one script after the other; the second finds the values changed.
- The reply is late or lost: the same call is made again.

The server can lose writes (a failover to a replica that lagged behind, a restart without the last second of its AOF),
but only both together: entry and record are replicated and logged as one transaction.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import groupby

from sidecar.adapters.brokers.redis.cluster_key_names import (
    add_hash_tag,
    cluster_dead_letter_stream,
    crosses,
)
from sidecar.adapters.brokers.redis.committer import (
    MAX_BYTES_PER_CALL,
    MAX_VALUES_PER_CALL,
    SMALLEST_ARGUMENT_LIMIT_BYTES,
    max_argument_bytes,
)
from sidecar.adapters.brokers.redis.entry_codec import SYSTEM, EntryCodec, offset, raw, text
from sidecar.adapters.brokers.redis.lua_scripts import LEDGER_TRANSACTIONS, MAX_FIELDS_PER_ENTRY
from sidecar.adapters.redis_client.connection_pool import Argument, RedisPool
from sidecar.adapters.redis_client.errors import RedisReplyError
from sidecar.domain.errors import Refused, TooLarge
from sidecar.domain.model import Outgoing
from sidecar.domain.ports.ledger import LedgerOutcome, LedgerTransaction
from sidecar.domain.position import Position
from sidecar.domain.stream_names import LEDGER, StreamNames

STARTED_AT_FIELD = b"begin"
"""Field with the time at which a hash was created, in milliseconds."""
SUFFIX = ".ledger"
MAX_FIELDS_PER_CALL = 1_000


class RedisLedger:
    """`sidecar.domain.ports.ledger.Ledger` on a Redis or Valkey server, behind Sentinels, or on a Cluster."""

    def __init__(self, servers: RedisPool, entries: EntryCodec, naming: StreamNames) -> None:
        self._servers, self._entries, self._naming = servers, entries, naming

    def hash(self, stream: str | None) -> str:
        """Return the key of the hash with a stream's entries. It is in the hash slot of the stream."""
        if stream is None:
            return LEDGER
        if self._naming.is_dead_letter(stream):
            return (add_hash_tag(stream) if self._servers.cluster else stream) + SUFFIX
        if self._servers.cluster:
            inside = cluster_dead_letter_stream(self._naming, stream)
            return (inside if not crosses(stream, inside) else add_hash_tag(stream)) + SUFFIX
        return self._naming.dead_letter_stream(stream) + SUFFIX

    # --- reading

    async def entries(self, stream: str | None, keys: Sequence[str]) -> list[bytes | None]:
        key = raw(self.hash(stream))
        values: list[bytes | None] = []
        for at in range(0, len(keys), MAX_FIELDS_PER_CALL):
            fields = [raw(name) for name in keys[at : at + MAX_FIELDS_PER_CALL]]
            values += await self._servers.call(key, "HMGET", key, *fields)
        return values

    async def under(self, prefix: str) -> dict[str, bytes]:
        key, values, cursor = raw(LEDGER), dict[str, bytes](), b"0"
        pattern = raw(prefix).replace(b"\\", b"\\\\")
        for wildcard in (b"*", b"?", b"["):
            pattern = pattern.replace(wildcard, b"\\" + wildcard)
        while True:
            cursor, flat = await self._servers.call(key, "HSCAN", key, cursor, "MATCH", pattern + b"*", "COUNT", 1_000)
            values.update((text(name), value) for name, value in zip(flat[::2], flat[1::2], strict=True))
            if cursor == b"0":
                return values

    async def ledger_started_at(self, stream: str | None) -> int | None:
        key = raw(self.hash(stream))
        started = await self._servers.call(key, "HGET", key, STARTED_AT_FIELD)
        return int(started) if started is not None and started.isdigit() else None

    # --- writing

    async def act(self, acts: Sequence[LedgerTransaction]) -> list[LedgerOutcome]:
        outcomes: list[LedgerOutcome] = []
        published = 0
        for stream, together in groupby(acts, key=lambda act: act.stream):
            for call in self._calls(list(together)):
                outcomes += await self._carry_out(stream, call, published)
                published += sum(len(act.outgoing) for act in call)
        return outcomes

    def _calls(self, acts: Sequence[LedgerTransaction]) -> Iterator[list[LedgerTransaction]]:
        """Split transactions into script calls of bounded size: the server does nothing else while a script runs."""
        part: list[LedgerTransaction] = []
        arguments = size = 0
        for act in acts:
            mine = 5 * len(act.entries) + sum(2 * len(record.headers) + 5 for record in act.outgoing)
            bytes_ = sum(len(entry.before or b"") + len(entry.after or b"") for entry in act.entries)
            bytes_ += sum(
                len(record.value or b"") + sum(len(v or b"") for _, v in record.headers) for record in act.outgoing
            )
            if part and (arguments + mine > MAX_VALUES_PER_CALL or size + bytes_ > MAX_BYTES_PER_CALL):
                yield part
                part, arguments, size = [], 0, 0
            part.append(act)
            arguments += mine
            size += bytes_
        if part:
            yield part

    async def _carry_out(
        self, stream: str | None, acts: Sequence[LedgerTransaction], published: int
    ) -> list[LedgerOutcome]:
        key = self.hash(stream)
        keys: dict[str, int] = {key: 1}
        arguments: list[Argument] = [int(time.time() * 1000)]
        index = published
        for act in acts:
            arguments += [len(act.entries), len(act.outgoing)]
            for entry in act.entries:
                arguments += [raw(entry.key), *_optional(entry.before), *_optional(entry.after)]
            for record in act.outgoing:
                target = self._target(key, stream, record)
                fields = self._entries.fields(record)
                await self._check_size(target, fields, index)
                may_make = int(self._naming.is_dead_letter(record.stream))
                arguments += [keys.setdefault(target, len(keys) + 1), may_make, len(fields), *fields]
                index += 1
        try:
            async with self._servers.borrow(raw(key)) as connection:
                replies = await LEDGER_TRANSACTIONS.call(connection, [raw(name) for name in keys], arguments)
        except RedisReplyError as error:
            if error.code == "NOSTREAM":
                missing = str(error).rpartition("NOSTREAM ")[2]
                raise Refused(f"Redis: the stream {missing} does not exist; create it, then try again") from error
            raise
        return [self._outcome(act, reply) for act, reply in zip(acts, replies, strict=True)]

    def _target(self, key: str, stream: str | None, outgoing: Outgoing) -> str:
        """Return the stream for a record. Raises Refused if a Cluster cannot write it in one step with the ledger."""
        if not self._servers.cluster or not crosses(key, outgoing.stream):
            return outgoing.stream
        if stream is not None and outgoing.stream == self._naming.dead_letter_stream(stream):
            inside = cluster_dead_letter_stream(self._naming, stream)
            if not crosses(key, inside):
                return inside
        raise Refused(
            f"{outgoing.stream} is in another hash slot of the Cluster than {key}, so the record and its ledger entry "
            f"cannot be written in one step; send it to a stream with the same hash tag, such as "
            f"{add_hash_tag(stream or key)}.retry"
        )

    async def _check_size(self, target: str, fields: Sequence[bytes], index: int) -> None:
        if len(fields) > 2 * MAX_FIELDS_PER_ENTRY:
            raise TooLarge(
                f"{target}: an entry of {len(fields) // 2} fields; {MAX_FIELDS_PER_ENTRY} can be added at most",
                index,
            )
        largest = max(map(len, fields))
        if largest > SMALLEST_ARGUMENT_LIMIT_BYTES and largest > (
            limit := await max_argument_bytes(self._servers, raw(target))
        ):
            raise TooLarge(f"{target}: a field of {largest} bytes; the server accepts at most {limit}", index)

    @staticmethod
    def _outcome(act: LedgerTransaction, reply: Sequence[object]) -> LedgerOutcome:
        if reply[0] == 1:
            ids = [entry_id for entry_id in reply[1:] if isinstance(entry_id, bytes)]
            positions = [
                Position(SYSTEM, record.stream, 0, offset(entry_id))
                for record, entry_id in zip(act.outgoing, ids, strict=bool(ids))
            ]
            return LedgerOutcome(True, tuple([entry.after for entry in act.entries]), tuple(positions))
        values = [value if isinstance(value, bytes) else None for value in reply[1:]]
        values += [None] * (len(act.entries) - len(values))
        return LedgerOutcome(False, tuple(values))


def _optional(value: bytes | None) -> list[Argument]:
    return [0, b""] if value is None else [1, value]
