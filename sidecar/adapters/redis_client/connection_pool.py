"""Connections to a Redis server, to the master that Sentinels name, or to the nodes of a Cluster. Replies stay raw:
what redis-py makes of an answer differs by version and loses repeated fields."""

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

from sidecar.adapters.redis_client.errors import ClusterRedirect, RedisReplyError, translated
from sidecar.adapters.redis_client.hash_slots import slot
from sidecar.adapters.redis_client.urls import Address, RedisAddress
from sidecar.config.schema import TlsConfig
from sidecar.domain.errors import Disconnected, Outage, Refused, TracecarError

CONNECT_SECONDS, ANSWER_SECONDS = 5.0, 15.0
IDLE_LINKS = 8
"""Connections to one node that are kept for later."""
Argument = str | int | bytes
Command = Sequence[Argument]


class RedisConnection:
    """One connection, for one caller at a time. After an error of it, the next call connects anew."""

    def __init__(self, connection: AbstractConnection, server: str) -> None:
        self._connection = connection
        self.server = server

    async def call(self, *command: Argument) -> Any:
        """The raw reply. Raises Disconnected, Outage, or Said with the server's code."""
        (reply,) = await self.calls([command])
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def calls(self, commands: Sequence[Command]) -> list[Any]:
        """The raw replies of commands that are sent together; what the server refused stands among them as an error.
        Raises Disconnected."""
        what = str(commands[0][0])
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self._calls(commands)
        except TimeoutError:
            await self.close()
            raise Disconnected(f"{self.server}: {what}: no answer within {ANSWER_SECONDS:.0f} seconds") from None
        except (RedisError, OSError) as error:
            await self.close()
            raise translated(error, self.server, what) from error
        except BaseException:
            # An answer that nobody waits for must not be taken for that of the next command.
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
                mine = translated(error, self.server, str(command[0]))
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
    """Where the keys are: links to whoever holds a key, and a few idle ones kept for short calls."""

    def __init__(self, target: RedisAddress, tls: TlsConfig | None, name: str, path: str = "sources.redis") -> None:
        self.target = target
        self._path = path
        """Of the configuration that this is of."""
        self._tls = tls if tls is not None else TlsConfig() if target.tls else None
        self._name = name
        self._idle: dict[Address, list[RedisConnection]] = {}
        self._master: Address | None = None
        self._ranges: list[tuple[int, int, Address]] = []

    @property
    def cluster(self) -> bool:
        return self.target.kind == "cluster"

    def slot(self, key: bytes) -> int:
        """Keys with the same number can stand in one command."""
        return slot(key) if self.cluster else 0

    async def start(self) -> None:
        """Find out who serves. Raises Outage, or Refused for credentials and certificates that do not do."""
        self._check_files()
        if self.cluster:
            await self._map_slots()
        elif self.target.kind == "sentinel":
            self._master = await self._ask_sentinels()
        async with self.borrow(None) as link:
            await link.call("PING")

    async def close(self) -> None:
        idle, self._idle = self._idle, {}
        for links in idle.values():
            for link in links:
                await link.close()

    def nodes(self) -> list[Address]:
        """Every node that holds keys."""
        return list(dict.fromkeys(address for _, _, address in self._ranges)) if self.cluster else [self._address(None)]

    def link(self, key: bytes | None = None, node: Address | None = None) -> RedisConnection:
        """A new connection to who holds `key` (the first node, for None), for the caller to close."""
        return self._new(node or self._address(key))

    @contextlib.asynccontextmanager
    async def borrow(self, key: bytes | None, node: Address | None = None) -> AsyncIterator[RedisConnection]:
        """A connection for a few short calls."""
        address = node or self._address(key)
        idle = self._idle.setdefault(address, [])
        link = idle.pop() if idle else self._new(address)
        try:
            yield link
        except (Disconnected, ClusterRedirect):
            await link.close()
            await self.look_again()
            raise
        except BaseException:
            await link.close()
            raise
        # The idle ones may have been closed meanwhile, and the list be another.
        idle = self._idle.setdefault(address, [])
        if link.connected and len(idle) < IDLE_LINKS:
            idle.append(link)
        else:
            await link.close()

    async def call(self, key: bytes | None, *command: Argument) -> Any:
        """The raw reply to one command on `key`, asked once more where a slot has moved, or where an idle connection
        turned out to be gone: so only for what may be done twice."""
        for last in (False, True):
            try:
                async with self.borrow(key) as link:
                    return await link.call(*command)
            except (Disconnected, ClusterRedirect):
                if last:
                    raise
        raise AssertionError

    async def look_again(self) -> None:
        """Who serves may have changed. Idle connections may be to the old one."""
        await self.close()
        try:
            if self.cluster:
                await self._map_slots()
            elif self.target.kind == "sentinel":
                self._master = await self._ask_sentinels()
        except (Outage, Refused):
            pass  # the next call says so

    def holder(self, key: bytes) -> Address:
        """Who holds `key` as far as is known. Raises Outage where nobody is known to."""
        return self._address(key)

    # --- who serves

    def _address(self, key: bytes | None) -> Address:
        if self.target.kind == "sentinel":
            if self._master is None:
                raise Disconnected(f"{self.target}: the Sentinels were not asked yet")
            return self._master
        if not self.cluster:
            return self.target.addresses[0] if self.target.addresses else (self.target.path, 0)
        wanted = slot(key) if key is not None else 0
        for first, last, address in self._ranges:
            if key is None or first <= wanted <= last:
                return address
        raise Outage(f"{self.target}: no node of the Cluster serves slot {wanted}", retry_after=0.5)

    async def _ask_sentinels(self) -> Address:
        found: str | TracecarError = "none was asked"
        for address in self.target.addresses:
            link = self._new(address, sentinel=True)
            try:
                answer = await link.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.target.master)
                if answer:
                    return answer[0].decode(), int(answer[1])
                found = f"{address[0]}:{address[1]} knows no master {self.target.master!r}"
            except (Outage, Refused) as error:
                found = error
            finally:
                await link.close()
        raise Outage(f"{self.target}: no Sentinel names the master ({found})")

    async def _map_slots(self) -> None:
        found: TracecarError | None = None
        known = [address for _, _, address in self._ranges]
        for address in dict.fromkeys((*known, *self.target.addresses)):
            link = self._new(address)
            try:
                ranges = await link.call("CLUSTER", "SLOTS")
            except (Outage, Refused) as error:
                found = error
                continue
            finally:
                await link.close()
            # A node that does not know its own address leaves the host out: it is the one that was asked.
            self._ranges = [
                (first, last, ((host or b"").decode() or address[0], int(port)))
                for first, last, (host, port, *_), *_ in ranges
            ]
            if self._ranges:
                return
            found = Outage(f"{address[0]}:{address[1]}: no node serves any slot yet")
        if isinstance(found, RedisReplyError) and found.code == "ERR":
            raise Refused(f"{self.target}: not a Cluster; use redis://HOST:PORT instead ({found})")
        raise Outage(f"{self.target}: no node answers ({found})")

    # --- making connections

    def _new(self, address: Address, *, sentinel: bool = False) -> RedisConnection:
        target = self.target
        options: dict[str, Any] = {
            "username": target.sentinel_username if sentinel else target.username,
            "password": target.sentinel_password if sentinel else target.password,
            "db": 0 if sentinel or self.cluster else target.database,
            "protocol": 2,
            "client_name": self._name,
            "driver_info": None,
            # Waiting for answers is bounded in `RedisConnection`: redis-py's way of it can swallow a cancellation on
            # Python 3.11.
            "socket_timeout": None,
            "socket_connect_timeout": CONNECT_SECONDS,
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
                raise Refused(f"{self._path}.tls.{what}: there is no file {path}")


async def closing(links: Sequence[RedisConnection]) -> None:
    await asyncio.gather(*(link.close() for link in links))
