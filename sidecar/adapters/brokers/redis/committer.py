"""Committing a batch of a Redis stream: rejected entries are acknowledged and dead-lettered by one Lua function, all
others are acknowledged.

Each entry is committed by itself: its letter is added and it is acknowledged, or neither. So the calls of one
committing need no common transaction:

- Dies before, within or after them: what is committed is committed, the rest is pending and comes again.
- Two of it run (this member is slow, another claimed its entries): the first acknowledges and letters an entry, the
  second finds it not pending and does nothing.
- The answer comes late or is lost: the same call again finds what is committed not pending, and does the rest."""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.adapters.brokers.redis.cluster_key_names import cluster_dead_letter_stream, crosses
from sidecar.adapters.brokers.redis.entry_codec import EntryCodec, entry_id, raw
from sidecar.adapters.brokers.redis.lua_scripts import COMMIT_REJECTED, MAX_FIELDS_PER_ENTRY
from sidecar.adapters.brokers.redis.stream_lease import RedisBatch
from sidecar.adapters.redis_client.connection_pool import Argument, Command, RedisConnection, RedisPool
from sidecar.adapters.redis_client.errors import RedisReplyError
from sidecar.domain.errors import Outage, Refused, TooLarge
from sidecar.domain.model import Outgoing
from sidecar.domain.ports.broker import Batch
from sidecar.domain.stream_names import StreamNames

ACKS_A_CALL = 1000
CALL_ARGUMENTS, CALL_BYTES = 6_000, 4_000_000
"""About how much one call of the function carries: the server does nothing else while it runs."""
BULK_BYTES = 512 * 1024 * 1024
"""The server's own limit of one argument (`proto-max-bulk-len`), where it does not tell."""
ASK_LIMIT_ABOVE = 1024 * 1024
"""That limit cannot be set lower than this."""


class RedisCommit:
    """What is committed in one call of `Broker.commit`."""

    def __init__(self, stream: str, key: bytes, group: str, mark: str) -> None:
        self._stream, self._key, self._us = stream, key, (group, mark)

    async def run(
        self,
        servers: RedisPool,
        entries: EntryCodec,
        naming: StreamNames,
        batches: Sequence[Batch],
        outgoing: Sequence[Outgoing],
    ) -> None:
        """Commit. Raises Outage, TooLarge or Refused."""
        letters: dict[int, list[tuple[bytes, list[bytes]]]] = {}
        for index, out in enumerate(outgoing):
            if out.origin is None:
                raise Refused(f"{out.stream}: what is committed with a batch needs the origin that it stands for")
            target = letter_stream(out, servers, naming)
            letters.setdefault(out.origin.offset, []).append((raw(target), entries.fields(out)))
            await self._check_size(servers, letters[out.origin.offset][-1], index)
        commands = [*self._rejected(letters), *self._accepted(batches, letters)]
        if not commands:
            return
        async with servers.borrow(self._key) as link:
            await self._send(link, commands)

    async def _send(self, link: RedisConnection, commands: Sequence[Command]) -> None:
        replies = await link.calls(commands)
        if any(isinstance(reply, RedisReplyError) and reply.code == "NOSCRIPT" for reply in replies):
            await COMMIT_REJECTED.load(link)
            replies = await link.calls(commands)
        for reply in replies:
            if isinstance(reply, RedisReplyError) and reply.code == "NOGROUP":
                raise Outage(f"{self._stream}: the consumer group was deleted and is being made again", 0.3)
            if isinstance(reply, Exception):
                raise reply

    def _accepted(self, batches: Sequence[Batch], letters: dict[int, list[tuple[bytes, list[bytes]]]]) -> list[Command]:
        ids: list[bytes] = []
        for batch in batches:
            ids.extend(
                batch.ids if isinstance(batch, RedisBatch) else [entry_id(r.position.offset) for r in batch.records]
            )
        if letters:
            rejected = set(map(entry_id, letters))
            ids = [one for one in ids if one not in rejected]
        return [("XACK", self._key, self._us[0], *ids[at : at + ACKS_A_CALL]) for at in range(0, len(ids), ACKS_A_CALL)]

    def _rejected(self, letters: dict[int, list[tuple[bytes, list[bytes]]]]) -> list[Command]:
        commands: list[Command] = []
        keys: dict[bytes, int] = {self._key: 1}
        arguments: list[Argument] = []
        size = 0
        for at, written in letters.items():
            mine: list[Argument] = [entry_id(at), len(written)]
            for key, fields in written:
                mine += [keys.setdefault(key, len(keys) + 1), len(fields), *fields]
                size += sum(map(len, fields))
            arguments += mine
            if len(arguments) > CALL_ARGUMENTS or size > CALL_BYTES:
                commands.append(COMMIT_REJECTED.command(list(keys), [*self._us, *arguments]))
                keys, arguments, size = {self._key: 1}, [], 0
        if arguments:
            commands.append(COMMIT_REJECTED.command(list(keys), [*self._us, *arguments]))
        return commands

    async def _check_size(self, servers: RedisPool, letter: tuple[bytes, list[bytes]], index: int) -> None:
        key, fields = letter
        if len(fields) > 2 * MAX_FIELDS_PER_ENTRY:
            raise TooLarge(
                f"{self._stream}: a letter of {len(fields) // 2} fields; "
                f"{MAX_FIELDS_PER_ENTRY} is what can be committed as one",
                index,
            )
        largest = max(map(len, fields))
        if largest > ASK_LIMIT_ABOVE and largest > (limit := await bulk_limit(servers, key)):
            raise TooLarge(f"{self._stream}: a field of {largest} bytes; the server takes {limit}", index)


async def bulk_limit(servers: RedisPool, key: bytes) -> int:
    """The largest argument that the server takes, in bytes."""
    try:
        reply = await servers.call(key, "CONFIG", "GET", "proto-max-bulk-len")
    except Refused:
        return BULK_BYTES
    return int(reply[1]) if reply else BULK_BYTES


def letter_stream(out: Outgoing, servers: RedisPool, naming: StreamNames) -> str:
    """Where a letter goes: on a Cluster into its origin's slot. Raises Refused where its name is in another one."""
    assert out.origin is not None
    origin = out.origin.stream
    if not servers.cluster or not crosses(origin, out.stream):
        return out.stream
    inside = cluster_dead_letter_stream(naming, origin)
    if out.stream == naming.dead_letter_stream(origin) and not crosses(origin, inside):
        return inside
    raise Refused(
        f"{origin}: {out.stream} lies in another slot of the Cluster, so the two cannot be committed as one; "
        "let `dead_letters.stream` hold {stream}, and the stream's name no braces but a hash tag"
    )
