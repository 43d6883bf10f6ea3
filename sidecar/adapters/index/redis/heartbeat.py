"""Heartbeats of sidecars in the shared index: members, their coverage, and the number of events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Protocol

import structlog
from msgspec import Struct

from sidecar.adapters.index.redis.coverage import SharedCoverage, field_of
from sidecar.adapters.index.redis.fetcher import STEP_TIMEOUT_S
from sidecar.adapters.index.redis.lua_scripts import HEARTBEAT
from sidecar.adapters.index.redis.shards import ShardClients
from sidecar.adapters.redis_client.connection_pool import Argument, Command
from sidecar.domain.periodic_task import run_periodically
from sidecar.domain.position import Partition

log = structlog.get_logger()

HEARTBEAT_INTERVAL_S = 2.0
"""Pause between two heartbeats."""
MESSAGE_TIMEOUT_S = 2.0
"""Time limit for building this member's message, which asks the broker."""
MEMBER_MAX_SILENCE_MS = 600_000
"""Time without a heartbeat after which a member is removed."""
_STAMP_DIGITS = 15

MessageBuilder = Callable[[], Awaitable[bytes]]
"""Builds the message of a member."""


class MemberHeartbeat(Struct, frozen=True):
    """Latest heartbeat of a member."""

    member: str
    old_ms: int
    """Age of the message when we received it, by the server's clock."""
    says: bytes
    received_at: float
    """Time of receipt (`time.monotonic`)."""

    @property
    def age_ms(self) -> int:
        """Current age of the message. If no heartbeat arrives, the age of all members grows."""
        return self.old_ms + int((time.monotonic() - self.received_at) * 1000)


class ShardEpochs(Protocol):
    """Random ids stored in the shards, one in each.

    A shard that was flushed has a different id or none, which is how data loss is detected.
    """

    def words(self) -> dict[int, bytes]:
        """Return the ids known so far."""

    def compare(self, before: dict[int, bytes], after: Sequence[bytes | None]) -> None:
        """Compare the ids known before a request with those that the shards returned."""


class HeartbeatLoop:
    """Sends the heartbeats of this member and receives those of the others."""

    def __init__(
        self,
        shards: ShardClients,
        coverage: SharedCoverage,
        set_count: Callable[[int, int], None],
        *,
        member: str,
        ttl_ms: int,
        words: ShardEpochs,
    ) -> None:
        """Create the loop; `set_count` receives the number of events of each shard."""
        self._shards, self._coverage, self._set_count, self._words = shards, coverage, set_count, words
        self._member, self._ttl_ms = member, ttl_ms
        self._told: set[Partition] = set()
        self._message = b"{}"
        self.members: list[MemberHeartbeat] = []
        """Latest heartbeats of all members, this one included."""

    async def run(self, build_message: MessageBuilder) -> None:
        """Run until canceled. `build_message` builds the message of this member."""
        beat = partial(self.beat, build_message)
        await run_periodically("sending heartbeats to the other members", beat, HEARTBEAT_INTERVAL_S)

    async def leave(self) -> None:
        """Leave the members. Raises Outage, Refused."""
        await self._tell(b"", {})
        self._told = set()

    async def beat(self, build_message: MessageBuilder) -> None:
        """Exchange heartbeats once. Raises Outage, Refused."""
        await self._build_message(build_message)
        before = self._words.words()
        self._words.compare(before, await self._tell(self._message, dict(self._coverage.own)))

    async def _build_message(self, build_message: MessageBuilder) -> None:
        """Build the message; if that fails, the last one is sent again, because an old message is better than none."""
        try:
            async with asyncio.timeout(MESSAGE_TIMEOUT_S):
                self._message = await build_message()
        except Exception as error:
            log.warning("cannot build this member's heartbeat; the previous one is sent again", reason=repr(error))

    async def _tell(self, says: bytes, covered: dict[Partition, int]) -> list[bytes | None]:
        """Send a heartbeat and return the random id of each shard."""
        keys, coverage = self._shards.keys, self._coverage
        arguments: list[Argument] = [2 * self._ttl_ms, MEMBER_MAX_SILENCE_MS, self._member, says, len(covered)]
        for partition, since in covered.items():
            arguments += (field_of(partition), since, int(partition in coverage.filling))
        left = self._told - covered.keys()
        arguments += (len(left), *map(field_of, left))
        commands: list[tuple[int, Command]] = [(0, ("EVALSHA", HEARTBEAT.sha, 1, keys.heads[0], *arguments))]
        commands += [
            (shard, ("MGET", *(keys.single(name, shard) for name in (b"n", b"d", b"g"))))
            for shard in range(keys.shards)
        ]
        (now, members, entries, swept), *shards = await self._shards.ask(commands, STEP_TIMEOUT_S)
        self._told = set(covered)
        coverage.update(now, _pairs(entries), sum(int(gone or 0) for _, gone, _ in shards), _pairs(swept))
        self.members = [
            heartbeat for name, value in _pairs(members).items() if (heartbeat := _beat(now, name, value)) is not None
        ]
        for shard, (count, _, _) in enumerate(shards):
            self._set_count(shard, int(count or 0))
        return [word for _, _, word in shards]


def _beat(now: int, name: bytes, value: bytes) -> MemberHeartbeat | None:
    """Parse the stored message of a member; None if another program wrote it."""
    stamp = value[:_STAMP_DIGITS]
    if not stamp.isdigit():
        return None
    return MemberHeartbeat(
        name.decode(errors="replace"), max(0, now - int(stamp)), value[_STAMP_DIGITS:], time.monotonic()
    )


async def build_empty_message() -> bytes:
    """Return the message of a member that has nothing to tell: a `MessageBuilder`."""
    return b"{}"


def _pairs(flat: list[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
