"""A sidecar's sign of life in the shared index: who is there, what they cover, and how much is held."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import structlog
from msgspec import Struct

from sidecar.adapters.index.redis.coverage import SharedCoverage, field_of
from sidecar.adapters.index.redis.fetcher import SECONDS
from sidecar.adapters.index.redis.lua_scripts import HEARTBEAT
from sidecar.adapters.index.redis.shards import ShardClients
from sidecar.adapters.redis_client.connection_pool import Argument, Command
from sidecar.domain.periodic_task import run_periodically
from sidecar.domain.position import Partition

log = structlog.get_logger()

EVERY = 2.0
"""Seconds between two beats."""
SAYING_SECONDS = 2.0
"""How long finding out what to say may take: the broker is asked for it, and may be away."""
FORGET_MS = 600_000
"""Members that were silent for so long are forgotten."""
_STAMP = 15


class MemberHeartbeat(Struct, frozen=True):
    """What a member last said of itself."""

    member: str
    old_ms: int
    """How long ago that was when we heard of it, by the server's clock."""
    says: bytes
    heard: float
    """When we did (`time.monotonic`)."""

    @property
    def age_ms(self) -> int:
        """How long ago it was said. Who hears nothing new finds everybody growing old."""
        return self.old_ms + int((time.monotonic() - self.heard) * 1000)


class ShardEpochs(Protocol):
    """The words that the shards keep: one that was emptied keeps another, or none."""

    def words(self) -> dict[int, bytes]:
        """Those known so far."""

    def compare(self, before: dict[int, bytes], found: Sequence[bytes | None]) -> None:
        """What was known before asking, and what each shard was found to keep."""


class HeartbeatLoop:
    """Tells the others, and hears of them."""

    def __init__(
        self,
        shards: ShardClients,
        coverage: SharedCoverage,
        counted: Callable[[int, int], None],
        *,
        member: str,
        ttl_ms: int,
        words: ShardEpochs,
    ) -> None:
        """`counted` is told how many events each shard holds."""
        self._shards, self._coverage, self._counted, self._words = shards, coverage, counted, words
        self._member, self._ttl_ms = member, ttl_ms
        self._told: set[Partition] = set()
        self._said = b"{}"
        self.says: Callable[[], Awaitable[bytes]] = _nothing
        """What this member says of itself."""
        self.members: list[MemberHeartbeat] = []
        """All members, this one too, as of the last beat."""

    async def run(self) -> None:
        """Runs until cancelled."""
        await run_periodically("telling the other members of this one", self.beat, EVERY)

    async def leave(self) -> None:
        """Be a member no more. Raises Outage, Refused."""
        await self._tell(b"", {})
        self._told = set()

    async def beat(self) -> None:
        """Tell and hear once. Raises Outage, Refused."""
        await self._say()
        before = self._words.words()
        self._words.compare(before, await self._tell(self._said, dict(self._coverage.own)))

    async def _say(self) -> None:
        """What cannot be found out now is left as it was said last: better an old word than no sign of life."""
        try:
            async with asyncio.timeout(SAYING_SECONDS):
                self._said = await self.says()
        except Exception as error:
            log.warning("what this member says of itself is what it said before", reason=repr(error))

    async def _tell(self, says: bytes, covered: dict[Partition, int]) -> list[bytes | None]:
        """Returns the word that each shard keeps."""
        keys, coverage = self._shards.keys, self._coverage
        arguments: list[Argument] = [2 * self._ttl_ms, FORGET_MS, self._member, says, len(covered)]
        for partition, since in covered.items():
            arguments += (field_of(partition), since, int(partition in coverage.filling))
        left = self._told - covered.keys()
        arguments += (len(left), *map(field_of, left))
        commands: list[tuple[int, Command]] = [(0, ("EVALSHA", HEARTBEAT.sha, 1, keys.heads[0], *arguments))]
        commands += [
            (shard, ("MGET", *(keys.single(name, shard) for name in (b"n", b"d", b"g"))))
            for shard in range(keys.shards)
        ]
        (now, members, entries, swept), *shards = await self._shards.ask(commands, SECONDS)
        self._told = set(covered)
        coverage.heard(now, _pairs(entries), sum(int(gone or 0) for _, gone, _ in shards), _pairs(swept))
        self.members = [one for name, value in _pairs(members).items() if (one := _beat(now, name, value)) is not None]
        for shard, (count, _, _) in enumerate(shards):
            self._counted(shard, int(count or 0))
        return [word for _, _, word in shards]


def _beat(now: int, name: bytes, value: bytes) -> MemberHeartbeat | None:
    """What a member said, as it lies there; None where somebody else wrote that."""
    stamp = value[:_STAMP]
    if not stamp.isdigit():
        return None
    return MemberHeartbeat(name.decode(errors="replace"), max(0, now - int(stamp)), value[_STAMP:], time.monotonic())


async def _nothing() -> bytes:
    return b"{}"


def _pairs(flat: list[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
