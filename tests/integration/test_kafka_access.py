"""Kafka with TLS, SASL and ACLs: real handshakes, and the results of `tracecar check`."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import AsyncIterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from sidecar.adapters.brokers.kafka.broker import KafkaBroker
from sidecar.config import schema as config
from sidecar.config.schema import Config, SaslConfig, SourcesConfig, TlsConfig
from sidecar.config.value_types import StartPosition
from sidecar.demo.embedded_kafka import EmbeddedKafka
from sidecar.domain.errors import Outage, Refused
from sidecar.domain.model import Outgoing
from sidecar.domain.ports.ledger import LedgerTransaction, LedgerWrite
from sidecar.domain.stream_names import LEDGER
from tests.contracts.batch_reader import Reader, by_lease, letter
from tests.servers.kafka import (
    PASSWORD,
    allow,
    create_topic,
    delete_topic,
    produce,
    scram_user,
    unique,
)
from tests.support.conditions import until

pytestmark = pytest.mark.kafka


@pytest.fixture
async def brokers() -> AsyncIterator[Any]:
    """Creates brokers, and closes them after the test."""
    made: list[KafkaBroker] = []

    def make(servers: str, *topics: str, group: str = "", **more: Any) -> KafkaBroker:
        group = group or unique("tracecar")
        source = config.KafkaConfig(
            bootstrap_servers=servers, topics=list(topics), group_id=group, start=StartPosition("earliest"), **more
        )
        broker = KafkaBroker(source, "access", Config(service="access", sources=SourcesConfig()).stream_names(group))
        made.append(broker)
        return broker

    yield make
    for broker in made:
        await broker.close()


async def _reads_and_settles(broker: KafkaBroker, topic: str) -> None:
    """Read a record and dead-letter it."""
    await broker.start()
    async with Reader(broker) as reader:
        (record,) = await reader.read(1)
        (batches,) = by_lease(reader.batches)
        await broker.commit(batches, [letter(record, broker._naming, broker.group)])
    dead = broker._naming.dead_letter_stream(topic)
    (partition,) = await broker.partitions(dead)

    async def found() -> list[bytes | None]:
        return [one.value async for page in broker.scan(partition) for one in page]

    await until(found)  # a committed transaction becomes visible a moment later
    assert await found() == [b"v"]


@pytest.fixture
def topic(kafka: EmbeddedKafka) -> str:
    name = create_topic(kafka.bootstrap_servers, unique("access"))
    produce(kafka.bootstrap_servers, name, [b"v"])
    return name


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
async def test_sasl_with_a_password(kafka, brokers, topic, mechanism):
    if mechanism != "PLAIN":
        scram_user(kafka.bootstrap_servers, "admin", mechanism)
    sasl = SaslConfig(mechanism=mechanism, username="admin", password=PASSWORD)
    await _reads_and_settles(brokers(kafka.address("SASL"), topic, sasl=sasl), topic)


async def test_a_wrong_password_is_refused(kafka, brokers, topic):
    broker = brokers(
        kafka.address("SASL"), topic, sasl=SaslConfig(mechanism="PLAIN", username="admin", password="wrong")
    )
    with pytest.raises(Refused, match=r"sources\.kafka\.sasl"):
        await broker.start()
    (finding,) = await broker.inspect()
    assert not finding.ok
    assert "sources.kafka.sasl" in finding.detail
    assert "wrong" not in finding.detail


async def test_a_listener_with_another_protocol_is_reported_with_the_keys_to_check(kafka, brokers, topic):
    for broker in (brokers(kafka.address("SASL"), topic), brokers(kafka.bootstrap_servers, topic, tls=TlsConfig())):
        finding = (await broker.inspect())[-1]
        assert not finding.ok
        assert "sources.kafka.tls and .sasl" in finding.detail


def _unsecured_token() -> str:
    """Return a token for Kafka's unsecured validator (KIP-255)."""

    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    now = time.time()
    return f"{part({'alg': 'none'})}.{part({'sub': 'admin', 'iat': now - 10, 'exp': now + 300})}."


@pytest.fixture
def token_endpoint() -> Any:
    """Issues tokens to the client `tracecar` with the secret `hush`, and counts them in `asked`."""

    class Endpoint(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.server.asked += 1  # type: ignore[attr-defined]
            form = self.rfile.read(int(self.headers["content-length"])).decode()
            good = f"Basic {base64.b64encode(b'tracecar:hush').decode()}"
            allowed = self.headers["authorization"] == good and "grant_type=client_credentials" in form
            body = json.dumps({"access_token": _unsecured_token(), "expires_in": 300} if allowed else {}).encode()
            self.send_response(200 if allowed else 401)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    server.asked = 0  # type: ignore[attr-defined]
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


async def test_sasl_with_bearer_tokens(kafka, brokers, topic, token_endpoint):
    endpoint = f"http://127.0.0.1:{token_endpoint.server_port}/token"

    def sasl(secret: str) -> SaslConfig:
        return SaslConfig(
            mechanism="OAUTHBEARER",
            token_endpoint=endpoint,
            client_id="tracecar",
            client_secret=secret,
            scope="kafka",
        )

    await _reads_and_settles(brokers(kafka.address("SASL"), topic, sasl=sasl("hush")), topic)
    assert token_endpoint.asked == 1, "one token serves all connections"
    with pytest.raises(Refused, match="returned no token"):
        await brokers(kafka.address("SASL"), topic, sasl=sasl("loud")).start()


async def test_tls_with_and_without_a_client_certificate(kafka, kafka_tls: Path, brokers, topic):
    ca = str(kafka_tls / "ca.pem")
    await _reads_and_settles(brokers(kafka.address("TLS"), topic, tls=TlsConfig(ca=ca)), topic)
    with_cert = TlsConfig(ca=ca, cert=str(kafka_tls / "client.pem"), key=str(kafka_tls / "client.key"))
    broker = brokers(kafka.address("TLS"), topic, tls=with_cert)
    await broker.start()
    assert topic in await broker.streams()


async def test_a_server_whose_certificate_is_unknown_is_not_trusted(kafka, brokers, topic):
    broker = brokers(kafka.address("TLS"), topic, tls=TlsConfig())
    with pytest.raises((Refused, Outage), match="certificate"):
        await broker.start()


async def test_check_names_each_missing_right(kafka, brokers, topic):
    group = unique("tracecar.bob")
    bob = SaslConfig(mechanism="PLAIN", username="bob", password=PASSWORD)
    servers = kafka.bootstrap_servers
    allow(servers, "bob", "topic", topic, "DESCRIBE")

    async def found() -> dict[str, Any]:
        findings = await brokers(kafka.address("SASL"), topic, group=group, sasl=bob).inspect()
        return {finding.what.partition(": ")[2]: finding for finding in findings}

    dead = f"{topic}.dlt"
    lines = await found()
    wrong = {name: line.detail for name, line in lines.items() if not line.ok}
    assert f"READ on the group {group}" in wrong[f"join the group {group}"]
    assert f"READ on the topic {topic}" in wrong[f"read {topic}"]
    assert f"CREATE and WRITE on the topic {dead}" in wrong[f"create {dead}"]
    assert f"transactional ids with the prefix {group}." in wrong["commit dead letters in transactions"]
    assert len(wrong) == 4

    allow(servers, "bob", "topic", topic, "READ")
    allow(servers, "bob", "group", group, "READ")
    allow(servers, "bob", "transactional_id", f"{group}.", "WRITE", prefixed=True)
    allow(servers, "bob", "transactional_id", f"{group}.", "DESCRIBE", prefixed=True)
    create_topic(servers, dead)
    allow(servers, "bob", "topic", dead, "DESCRIBE")
    wrong = {name: line.detail for name, line in (await found()).items() if not line.ok}
    assert list(wrong) == [f"write to {dead}"]
    assert f"WRITE on the topic {dead}" in wrong[f"write to {dead}"]
    allow(servers, "bob", "topic", dead, "WRITE")
    allow(servers, "bob", "topic", dead, "READ")
    assert all(line.ok for line in (await found()).values())
    await _reads_and_settles(brokers(kafka.address("SASL"), topic, group=group, sasl=bob), topic)


async def test_check_reports_missing_rights_for_replays_without_failing(kafka, brokers, topic):
    """The rights are those of `alice`, to whom no other test grants any on the ledger."""
    servers, group = kafka.bootstrap_servers, unique("tracecar.alice")
    scram_user(servers, "alice", "SCRAM-SHA-256")
    alice = SaslConfig(mechanism="SCRAM-SHA-256", username="alice", password=PASSWORD)
    allow(servers, "alice", "topic", topic, "READ")
    allow(servers, "alice", "topic", topic, "WRITE")
    allow(servers, "alice", "group", group, "READ")

    async def found() -> Any:
        findings = await brokers(kafka.address("SASL"), topic, group=group, sasl=alice).inspect()
        (finding,) = [one for one in findings if LEDGER in one.what]
        return finding

    async def act(key: str) -> None:
        broker = brokers(kafka.address("SASL"), topic, group=group, sasl=alice)
        await broker.start()
        (done,) = await broker.ledger.act(
            [LedgerTransaction(topic, (LedgerWrite(key, None, b"1"),), (Outgoing(topic, None, b"v", ()),))]
        )
        assert done.carried_out

    if LEDGER not in await _streams(brokers(servers, topic)):
        create_topic(servers, LEDGER, cleanup_policy="compact")
    finding = await found()
    assert finding.ok
    assert f"transactional id {LEDGER}" in finding.detail
    assert f"topic {LEDGER}" in finding.detail
    with pytest.raises(Refused, match=f"transactional id {LEDGER}.* topic {LEDGER}"):
        await act(unique("alice"))

    for operation in ("WRITE", "DESCRIBE"):
        allow(servers, "alice", "transactional_id", LEDGER, operation)
    finding = await found()
    assert "transactional" not in finding.detail
    assert f"READ, WRITE and CREATE on the topic {LEDGER}" in finding.detail, "she may not even see it"
    with pytest.raises(Refused, match=f"topic {LEDGER}"):
        await act(unique("alice"))

    allow(servers, "alice", "topic", LEDGER, "READ")
    assert f"READ and WRITE on the topic {LEDGER}" in (await found()).detail
    with pytest.raises(Refused, match=f"WRITE and DESCRIBE on the topic {LEDGER}"):
        await act(unique("alice"))

    allow(servers, "alice", "topic", LEDGER, "WRITE")
    assert (await found()).detail == "allowed"
    await act(unique("alice"))


async def test_check_reports_a_ledger_without_compaction(kafka, brokers, topic):
    servers = kafka.bootstrap_servers
    if LEDGER in await _streams(brokers(servers, topic)):
        delete_topic(servers, LEDGER)
    create_topic(servers, LEDGER, cleanup_policy="compact,delete", retention_ms=3_600_000)
    (finding,) = [one for one in await brokers(servers, topic).inspect() if LEDGER in one.what]
    delete_topic(servers, LEDGER)
    assert not finding.ok
    assert "compact" in finding.detail


async def test_without_the_right_to_write_transactions_it_still_reads(kafka, brokers, topic):
    group = unique("tracecar.bob")
    servers = kafka.bootstrap_servers
    allow(servers, "bob", "topic", topic, "READ")
    allow(servers, "bob", "group", group, "READ")
    broker = brokers(
        kafka.address("SASL"), topic, group=group, sasl=SaslConfig(mechanism="PLAIN", username="bob", password=PASSWORD)
    )
    await broker.start()
    async with Reader(broker) as reader:
        (record,) = await reader.read(1)
        (batches,) = by_lease(reader.batches)
        with pytest.raises(Refused, match="transactional"):
            await broker.commit(batches, [letter(record, broker._naming, group)])
        await broker.commit(batches, [])
    (status,) = await broker.status()
    assert status.lag == 0


async def test_check_tries_what_is_behind_a_gate(kafka, topic):
    group = unique("tracecar.gate")
    source = config.KafkaConfig(
        bootstrap_servers=kafka.address("SASL"),
        gate={topic: f"{topic}.behind", "nowhere-at-all": "x"},
        group_id=group,
        sasl=SaslConfig(mechanism="PLAIN", username="bob", password=PASSWORD),
    )
    naming = config.Config(service="shop", sources=config.SourcesConfig(kafka=source)).stream_names(group)
    allow(kafka.bootstrap_servers, "bob", "topic", topic, "READ")
    findings = {finding.what: finding for finding in await KafkaBroker(source, "shop", naming).inspect()}
    assert "create it" in findings["sources.kafka.gate: nowhere-at-all"].detail
    (behind,) = [finding for what, finding in findings.items() if f"{topic}.behind" in what]
    assert not behind.ok
    assert "CREATE" in behind.detail


async def test_check_reports_configured_topics_that_are_missing(kafka, brokers, topic):
    broker = brokers(kafka.bootstrap_servers, topic, "nowhere-at-all", f"{topic}.dlt", "^nothing-like-this.*")
    findings = {finding.what: finding for finding in await broker.inspect()}
    assert findings[f"sources.kafka.topics[0]: {topic}"].ok
    assert "create it" in findings["sources.kafka.topics[1]: nowhere-at-all"].detail
    assert "dead-letter" in findings[f"sources.kafka.topics[2]: {topic}.dlt"].detail
    assert findings["sources.kafka.topics[3]: ^nothing-like-this.*"].ok
    assert "nowhere-at-all" not in await _streams(broker), "looking for a topic does not make it"


async def _streams(broker: KafkaBroker) -> list[str]:
    await broker.start()
    return await broker.streams()


async def test_publishing_needs_the_topic(kafka, brokers, topic):
    broker = brokers(kafka.bootstrap_servers, topic)
    await broker.start()
    with pytest.raises(Refused, match="there is no topic"):
        await broker.publish([Outgoing(unique("none"), None, b"v", ())])
