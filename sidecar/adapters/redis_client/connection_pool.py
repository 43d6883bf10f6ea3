"""Connections to a Redis server, to the master behind Sentinels, or to the nodes of a Cluster.

Replies stay raw: redis-py's parsed replies differ by version and lose repeated fields.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import hiredis
from redis.asyncio import Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from sidecar.adapters.redis_client.command_text import describe_command
from sidecar.adapters.redis_client.errors import ClusterRedirect, RedisReplyError, translate_error
from sidecar.adapters.redis_client.hash_slots import slot
from sidecar.adapters.redis_client.urls import Address, RedisAddress
from sidecar.config.schema import TlsConfig
from sidecar.domain.errors import Disconnected, Outage, Refused, TracecarError

CONNECT_TIMEOUT_S, REPLY_TIMEOUT_S = 5.0, 15.0
MAX_IDLE_CONNECTIONS = 8
"""Idle connections to keep for each node."""
Argument = str | int | bytes
Command = Sequence[Argument]


class RedisConnection:
    """One connection, for one caller at a time. After an error the next call connects again."""

    def __init__(self, connection: AbstractConnection, server: str) -> None:
        self._connection = connection
        self.server = server

    async def call(self, *command: Argument) -> Any:
        """Send a command and return the raw reply. Raises Disconnected, Outage, or RedisReplyError."""
        (reply,) = await self.calls([command])
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def calls(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands together and return the raw replies. Raises Disconnected.

        The reply of a refused command is an exception in the list.
        """
        what = str(commands[0][0])
        try:
            async with asyncio.timeout(REPLY_TIMEOUT_S):
                return await self._calls(commands)
        except TimeoutError:
            await self.close()
            raise Disconnected(f"{self.server}: {what}: no reply within {REPLY_TIMEOUT_S:.0f} seconds") from None
        except (RedisError, OSError) as error:
            await self.close()
            raise translate_error(error, self.server, what) from error
        except BaseException:
            # The reply to a canceled command must not be taken for that of the next one.
            await self.close()
            raise

    async def _calls(self, commands: Sequence[Command]) -> list[Any]:
        await self._connection.send_packed_command(
            [hiredis.pack_command(tuple(command)) for command in commands],  # type: ignore[arg-type]  # str, int, bytes
            check_health=False,
        )
        replies: list[Any] = []
        for command in commands:
            try:
                replies.append(await self._connection.read_response())
            except RedisError as error:
                mine = translate_error(error, self.server, describe_command(command))
                if isinstance(mine, Disconnected):
                    raise mine from error
                replies.append(mine)
        return replies

    @property
    def connected(self) -> bool:
        return bool(self._connection.is_connected)

    async def close(self) -> None:
        with contextlib.suppress(RedisError, OSError):
            await self._connection.disconnect()


class RedisPool:
    """Connections to the servers that hold the keys; idle ones are kept for short calls."""

    def __init__(self, target: RedisAddress, tls: TlsConfig | None, name: str, path: str = "sources.redis") -> None:
        self.target = target
        self._path = path
        """Configuration path, for error messages."""
        self._tls = tls if tls is not None else TlsConfig() if target.tls else None
        self._name = name
        self._idle: dict[Address, list[RedisConnection]] = {}
        self._master: Address | None = None
        self._ranges: list[tuple[int, int, Address]] = []

    @property
    def cluster(self) -> bool:
        return self.target.kind == "cluster"

    def slot(self, key: bytes) -> int:
        """Return the hash slot of a key (outside a Cluster 0): keys of one slot can be used in one command."""
        return slot(key) if self.cluster else 0

    async def start(self) -> None:
        """Find the servers and connect. Raises Outage, or Refused for wrong credentials and certificates."""
        self._check_files()
        if self.cluster:
            await self._map_slots()
        elif self.target.kind == "sentinel":
            self._master = await self._ask_sentinels()
        async with self.borrow(None) as connection:
            await connection.call("PING")

    async def close(self) -> None:
        idle, self._idle = self._idle, {}
        for connections in idle.values():
            for connection in connections:
                await connection.close()

    def nodes(self) -> list[Address]:
        """List the nodes that hold keys."""
        return list(dict.fromkeys(address for _, _, address in self._ranges)) if self.cluster else [self._address(None)]

    def connect(self, key: bytes | None = None, node: Address | None = None) -> RedisConnection:
        """Return a new connection to the node that holds `key` (None: the first node), for the caller to close."""
        return self._new(node or self._address(key))

    @contextlib.asynccontextmanager
    async def borrow(self, key: bytes | None, node: Address | None = None) -> AsyncIterator[RedisConnection]:
        """Lend a connection for a few short calls."""
        address = node or self._address(key)
        idle = self._idle.setdefault(address, [])
        connection = idle.pop() if idle else self._new(address)
        try:
            yield connection
        except (Disconnected, ClusterRedirect):
            await connection.close()
            await self.rediscover()
            raise
        except BaseException:
            await connection.close()
            raise
        # `close` may have replaced the list meanwhile.
        idle = self._idle.setdefault(address, [])
        if connection.connected and len(idle) < MAX_IDLE_CONNECTIONS:
            idle.append(connection)
        else:
            await connection.close()

    async def call(self, key: bytes | None, *command: Argument) -> Any:
        """Send one command on `key` and return the raw reply.

        If its slot has moved or the idle connection was closed, the command is sent once more: it must be repeatable.
        """
        for last in (False, True):
            try:
                async with self.borrow(key) as connection:
                    return await connection.call(*command)
            except (Disconnected, ClusterRedirect):
                if last:
                    raise
        raise AssertionError

    async def rediscover(self) -> None:
        """Find the servers again, after a failover or a moved slot. Idle connections are closed."""
        await self.close()
        try:
            if self.cluster:
                await self._map_slots()
            elif self.target.kind == "sentinel":
                self._master = await self._ask_sentinels()
        except (Outage, Refused):
            pass  # the next call raises it

    def node_of(self, key: bytes) -> Address:
        """Return the node that holds `key`, as far as known. Raises Outage if none is known."""
        return self._address(key)

    # --- discovery

    def _address(self, key: bytes | None) -> Address:
        if self.target.kind == "sentinel":
            if self._master is None:
                raise Disconnected(f"{self.target}: the Sentinels were not asked for the master yet")
            return self._master
        if not self.cluster:
            return self.target.addresses[0] if self.target.addresses else (self.target.path, 0)
        wanted = slot(key) if key is not None else 0
        for first, last, address in self._ranges:
            if key is None or first <= wanted <= last:
                return address
        raise Outage(f"{self.target}: no node of the Cluster serves slot {wanted}", retry_after=0.5)

    async def _ask_sentinels(self) -> Address:
        reason: str | TracecarError = "none was asked"
        for address in self.target.addresses:
            connection = self._new(address, sentinel=True)
            try:
                answer = await connection.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.target.master)
                if answer:
                    return answer[0].decode(), int(answer[1])
                reason = f"{address[0]}:{address[1]} knows no master {self.target.master!r}"
            except (Outage, Refused) as error:
                reason = error
            finally:
                await connection.close()
        raise Outage(f"{self.target}: no Sentinel knows the master ({reason}); check that the Sentinels run")

    async def _map_slots(self) -> None:
        failure: TracecarError | None = None
        known = [address for _, _, address in self._ranges]
        for address in dict.fromkeys((*known, *self.target.addresses)):
            connection = self._new(address)
            try:
                ranges = await connection.call("CLUSTER", "SLOTS")
            except (Outage, Refused) as error:
                failure = error
                continue
            finally:
                await connection.close()
            # A node that does not know its own address leaves out the host: it is the node that was asked.
            self._ranges = [
                (first, last, ((host or b"").decode() or address[0], int(port)))
                for first, last, (host, port, *_), *_ in ranges
            ]
            if self._ranges:
                return
            failure = Outage(f"{address[0]}:{address[1]}: no node serves any slot yet")
        if isinstance(failure, RedisReplyError) and failure.code == "ERR":
            raise Refused(f"{self.target}: not a Cluster; use redis://HOST:PORT instead ({failure})")
        raise Outage(f"{self.target}: no node answers ({failure})")

    # --- new connections

    def _new(self, address: Address, *, sentinel: bool = False) -> RedisConnection:
        target = self.target
        options: dict[str, Any] = {
            "username": target.sentinel_username if sentinel else target.username,
            "password": target.sentinel_password if sentinel else target.password,
            "db": 0 if sentinel or self.cluster else target.database,
            "protocol": 2,
            "client_name": self._name,
            "driver_info": None,
            # `RedisConnection` bounds the wait for replies: redis-py's own timeout can swallow a cancellation on
            # Python 3.11.
            "socket_timeout": None,
            "socket_connect_timeout": CONNECT_TIMEOUT_S,
            "socket_read_size": 1 << 18,
            "retry": Retry(NoBackoff(), 0),
        }
        if target.kind == "unix":
            options.pop("socket_connect_timeout")
            return RedisConnection(UnixDomainSocketConnection(path=target.path, **options), str(target))
        kind: type[Connection] = Connection
        if self._tls is not None:
            kind = SSLConnection
            options |= {
                "ssl_ca_certs": self._tls.ca,
                "ssl_certfile": self._tls.cert,
                "ssl_keyfile": self._tls.key or self._tls.cert,
                "ssl_check_hostname": self._tls.check_hostname,
                "ssl_cert_reqs": "required",
            }
        host, port = address
        return RedisConnection(kind(host=host, port=port, **options), f"redis at {host}:{port}")

    def _check_files(self) -> None:
        tls = self._tls or TlsConfig()
        for what, path in (("ca", tls.ca), ("cert", tls.cert), ("key", tls.key)):
            if path is not None and not Path(path).is_file():
                raise Refused(f"{self._path}.tls.{what}: the file {path} does not exist")
