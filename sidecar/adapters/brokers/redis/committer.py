"""Committer of a batch of a Redis stream: dead-letters and acknowledges rejected entries, acknowledges all others.

A Lua script commits each entry atomically: it adds the dead letter and acknowledges the entry, or does neither. So the
calls of one commit need no common transaction:

- A crash before, during or after the calls: committed entries stay committed; the others stay pending and are
  delivered again.
- Two members commit the same entries (one is slow, and the other has claimed them): the first acknowledges and
  dead-letters an entry; the second finds that it is not pending and does nothing.
- The reply is late or lost: repeating the call skips committed entries, which are no longer pending, and commits the
  others.
- The stream was deleted and created again meanwhile, with the same ids: the scripts refuse, because the group lacks our
  sentinel consumer.
"""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.adapters.brokers.redis.cluster_key_names import cluster_dead_letter_stream, crosses
from sidecar.adapters.brokers.redis.entry_codec import EntryCodec, entry_id, raw
from sidecar.adapters.brokers.redis.lua_scripts import ACKNOWLEDGE, COMMIT_REJECTED, MAX_FIELDS_PER_ENTRY
from sidecar.adapters.brokers.redis.stream_lease import RedisBatch, StreamLease
from sidecar.adapters.redis_client.connection_pool import Argument, Command, RedisConnection, RedisPool
from sidecar.adapters.redis_client.errors import RedisReplyError
from sidecar.domain.errors import Outage, Refused, TooLarge
from sidecar.domain.model import Outgoing
from sidecar.domain.ports.broker import Batch
from sidecar.domain.stream_names import StreamNames

MAX_IDS_PER_CALL = 1000
MAX_VALUES_PER_CALL, MAX_BYTES_PER_CALL = 6_000, 4_000_000
"""Approximate size of one script call. The server does nothing else while a script runs."""
DEFAULT_ARGUMENT_MAX_BYTES = 512 * 1024 * 1024
"""The server's default limit of one argument (`proto-max-bulk-len`), used if the setting cannot be read."""
SMALLEST_ARGUMENT_LIMIT_BYTES = 1024 * 1024
"""Smallest limit that the server accepts in its settings: arguments below it need no check."""


class RedisCommit:
    """One call of `Broker.commit`."""

    def __init__(self, lease: StreamLease, group: str, sentinel: str) -> None:
        self._lease, self._stream, self._key, self._us = lease, lease.stream, lease.key, (group, sentinel)

    async def run(
        self,
        servers: RedisPool,
        entries: EntryCodec,
        naming: StreamNames,
        batches: Sequence[Batch],
        outgoing: Sequence[Outgoing],
    ) -> None:
        """Run the commit. Raises Outage, TooLarge or Refused."""
        letters: dict[int, list[tuple[bytes, list[bytes]]]] = {}
        for index, out in enumerate(outgoing):
            if out.origin is None:
                raise Refused(f"{out.stream}: a record committed with a batch needs its origin; found none")
            target = dead_letter_target(out, servers, naming)
            letters.setdefault(out.origin.offset, []).append((raw(target), entries.fields(out)))
            await self._check_size(servers, letters[out.origin.offset][-1], index)
        commands = [*self._build_rejections(letters), *self._build_acknowledgments(batches, letters)]
        if not commands:
            return
        async with servers.borrow(self._key) as link:
            marks, lease = self._lease.marks, self._lease.lease
            if lease.history_mark is not None:
                await marks.store(link, lease.history_mark, lease.delivered)
            await self._send(link, commands)

    async def _send(self, link: RedisConnection, commands: Sequence[Command]) -> None:
        replies = await link.calls(commands)
        if any(isinstance(reply, RedisReplyError) and reply.code == "NOSCRIPT" for reply in replies):
            for script in (COMMIT_REJECTED, ACKNOWLEDGE):
                await script.load(link)
            replies = await link.calls(commands)
        for reply in replies:
            if isinstance(reply, RedisReplyError) and reply.code == "NOGROUP":
                raise Outage(f"{self._stream}: the consumer group was deleted; it is created again", 0.3)
            if isinstance(reply, Exception):
                raise reply

    def _build_acknowledgments(
        self, batches: Sequence[Batch], letters: dict[int, list[tuple[bytes, list[bytes]]]]
    ) -> list[Command]:
        ids: list[bytes] = []
        for batch in batches:
            ids.extend(batch.ids if isinstance(batch, RedisBatch) else map(entry_id, batch.offsets))
        if letters:
            rejected = set(map(entry_id, letters))
            ids = [accepted for accepted in ids if accepted not in rejected]
        return [
            ACKNOWLEDGE.command([self._key], [*self._us, *ids[at : at + MAX_IDS_PER_CALL]])
            for at in range(0, len(ids), MAX_IDS_PER_CALL)
        ]

    def _build_rejections(self, letters: dict[int, list[tuple[bytes, list[bytes]]]]) -> list[Command]:
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
            if len(arguments) > MAX_VALUES_PER_CALL or size > MAX_BYTES_PER_CALL:
                commands.append(COMMIT_REJECTED.command(list(keys), [*self._us, *arguments]))
                keys, arguments, size = {self._key: 1}, [], 0
        if arguments:
            commands.append(COMMIT_REJECTED.command(list(keys), [*self._us, *arguments]))
        return commands

    async def _check_size(self, servers: RedisPool, letter: tuple[bytes, list[bytes]], index: int) -> None:
        key, fields = letter
        if len(fields) > 2 * MAX_FIELDS_PER_ENTRY:
            raise TooLarge(
                f"{self._stream}: a dead letter of {len(fields) // 2} fields; "
                f"at most {MAX_FIELDS_PER_ENTRY} can be committed in one step",
                index,
            )
        largest = max(map(len, fields))
        if largest > SMALLEST_ARGUMENT_LIMIT_BYTES and largest > (limit := await max_argument_bytes(servers, key)):
            raise TooLarge(f"{self._stream}: a field of {largest} bytes; the server accepts at most {limit}", index)


async def max_argument_bytes(servers: RedisPool, key: bytes) -> int:
    """Return the largest argument that the server accepts, in bytes."""
    try:
        reply = await servers.call(key, "CONFIG", "GET", "proto-max-bulk-len")
    except Refused:
        return DEFAULT_ARGUMENT_MAX_BYTES
    return int(reply[1]) if reply else DEFAULT_ARGUMENT_MAX_BYTES


def dead_letter_target(out: Outgoing, servers: RedisPool, naming: StreamNames) -> str:
    """Return the stream for a dead letter; on a Cluster, a stream in the hash slot of its origin.

    Raises Refused if the configured name is in another slot.
    """
    assert out.origin is not None
    origin = out.origin.stream
    if not servers.cluster or not crosses(origin, out.stream):
        return out.stream
    inside = cluster_dead_letter_stream(naming, origin)
    if out.stream == naming.dead_letter_stream(origin) and not crosses(origin, inside):
        return inside
    raise Refused(
        f"{origin}: {out.stream} is in another hash slot of the Cluster, so the two cannot be committed in one step; "
        "use {stream} in `dead_letters.stream`, and braces in the stream's name only as a hash tag"
    )
