"""The shared index on a Valkey Cluster of three masters with a replica each, one of which takes over."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

import pytest
from redis import Redis
from redis.exceptions import RedisError

from sidecar.adapters.index.redis import writer
from sidecar.adapters.index.redis.heartbeat import build_empty_message
from sidecar.demo.embedded_valkey import EmbeddedValkey
from tests.integration.test_index_redis_outages import all_of, at, some
from tests.servers.valkey_topologies import cluster_nodes, meet
from tests.support.conditions import until, wait_until

pytestmark = pytest.mark.valkey


@contextlib.contextmanager
def cluster_of_six() -> Iterator[list[EmbeddedValkey]]:
    """Three masters, then their replicas, in sync."""
    with contextlib.ExitStack() as stack:
        nodes = [
            stack.enter_context(node)
            for node in cluster_nodes(6, cluster_node_timeout=1500, repl_diskless_sync_delay=0)
        ]
        clients = [stack.enter_context(Redis(port=node.port)) for node in nodes]
        for number, client in enumerate(clients):
            if number < 3:
                client.execute_command("CLUSTER", "ADDSLOTS", *range(number * 16_384 // 3, (number + 1) * 16_384 // 3))
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node in nodes[1:]:
            meet(clients[0], node)
        wait_until(
            lambda: all(b"cluster_known_nodes:6" in info(client) for client in clients),
            "the servers to get together",
            ignore=RedisError,
        )
        ids = [client.execute_command("CLUSTER", "MYID") for client in clients[:3]]
        for id, client in zip(ids, clients[3:], strict=True):
            wait_until(
                lambda client=client, id=id: client.execute_command("CLUSTER", "REPLICATE", id),
                "the servers to get together",
                ignore=RedisError,
            )
        wait_until(
            lambda: all(b"cluster_state:ok" in info(client) for client in clients),
            "the servers to get together",
            ignore=RedisError,
        )
        wait_until(
            lambda: all(client.info("replication").get("master_link_status") == "up" for client in clients[3:]),
            "the servers to get together",
            ignore=RedisError,
        )
        yield nodes


def info(client: Redis) -> bytes:
    return bytes(client.execute_command("CLUSTER", "INFO"))


async def test_the_index_continues_after_a_failover_in_a_cluster(monkeypatch):
    monkeypatch.setattr(writer, "WRITE_TIMEOUT_S", 2.0)
    with cluster_of_six() as nodes:
        index = at("redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in nodes[:3]))
        again: list[str] = []
        index.writer.on_lost = lambda since: again.append("again")
        try:
            index.add(some(0, 500))
            await index.wait_until_written()
            await all_of(index, some(0, 500))
            nodes[1].kill()
            for start in range(500, 1_000, 50):
                index.add(some(start, 50))
                await asyncio.sleep(0)
            await until(lambda: index.trouble is not None)
            await until(lambda: index.trouble is None)
            assert again
            index.add(some(0, 500))
            await all_of(index, some(0, 1_000))
            await index.beating.beat(build_empty_message)
            assert index.coverage().events == 1_000
        finally:
            await index.close()
