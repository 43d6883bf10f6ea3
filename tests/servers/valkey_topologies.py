"""Valkeys in other topologies: a master with a replica and a Sentinel, a Cluster of three, one behind TLS."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Iterator

from redis import Redis
from redis.exceptions import RedisError

from sidecar.demo.embedded_valkey import EmbeddedValkey, server_binary
from tests.servers.server_versions import selected_version
from tests.support.conditions import wait_until
from tests.support.ports import free_ports

SECONDS = 60.0
FIXED_BUS_DISTANCE = 10_000
"""Distance of a node's bus from its port where it cannot be configured."""


class EmbeddedSentinel(EmbeddedValkey):
    """A single Sentinel that watches one master."""

    def __init__(self, name: str, master_port: int) -> None:
        super().__init__()
        self._config = self.directory / "sentinel.conf"
        self._config.write_text(
            f"sentinel monitor {name} 127.0.0.1 {master_port} 1\n"
            f"sentinel down-after-milliseconds {name} 500\n"
            f"sentinel failover-timeout {name} 5000\n"
        )

    def _command(self, port: int) -> list[str]:
        options = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(self.directory), "--logfile", "valkey.log"]
        return [server_binary(), str(self._config), "--sentinel", *options]


@contextlib.contextmanager
def watched_by_a_sentinel(name: str) -> Iterator[tuple[EmbeddedValkey, EmbeddedValkey, EmbeddedSentinel]]:
    """A master, its replica in sync, and a Sentinel that knows both."""
    with contextlib.ExitStack() as stack:
        master = stack.enter_context(EmbeddedValkey(repl_diskless_sync_delay=0))
        replica = stack.enter_context(EmbeddedReplica(master.port))
        sentinel = stack.enter_context(EmbeddedSentinel(name, master.port))
        with Redis(port=master.port) as client:
            wait_until(lambda: _online(client), "the servers to get together", ignore=RedisError)
        with Redis(port=sentinel.port) as client:
            wait_until(
                lambda: len(client.execute_command("SENTINEL", "REPLICAS", name)) == 1,
                "the servers to get together",
                ignore=RedisError,
            )
        yield master, replica, sentinel


class EmbeddedReplica(EmbeddedValkey):
    def __init__(self, master_port: int) -> None:
        super().__init__(repl_diskless_sync_delay=0)
        self._master_port = master_port

    def _command(self, port: int) -> list[str]:
        return [*super()._command(port), "--replicaof", "127.0.0.1", str(self._master_port)]


def _online(client: Redis) -> bool:
    replicas = [value for key, value in client.info("replication").items() if key.startswith("slave")]
    return any(isinstance(one, dict) and one.get("state") == "online" for one in replicas)


def cluster_nodes(count: int, **options: str | int) -> list[EmbeddedValkey]:
    """Return nodes of a Cluster, not started. Before Redis 7.0 the port of a node's bus is fixed."""
    if selected_version() >= (7, 0):
        return [
            EmbeddedValkey(cluster_enabled="yes", cluster_port=bus_port, **options) for bus_port in free_ports(count)
        ]
    return [
        EmbeddedValkey(port=port, cluster_enabled="yes", **options)
        for port in free_ports(count, distance=FIXED_BUS_DISTANCE)
    ]


def meet(client: Redis, node: EmbeddedValkey) -> None:
    """Introduce a node to the Cluster of another."""
    bus_port = node._options.get("cluster-port", node.port + FIXED_BUS_DISTANCE)
    client.execute_command("CLUSTER", "MEET", "127.0.0.1", node.port, bus_port)


def move_slot(number: int, source: Redis, target: Redis) -> None:
    """Move a hash slot with its keys to another node, by the commands that every version has."""
    ids = [bytes(client.execute_command("CLUSTER", "MYID")).decode() for client in (source, target)]
    port = target.connection_pool.connection_kwargs["port"]
    target.execute_command("CLUSTER", "SETSLOT", number, "IMPORTING", ids[0])
    source.execute_command("CLUSTER", "SETSLOT", number, "MIGRATING", ids[1])
    while keys := source.execute_command("CLUSTER", "GETKEYSINSLOT", number, 100):
        source.execute_command("MIGRATE", "127.0.0.1", port, "", 0, 5_000, "KEYS", *keys)
    for client in (target, source):
        client.execute_command("CLUSTER", "SETSLOT", number, "NODE", ids[1])


@contextlib.contextmanager
def cluster_of_three() -> Iterator[list[EmbeddedValkey]]:
    """Three masters that share the slots evenly."""
    with contextlib.ExitStack() as stack:
        nodes = [stack.enter_context(node) for node in cluster_nodes(3, cluster_node_timeout=2000)]
        clients = [stack.enter_context(Redis(port=node.port)) for node in nodes]
        for number, client in enumerate(clients):
            client.execute_command("CLUSTER", "ADDSLOTS", *range(number * 16_384 // 3, (number + 1) * 16_384 // 3))
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node in nodes[1:]:
            meet(clients[0], node)
        wait_until(lambda: all(_whole(client) for client in clients), "the servers to get together", ignore=RedisError)
        yield nodes


def _whole(client: Redis) -> bool:
    info = bytes(client.execute_command("CLUSTER", "INFO")).split()
    return b"cluster_state:ok" in info and b"cluster_known_nodes:3" in info


@contextlib.asynccontextmanager
async def behind_tls(port: int, context: ssl.SSLContext) -> AsyncIterator[int]:
    """A TLS port in front of a server without TLS."""

    async def passes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ssl.SSLError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            await asyncio.gather(passes(reader, there_writer), passes(there_reader, writer))
        finally:
            for one in (writer, there_writer):
                one.transport.abort()

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
