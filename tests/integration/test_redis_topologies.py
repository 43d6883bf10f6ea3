"""Redis in the topologies that users run: with TLS and ACLs, with Sentinels that fail over, as a Cluster."""

from __future__ import annotations

import asyncio
import ssl
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import trustme
from redis import Redis
from redis.exceptions import MovedError

from sidecar.adapters.brokers.redis.broker import RedisBroker
from sidecar.adapters.brokers.redis.cluster_key_names import slot
from sidecar.adapters.redis_client.connection_pool import RedisPool
from sidecar.adapters.redis_client.urls import parse
from sidecar.config.schema import Config, RedisConfig, SourcesConfig, TlsConfig
from sidecar.config.value_types import Duration, StartPosition
from sidecar.demo.embedded_valkey import EmbeddedValkey
from sidecar.domain.errors import Outage, Refused
from sidecar.domain.model import Outgoing
from sidecar.domain.position import Position
from tests.contracts.batch_reader import Reader, by_lease, letter, letter_ids
from tests.contracts.broker_contract import BrokerContract
from tests.contracts.broker_harness import outgoing
from tests.servers.valkey_topologies import behind_tls, cluster_of_three, move_slot, watched_by_a_sentinel
from tests.support.conditions import until
from tests.support.redis import RedisHarness

pytestmark = pytest.mark.valkey

READS = ["+ping", "+time", "+type", "+scan", "+hello", "+client|setname", "+xread", "+xrange", "+xinfo", "+xpending"]
SETTLES = ["+xgroup", "+xreadgroup", "+xclaim", "+xack", "+xadd", "+eval", "+evalsha", "+script|load"]
ALLOWED = [*READS, *SETTLES]
"""The rights that docs/redis.md lists."""


def broker_of(url: str, *streams: str, group: str, tls: TlsConfig | None = None, claim_idle: float = 60) -> RedisBroker:
    naming = Config(service="test", sources=SourcesConfig()).stream_names(group)
    config = RedisConfig(
        url=url,
        streams=list(streams),
        group=group,
        start=StartPosition("earliest"),
        tls=tls,
        claim_idle=Duration(claim_idle),
    )
    return RedisBroker(config, "test", naming)


@pytest.fixture
def stream() -> str:
    return f"orders-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def group() -> str:
    return f"group-{uuid.uuid4().hex[:12]}"


# --- TLS and ACLs


async def test_tls_and_a_user_with_no_more_than_is_needed(
    valkey: EmbeddedValkey, stream: str, group: str, tmp_path: Path
) -> None:
    harness = RedisHarness(valkey.url)
    user = f"user-{group}"
    await harness.client.execute_command("ACL", "SETUSER", user, "on", ">p@ss:/word", "~*", *ALLOWED)
    authority = trustme.CA()
    (tmp_path / "ca.pem").write_bytes(authority.cert_pem.bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    await harness.produce([outgoing(stream, b"bad")])
    async with behind_tls(valkey.port, context) as port:
        url = f"rediss://{user}:p%40ss%3A%2Fword@localhost:{port}/0"
        broker = broker_of(url, f"{stream}*", group=group, tls=TlsConfig(ca=str(tmp_path / "ca.pem")))
        findings = await broker.inspect()
        assert all(finding.ok for finding in findings), findings
        await broker.start()
        async with Reader(broker) as reader:
            (record,) = await reader.read(1)
            await broker.commit(by_lease(reader.batches)[0], [letter(record, harness.naming(group), group)])
        await broker.close()

        for tls, wrong in (
            (TlsConfig(), url),
            (TlsConfig(ca=str(tmp_path / "ca.pem")), url.replace("localhost", "127.0.0.1")),
        ):
            stranger = broker_of(wrong, stream, group=group, tls=tls)
            with pytest.raises(Outage):
                await stranger.start()
            (finding,) = await stranger.inspect()
            assert not finding.ok
            await stranger.close()
        missing = broker_of(url, stream, group=group, tls=TlsConfig(ca="/no/such.pem"))
        with pytest.raises(Refused, match="does not exist"):
            await missing.start()
    assert letter_ids(await harness.contents(f"{stream}.dlt")) == [f"{group}@{record.position}"]
    await harness.close()


async def test_missing_rights_are_found_without_a_write(valkey: EmbeddedValkey, stream: str, group: str) -> None:
    harness = RedisHarness(valkey.url)
    user = f"user-{group}"
    url = f"redis://{user}:secret@127.0.0.1:{valkey.port}/0"
    await harness.produce([outgoing(stream, b"one")])
    for taken in ("xadd", "xgroup", "xreadgroup", "evalsha", "xclaim"):
        await harness.client.execute_command(
            "ACL", "SETUSER", user, "reset", "on", ">secret", "~*", *ALLOWED, f"-{taken}"
        )
        broker = broker_of(url, stream, group=group)
        bad = [finding for finding in await broker.inspect() if not finding.ok]
        assert bad, taken
        assert taken in bad[0].detail.lower()
        assert "secret" not in str(bad)
        await broker.close()
    await harness.client.execute_command("ACL", "SETUSER", user, "reset", "on", ">secret", "~*", *ALLOWED, "-scan")
    broker = broker_of(url, f"{stream}*", stream, group=group)
    findings = {finding.what: finding for finding in await broker.inspect()}
    await broker.close()
    assert findings["sources.redis: connect"].ok
    assert "scan" in findings[f"sources.redis.streams: {stream}*"].detail.lower()
    assert findings[f"sources.redis: read {stream}"].ok
    assert await harness.client.execute_command("XINFO GROUPS", stream) == []
    assert await harness.client.exists(f"{stream}.dlt") == 0
    stranger = broker_of(url.replace("secret", "wrong"), stream, group=group)
    with pytest.raises(Refused, match="credentials"):
        await stranger.start()
    await stranger.close()
    await harness.close()


# --- Sentinel


async def test_a_failover_doubles_and_loses_nothing_that_was_replicated(stream: str, group: str) -> None:
    with watched_by_a_sentinel("shop") as (master, replica, sentinel):
        harness = RedisHarness(master.url)
        url = f"redis+sentinel://127.0.0.1:1,127.0.0.1:{sentinel.port}/shop/0"
        broker = broker_of(url, stream, group=group)
        await harness.produce([outgoing(stream, b"%d" % n) for n in range(20)])
        await broker.start()
        async with Reader(broker) as reader:
            records = await reader.read(20)
            letters = [letter(record, harness.naming(group), group) for record in records]
            await broker.commit(by_lease(reader.batches)[0], letters)
            await harness.produce([outgoing(stream, b"%d" % n) for n in range(20, 30)])
            await reader.read(30)
            await harness.client.execute_command("WAIT", 1, 10_000)
            await harness.close()
            master.kill()
            with pytest.raises(Outage):
                await reader.until(lambda r: len(r.records) > 30)
        await broker.close()

        async def starts() -> bool:
            try:
                await broker.start()
            except Outage:
                await broker.close()
                return False
            return True

        await until(starts)
        after = RedisHarness(replica.url)
        async with Reader(broker) as reader:
            await reader.read(10)
            assert [record.value for record in reader.records] == [b"%d" % n for n in range(20, 30)]
            letters += [letter(record, after.naming(group), group) for record in reader.records]
            await broker.commit(by_lease(reader.batches)[0], letters[20:])
        await broker.close()
        assert letter_ids(await after.contents(f"{stream}.dlt")) == sorted(
            (one.headers[-1][1] or b"").decode() for one in letters
        )
        await after.close()


async def test_sentinels_that_do_not_know_are_an_outage(stream: str, group: str) -> None:
    broker = broker_of("redis+sentinel://127.0.0.1:1,127.0.0.1:2/shop", stream, group=group)
    with pytest.raises(Outage):
        await broker.start()
    await broker.close()


# --- Cluster


class ClusterClient:
    """The part of a client that the harness uses, with raw replies."""

    def __init__(self, url: str) -> None:
        self._servers = RedisPool(parse(url), None, "test")
        self.response_callbacks: dict[str, Any] = {}

    async def execute_command(self, *command: Any) -> Any:
        if " " in str(command[0]):
            command = (*command[0].split(), *command[1:])
        key = command[2] if command[0] in ("XGROUP", "XINFO") else command[1]
        key = key.encode() if isinstance(key, str) else key
        if not self._servers.nodes():
            await self._servers.start()
        return await self._servers.call(key, *command)

    async def xgroup_create(self, key: bytes, group: str, mkstream: bool) -> None:
        await self.execute_command("XGROUP", "CREATE", key, group, "$", "MKSTREAM")

    async def xgroup_destroy(self, key: bytes, group: str) -> None:
        await self.execute_command("XGROUP", "DESTROY", key, group)

    async def aclose(self) -> None:
        await self._servers.close()


class ClusterHarness(RedisHarness):
    def __init__(self, url: str) -> None:
        super().__init__(url, ClusterClient(url))  # type: ignore[arg-type]

    def unreachable(self) -> RedisBroker:
        return self.broker("orders", group="group", url="redis+cluster://127.0.0.1:1,127.0.0.1:2")

    async def produce(self, records: Sequence[Outgoing]) -> list[Position]:
        from sidecar.adapters.brokers.redis.entry_codec import offset

        found = []
        for record in records:
            command = ("XADD", record.stream, "*", *self._entries.fields(record))
            entry = await self.client.execute_command(*command)
            found.append(Position("redis", record.stream, 0, offset(entry)))
        return found


@pytest.fixture(scope="module")
def cluster() -> Iterator[list[EmbeddedValkey]]:
    with cluster_of_three() as nodes:
        yield nodes


@pytest.fixture
async def clustered(cluster: list[EmbeddedValkey]) -> AsyncIterator[ClusterHarness]:
    harness = ClusterHarness("redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in cluster))
    yield harness
    await harness.close()


class TestRedisCluster(BrokerContract):
    """The whole contract, with streams whose names have a hash tag."""

    @pytest.fixture
    async def harness(self, clustered: ClusterHarness) -> ClusterHarness:
        return clustered

    @pytest.fixture
    def stream(self) -> str:
        return f"{{orders-{uuid.uuid4().hex[:12]}}}"

    test_a_record_that_the_server_refuses_is_named = None
    """The limit is the single server's own, and tried there."""


async def test_streams_of_all_slots_are_read_and_letters_stay_in_their_slot(
    clustered: ClusterHarness, stream: str, group: str
) -> None:
    names = [f"{stream}-{n}" for n in range(6)]
    assert len({slot(name.encode()) for name in names}) > 3
    for name in names:
        await clustered.produce([outgoing(name, b"%d" % n) for n in range(5)])
    broker = clustered.broker(f"{stream}-*", group=group)
    findings = await broker.inspect()
    assert all(finding.ok for finding in findings), findings
    assert sum(finding.what.endswith("}.dlt") for finding in findings) == 5
    assert any("more" in finding.detail for finding in findings)
    await broker.start()
    async with Reader(broker) as reader:
        records = await reader.read(30)
        naming = clustered.naming(group)
        for batches in by_lease(reader.batches):
            held = [record for batch in batches for record in batch.records]
            await broker.commit(batches, [letter(record, naming, group) for record in held])
        for name in names:
            mine = [record for record in records if record.position.stream == name]
            letters = await clustered.contents(f"{{{name}}}.dlt")
            assert letter_ids(letters) == sorted(f"{group}@{record.position}" for record in mine)
        assert all(status.pending == 0 for status in await broker.status())
        assert {f"{{{name}}}.dlt" for name in names} <= set(await broker.streams())
        positions = await broker.publish([outgoing(name, b"new") for name in names])
        await reader.read(36)
        assert set(positions) <= set(reader.positions)
    await broker.close()


async def test_a_gate_over_slots_is_refused_with_what_to_do(clustered: ClusterHarness, stream: str, group: str) -> None:
    stream = f"{{{stream}}}"
    near, far = f"{stream}.checked", "checked"
    broker = clustered.broker(group=group, gate={stream: near, f"{stream}.other": far})
    findings = {finding.what: finding for finding in await broker.inspect()}
    assert findings[f"sources.redis.gate: {stream}: write to {near}"].ok
    bad = findings[f"sources.redis.gate: {stream}.other: write to {far}"]
    assert not bad.ok
    assert "hash tag" in bad.detail
    await broker.close()


async def test_names_that_cannot_share_a_slot_are_refused_with_the_reason(
    clustered: ClusterHarness, stream: str, group: str
) -> None:
    hopeless = f"{stream}}}odd{{}}"
    await clustered.produce([outgoing(hopeless, b"bad")])
    broker = clustered.broker(hopeless, group=group)
    (bad,) = [finding for finding in await broker.inspect() if not finding.ok]
    assert "slot" in bad.detail
    await broker.start()
    async with Reader(broker) as reader:
        (record,) = await reader.read(1)
        with pytest.raises(Refused, match="slot"):
            await broker.commit(by_lease(reader.batches)[0], [letter(record, clustered.naming(group), group)])
    await broker.close()


async def test_reading_follows_a_slot_that_moves(
    clustered: ClusterHarness, cluster: list[EmbeddedValkey], stream: str, group: str
) -> None:
    await clustered.produce([outgoing(stream, b"%d" % n) for n in range(5)])
    broker = clustered.broker(stream, group=group)
    await broker.start()
    async with Reader(broker) as reader:
        await reader.read(5)
        number = slot(stream.encode())
        clients = [RedisHarness(node.url) for node in cluster]
        owner = next(n for n in range(3) if n * 16_384 // 3 <= number < (n + 1) * 16_384 // 3)
        to = (owner + 1) % 3
        with Redis(port=cluster[owner].port) as source, Redis(port=cluster[to].port) as target:
            await asyncio.to_thread(move_slot, number, source, target)

        async def moved() -> bool:
            try:
                return bool(await clients[to].client.exists(stream))
            except MovedError:
                return False

        await until(moved)
        sent = await clustered.produce([outgoing(stream, b"%d" % n) for n in range(5, 10)])
        await reader.until(lambda r: r.positions[-1] == sent[-1])
        letters = [letter(record, clustered.naming(group), group) for record in reader.records]
        await broker.commit(by_lease(reader.batches)[0], letters)
        for one in clients:
            await one.close()
        assert len(set(reader.positions)) == len(reader.positions) == 10
    assert len(await clustered.contents(f"{{{stream}}}.dlt")) == 10
    await broker.close()


async def test_a_server_that_is_no_cluster_is_reported(valkey: EmbeddedValkey, stream: str, group: str) -> None:
    broker = broker_of(f"redis+cluster://127.0.0.1:{valkey.port}", stream, group=group)
    with pytest.raises(Refused, match="not a Cluster"):
        await broker.start()
    await broker.close()
