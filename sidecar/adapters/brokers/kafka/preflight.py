"""Checks of `tracecar check` for Kafka: one finding for each connection and permission, with the right to grant.

The checks change nothing: a request that would change something is sent in a form that the broker authorizes first and
then refuses (an empty batch, an unknown producer id, a topic to validate only).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence

from aiokafka import errors as kafka
from aiokafka.conn import collect_hosts
from aiokafka.protocol.admin import CreateTopicsRequest
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.group import HeartbeatRequest
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import EndTxnRequest
from aiokafka.structs import TopicPartition

from sidecar.adapters.brokers.kafka.client_options import KafkaConnector
from sidecar.adapters.brokers.kafka.cluster_client import COMMITTED_ISOLATION_ID, KafkaCluster
from sidecar.adapters.brokers.kafka.errors import check, translate
from sidecar.adapters.brokers.kafka.topic_admin import TopicAdmin
from sidecar.config import schema as config
from sidecar.dead_letters.discovery import suggest_streams
from sidecar.domain.errors import Refused, TracecarError
from sidecar.domain.ports.broker import Finding
from sidecar.domain.stream_names import LEDGER, StreamNames

RETRY_TIMEOUT_S = 5.0
_UNUSED_PRODUCER_ID = 1 << 62
"""Producer id that no broker has assigned."""
_HARMLESS = {
    "fetch": (kafka.OffsetOutOfRangeError.errno,),
    "heartbeat": (kafka.UnknownMemberIdError.errno, kafka.IllegalGenerationError.errno),
    "empty batch": (87, kafka.CorruptRecordException.errno),
    "unknown producer": (kafka.InvalidProducerIdMapping.errno, kafka.InvalidProducerEpoch.errno),
}
"""Answers to such a request that show that it was authorized (87: INVALID_RECORD)."""

_ADVICE = (
    "check sources.kafka.bootstrap_servers, and that this listener matches sources.kafka.tls and .sasl (if they are "
    "missing: neither)"
)


async def inspect(
    connector: KafkaConnector,
    source: config.KafkaConfig,
    group: str,
    naming: StreamNames,
    wants: Callable[[str], bool],
) -> list[Finding]:
    """Return findings about the servers, the group, the topics and their dead letters. Errors become findings."""
    findings = [await _server(connector, host, port) for host, port, _ in collect_hosts(connector.servers)]
    if not any(finding.ok for finding in findings):
        return findings
    cluster = KafkaCluster(connector)
    try:
        await cluster.start()
        topics = await cluster.retry("asking for topics", cluster.topics, RETRY_TIMEOUT_S)
    except TracecarError as error:
        await cluster.close()
        return [*findings, Finding("sources.kafka: list the topics", False, f"{error}; {_ADVICE}")]
    try:
        findings += _find_configured(source, topics, wants)
        trial = _PermissionProbe(cluster, group)
        findings.append(await trial.membership())
        read = sorted(filter(wants, topics))
        findings += [await trial.reading(topic) for topic in read]
        written = {naming.dead_letter_stream(topic): topic for topic in read if naming.written}
        written |= {target: topic for topic, target in source.gate.items() if topic in topics}
        findings += await _dead_letter_topics(cluster, source, naming, read, topics)
        for name, origin in sorted(written.items()):
            findings.append(await (trial.writing(name) if name in topics else trial.making(name, topics[origin])))
        if written:
            findings.append(await trial.transactions())
        findings.append(await trial.ledger(LEDGER in topics))
        findings += suggest_streams("sources.kafka", topics, naming)
    finally:
        await cluster.close()
    return findings


async def _dead_letter_topics(
    cluster: KafkaCluster,
    source: config.KafkaConfig,
    naming: StreamNames,
    read: Sequence[str],
    topics: Mapping[str, object],
) -> list[Finding]:
    """Find settings of dead-letter topics, and of a gate's targets, by which records are lost that were kept before."""
    letters = {naming.dead_letter_stream(topic): topic for topic in read if naming.written}
    letters = {name: origin for name, origin in letters.items() if name in topics}
    what = "sources.kafka: settings of"
    try:
        problems = await TopicAdmin(cluster).dead_letter_problems(letters)
    except (kafka.KafkaError, OSError, TimeoutError) as error:
        reason = translate(error, "asking for the settings of dead-letter topics")
        return [
            Finding(
                f"{what} dead-letter topics", True, f"not checked: {reason}; allow DESCRIBE_CONFIGS on these topics"
            )
        ]
    faulty = {topic for topic, _ in problems}
    good = [
        Finding(f"{what} {topic}", True, f"keeps letters at least as long and as safely as {origin} keeps its records")
        for topic, origin in letters.items()
        if topic not in faulty
    ]
    return [*good, *(Finding(f"{what} {topic}", False, sentence) for topic, sentence in problems)]


async def _server(connector: KafkaConnector, host: str, port: int) -> Finding:
    what = f"sources.kafka: connect to {host}:{port}"
    try:
        await connector.probe(host, port)
    except (kafka.KafkaError, OSError, TimeoutError) as error:
        return Finding(what, False, f"{translate(error, f'connecting to {host}:{port}')}; {_ADVICE}")
    return Finding(what, True, "connected")


def _find_configured(
    source: config.KafkaConfig, topics: Mapping[str, object], wants: Callable[[str], bool]
) -> list[Finding]:
    """Report whether each configured topic exists, and which topics each pattern matches."""
    findings = []
    places = [(f"sources.kafka.topics[{n}]", name) for n, name in enumerate(source.topics)]
    for place, name in (*places, *(("sources.kafka.gate", name) for name in source.gate)):
        what = f"{place}: {name}"
        if name.startswith("^"):
            matched = [topic for topic in sorted(topics) if wants(topic) and re.fullmatch(name, topic)]
            shown = ", ".join(matched[:5]) + (f" and {len(matched) - 5} more" if len(matched) > 5 else "")
            nothing = "matches no topic yet; topics that are created later are read automatically"
            findings.append(Finding(what, True, f"matches {shown}" if matched else nothing))
        elif not wants(name):
            advice = "is a dead-letter stream by its name and never read: remove it, or change dead_letters.read"
            findings.append(Finding(what, False, advice))
        elif name in topics:
            findings.append(Finding(what, True, "is there"))
        else:
            advice = "there is no such topic, or the principal may not see it: create it, or allow DESCRIBE on it"
            findings.append(Finding(what, False, advice))
    return findings


class _PermissionProbe:
    """Requests that are authorized and then come to nothing."""

    def __init__(self, cluster: KafkaCluster, group: str) -> None:
        self._cluster, self._group = cluster, group

    async def membership(self) -> Finding:
        async def attempt() -> None:
            node = await self._cluster.group_coordinator(self._group)
            answer = await self._cluster.ask(node, HeartbeatRequest(self._group, -1, "tracecar-check"))
            _expect("heartbeat", answer.error_code, self._group)

        return await self._try(f"join the group {self._group}", f"READ on the group {self._group}", attempt)

    async def reading(self, topic: str) -> Finding:
        async def attempt() -> None:
            request = FetchRequest(0, 0, 1, COMMITTED_ISOLATION_ID, [(topic, [(0, 0, 1)])])
            answer = await self._cluster.ask(self._cluster.leader(TopicPartition(topic, 0)), request)
            ((_, ((_, code, *_),)),) = answer.topics
            _expect("fetch", code, topic)

        return await self._try(f"read {topic}", f"READ on the topic {topic}", attempt)

    async def writing(self, topic: str) -> Finding:
        async def attempt() -> None:
            request = ProduceRequest(None, -1, 5_000, [(topic, [(0, b"")])])
            answer = await self._cluster.ask(self._cluster.leader(TopicPartition(topic, 0)), request)
            ((_, ((_, code, *_),)),) = answer.topics
            _expect("empty batch", code, topic)

        return await self._try(f"write to {topic}", f"WRITE on the topic {topic}", attempt)

    async def making(self, topic: str, like: Mapping[int, int]) -> Finding:
        async def attempt() -> None:
            controller = self._cluster.client.cluster.controller
            node = controller.nodeId if controller is not None else self._cluster.any_node()
            request = CreateTopicsRequest([(topic, len(like), max(like.values()), [], [])], 5_000, True)
            for name, code, *_ in (await self._cluster.ask(node, request)).topic_errors:
                check(code, name)

        needed = f"CREATE and WRITE on the topic {topic} (or create it, with {len(like)} partitions)"
        return await self._try(f"create {topic}", needed, attempt)

    async def transactions(self) -> Finding:
        needed = f"WRITE and DESCRIBE on transactional ids with the prefix {self._group}."
        attempt = self._transacting(f"{self._group}.check.0")
        return await self._try("commit dead letters in transactions", needed, attempt)

    async def ledger(self, exists: bool) -> Finding:
        """Check the rights on the ledger. A missing right is no failure: only replays and discards need it."""
        with_id = await self._try("", "", self._transacting(LEDGER))
        if exists:
            topic = [await self.reading(LEDGER), await self.writing(LEDGER)]
            rights = f"READ and WRITE on the topic {LEDGER}"
        else:
            topic = [await self.making(LEDGER, {0: 1})]
            rights = (
                f"READ, WRITE and CREATE on the topic {LEDGER} (or create it: one partition, cleanup.policy=compact)"
            )
        what = f"sources.kafka: replay and discard (topic {LEDGER})"
        needed = [] if with_id.ok else [f"WRITE and DESCRIBE on the transactional id {LEDGER}"]
        needed += [] if all(finding.ok for finding in topic) else [rights]
        if needed:
            return Finding(
                what,
                True,
                f"dead letters can only be viewed; to replay or discard, allow {', and '.join(needed)}",
            )
        age = (await TopicAdmin(self._cluster).retention(LEDGER)).keeps_ms if exists else None
        if age is not None:
            advice = f"the topic forgets past replays after {age} ms: set its cleanup.policy to compact only"
            return Finding(what, False, advice)
        return Finding(what, True, "allowed")

    def _transacting(self, transactional_id: str) -> Callable[[], Awaitable[None]]:
        async def attempt() -> None:
            node = await self._cluster.transaction_coordinator(transactional_id)
            request = EndTxnRequest(transactional_id, _UNUSED_PRODUCER_ID, 0, False)
            _expect("unknown producer", (await self._cluster.ask(node, request)).error_code, transactional_id)

        return attempt

    async def _try(self, what: str, needed: str, attempt: Callable[[], Awaitable[None]]) -> Finding:
        what = f"sources.kafka: {what}"
        try:
            await self._cluster.retry(what, attempt, RETRY_TIMEOUT_S)
        except Refused as error:
            return Finding(what, False, f"{error}; allow {needed}")
        except TracecarError as error:
            return Finding(what, False, str(error))
        return Finding(what, True, "allowed")


def _expect(kind: str, code: int, what: str) -> None:
    if code not in _HARMLESS[kind]:
        check(code, what)
