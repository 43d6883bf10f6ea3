"""The ledger on Redis: a hash beside each dead-letter stream, and one for what belongs to no stream. Acts are one Lua
function: it compares, adds and sets, and nothing comes in between.

- Dies before, within or after a call: what the server carried out stands, the rest does not; the same call finds out,
  because an act whose entries stand as it wants them was carried out.
- Two of it run: the server carries out one function after the other; the second finds the entries changed.
- The answer comes late or is lost: the same call again.

What the server itself loses (a failover to a replica that lagged behind, a restart without its last second of AOF) it
loses of both: entry and record are replicated and logged as one transaction."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import groupby

from sidecar.adapters.brokers.redis.cluster_key_names import (
    cluster_dead_letter_stream,
    crosses,
    tagged,
)
from sidecar.adapters.brokers.redis.committer import (
    ASK_LIMIT_ABOVE,
    CALL_ARGUMENTS,
    CALL_BYTES,
    bulk_limit,
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

BEGIN = b"begin"
"""The field that says since when a hash is there."""
SUFFIX = ".ledger"
FIELDS_A_CALL = 1_000


class RedisLedger:
    """`sidecar.domain.ports.ledger.Ledger` on a Redis or Valkey server, behind Sentinels, or on a Cluster."""

    def __init__(self, servers: RedisPool, entries: EntryCodec, naming: StreamNames) -> None:
        self._servers, self._entries, self._naming = servers, entries, naming

    def hash(self, stream: str | None) -> str:
        """The key of the hash with a stream's entries: beside its dead-letter stream, in one slot with the stream."""
        if stream is None:
            return LEDGER
        if self._naming.is_dead_letter(stream):
            return (tagged(stream) if self._servers.cluster else stream) + SUFFIX
        if self._servers.cluster:
            inside = cluster_dead_letter_stream(self._naming, stream)
            return (inside if not crosses(stream, inside) else tagged(stream)) + SUFFIX
        return self._naming.dead_letter_stream(stream) + SUFFIX

    # --- looking

    async def entries(self, stream: str | None, keys: Sequence[str]) -> list[bytes | None]:
        key = raw(self.hash(stream))
        found: list[bytes | None] = []
        for at in range(0, len(keys), FIELDS_A_CALL):
            fields = [raw(name) for name in keys[at : at + FIELDS_A_CALL]]
            found += await self._servers.call(key, "HMGET", key, *fields)
        return found

    async def under(self, prefix: str) -> dict[str, bytes]:
        key, found, cursor = raw(LEDGER), dict[str, bytes](), b"0"
        pattern = raw(prefix).replace(b"\\", b"\\\\")
        for mark in (b"*", b"?", b"["):
            pattern = pattern.replace(mark, b"\\" + mark)
        while True:
            cursor, flat = await self._servers.call(key, "HSCAN", key, cursor, "MATCH", pattern + b"*", "COUNT", 1_000)
            found.update((text(name), value) for name, value in zip(flat[::2], flat[1::2], strict=True))
            if cursor == b"0":
                return found

    async def ledger_started_at(self, stream: str | None) -> int | None:
        key = raw(self.hash(stream))
        found = await self._servers.call(key, "HGET", key, BEGIN)
        return int(found) if found is not None and found.isdigit() else None

    # --- acting

    async def act(self, acts: Sequence[LedgerTransaction]) -> list[LedgerOutcome]:
        found: list[LedgerOutcome] = []
        published = 0
        for stream, together in groupby(acts, key=lambda act: act.stream):
            for call in self._calls(list(together)):
                found += await self._carry_out(stream, call, published)
                published += sum(len(act.outgoing) for act in call)
        return found

    def _calls(self, acts: Sequence[LedgerTransaction]) -> Iterator[list[LedgerTransaction]]:
        """What one call of the function carries each: the server does nothing else while it runs."""
        part: list[LedgerTransaction] = []
        arguments = size = 0
        for act in acts:
            mine = 5 * len(act.entries) + sum(2 * len(one.headers) + 5 for one in act.outgoing)
            bytes_ = sum(len(entry.before or b"") + len(entry.after or b"") for entry in act.entries)
            bytes_ += sum(len(one.value or b"") + sum(len(v or b"") for _, v in one.headers) for one in act.outgoing)
            if part and (arguments + mine > CALL_ARGUMENTS or size + bytes_ > CALL_BYTES):
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
                arguments += [raw(entry.key), *_maybe(entry.before), *_maybe(entry.after)]
            for one in act.outgoing:
                target = self._target(key, stream, one)
                fields = self._entries.fields(one)
                await self._check_size(target, fields, index)
                may_make = int(self._naming.is_dead_letter(one.stream))
                arguments += [keys.setdefault(target, len(keys) + 1), may_make, len(fields), *fields]
                index += 1
        try:
            async with self._servers.borrow(raw(key)) as link:
                replies = await LEDGER_TRANSACTIONS.call(link, [raw(one) for one in keys], arguments)
        except RedisReplyError as error:
            if error.code == "NOSTREAM":
                missing = str(error).rpartition("NOSTREAM ")[2]
                raise Refused(f"Redis: there is no stream {missing}: create it, then try again") from error
            raise
        return [self._done(act, reply) for act, reply in zip(acts, replies, strict=True)]

    def _target(self, key: str, stream: str | None, outgoing: Outgoing) -> str:
        """Where a record goes. Raises Refused where a Cluster cannot do it in one step with the ledger."""
        if not self._servers.cluster or not crosses(key, outgoing.stream):
            return outgoing.stream
        if stream is not None and outgoing.stream == self._naming.dead_letter_stream(stream):
            inside = cluster_dead_letter_stream(self._naming, stream)
            if not crosses(key, inside):
                return inside
        raise Refused(
            f"{outgoing.stream} is in another slot of the Cluster than {key}, so that the record and its ledger entry "
            f"cannot be written as one: send it to a stream with the same hash tag, such as "
            f"{tagged(stream or key)}.retry"
        )

    async def _check_size(self, target: str, fields: Sequence[bytes], index: int) -> None:
        if len(fields) > 2 * MAX_FIELDS_PER_ENTRY:
            raise TooLarge(
                f"{target}: an entry of {len(fields) // 2} fields; {MAX_FIELDS_PER_ENTRY} can be added at most",
                index,
            )
        largest = max(map(len, fields))
        if largest > ASK_LIMIT_ABOVE and largest > (limit := await bulk_limit(self._servers, raw(target))):
            raise TooLarge(f"{target}: a field of {largest} bytes; the server takes {limit}", index)

    @staticmethod
    def _done(act: LedgerTransaction, reply: Sequence[object]) -> LedgerOutcome:
        if reply[0] == 1:
            ids = [one for one in reply[1:] if isinstance(one, bytes)]
            positions = [
                Position(SYSTEM, one.stream, 0, offset(id)) for one, id in zip(act.outgoing, ids, strict=bool(ids))
            ]
            return LedgerOutcome(True, tuple([entry.after for entry in act.entries]), tuple(positions))
        stands = [one if isinstance(one, bytes) else None for one in reply[1:]]
        stands += [None] * (len(act.entries) - len(stands))
        return LedgerOutcome(False, tuple(stands))


def _maybe(value: bytes | None) -> list[Argument]:
    return [0, b""] if value is None else [1, value]
