"""Clients of the shared index's servers: each command is sent to the server that holds its shard."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from sidecar.adapters.index.redis.key_layout import CLUSTER_SHARDS, KeyLayout
from sidecar.adapters.index.redis.lua_scripts import (
    CORRECT_COUNT,
    DELETE_EVENTS,
    DISCARD_EVENTS,
    HEARTBEAT,
    WRITE_EVENTS,
    WRITE_LISTS,
    WRITE_WHEN_FULL,
)
from sidecar.adapters.redis_client.connection_pool import Argument, Command, RedisPool
from sidecar.adapters.redis_client.errors import ClusterRedirect, RedisReplyError
from sidecar.adapters.redis_client.urls import Address, RedisAddress
from sidecar.config.schema import TlsConfig
from sidecar.domain.errors import Disconnected, Outage

_SCRIPTS = {
    script.sha: script
    for script in (WRITE_EVENTS, WRITE_LISTS, DELETE_EVENTS, DISCARD_EVENTS, HEARTBEAT, CORRECT_COUNT, WRITE_WHEN_FULL)
}
_MAX_ATTEMPTS = 3


class ShardClients:
    """The servers of one index."""

    def __init__(self, target: RedisAddress, tls: TlsConfig | None, prefix: str, name: str) -> None:
        self.servers = RedisPool(target, tls, name, "index.redis")
        self.keys = KeyLayout(prefix, CLUSTER_SHARDS if target.kind == "cluster" else 1)
        self._started = False
        self._starting = asyncio.Lock()

    async def ask(self, commands: Sequence[tuple[int, Command]], seconds: float) -> list[Any]:
        """Send commands and return the replies in order, after one round trip in all.

        The commands must be repeatable. Raises Outage if the replies take longer than `seconds`, and Refused.
        """
        if not commands:
            return []
        try:
            async with asyncio.timeout(seconds):
                return await self._retry(commands)
        except TimeoutError:
            await self.servers.close()
            raise Outage(
                f"the index at {self.servers.target}: no answer within {seconds:g} seconds; is it slow, or stopped?"
            ) from None

    async def close(self) -> None:
        await self.servers.close()

    async def _retry(self, commands: Sequence[tuple[int, Command]]) -> list[Any]:
        for left in range(_MAX_ATTEMPTS - 1, -1, -1):
            try:
                await self._start()
                replies = await self._once(commands)
            except Disconnected as error:
                if not left:
                    raise Disconnected(f"cannot reach the shared index: {error}") from error
                await self.servers.rediscover()
                continue
            missing = [
                number
                for number, reply in enumerate(replies)
                if isinstance(reply, RedisReplyError) and reply.code == "NOSCRIPT"
            ]
            if missing:
                commands = [(shard, _in_full(command)) for shard, command in commands]
                continue
            moved = next((reply for reply in replies if isinstance(reply, ClusterRedirect)), None)
            if moved is not None and left:
                await self.servers.rediscover()
                continue
            for reply in replies:
                if isinstance(reply, Exception):
                    raise reply
            return replies
        raise Outage(
            f"the index at {self.servers.target}: the server has lost Lua scripts that it had just loaded; retrying. "
            "Check that no client runs SCRIPT FLUSH on it"
        )

    async def _start(self) -> None:
        if not self._started:
            async with self._starting:
                if not self._started:
                    await self.servers.start()
                    self._started = True

    async def _once(self, commands: Sequence[tuple[int, Command]]) -> list[Any]:
        """Send once. Raises Disconnected, Outage; refused commands have exceptions as replies."""
        groups: dict[Address, tuple[bytes, list[int]]] = {}
        for number, (shard, _) in enumerate(commands):
            head = self.keys.heads[shard]
            groups.setdefault(self.servers.node_of(head), (head, []))[1].append(number)
        replies: list[Any] = [None] * len(commands)

        async def one(head: bytes, numbers: Sequence[int]) -> None:
            async with self.servers.borrow(head) as link:
                shard_replies = await link.calls([commands[number][1] for number in numbers])
            for number, reply in zip(numbers, shard_replies, strict=True):
                replies[number] = reply

        if len(groups) == 1:
            ((head, numbers),) = groups.values()
            await one(head, numbers)
        else:
            outcomes = await asyncio.gather(
                *(one(head, numbers) for head, numbers in groups.values()), return_exceptions=True
            )
            for outcome in outcomes:
                if isinstance(outcome, BaseException):
                    raise outcome
        return replies


def _in_full(command: Command) -> Command:
    """Replace the digest of a script by its text."""
    script = _SCRIPTS.get(str(command[1])) if command[0] == "EVALSHA" else None
    rest: Sequence[Argument] = command[2:]
    return command if script is None else ("EVAL", script.text, *rest)
