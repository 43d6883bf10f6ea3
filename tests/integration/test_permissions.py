"""docs/permissions.md on real servers: a user with exactly the rights of a step can do that step, and no more."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.servers.kafka import PASSWORD, allow, create_topic, produce, scram_user, unique
from tests.servers.valkey_topologies import cluster_of_three
from tests.support.sidecar_process import Sidecar

PAGE = (Path(__file__).parents[2] / "docs" / "permissions.md").read_text("utf-8")
GOOD = {"eventId": "e-1", "eventType": "OrderPlaced"}
BAD = {"eventType": "OrderPlaced"}


def steps(part: str, stream: str, service: str, user: str) -> list[list[str]]:
    """Return the commands of a section of the page, a list for each step, with the names of the test."""
    text = PAGE.partition(f"\n## {part}\n")[2].partition("\n## ")[0]
    found = []
    for block in re.findall(r"\n\*\*(?=\d)(.*?)(?=\n\*\*\d|\Z)", text, re.DOTALL):
        lines = [line for code in re.findall(r"```\n(.*?)```", block, re.DOTALL) for line in code.splitlines()]
        lines = [line.replace("SETUSER tracecar", f"SETUSER {user}") for line in lines]
        for old, new in (("tracecar.shop", f"tracecar.{service}"), ("orders", stream), ("PASSWORD", PASSWORD)):
            lines = [line.replace(old, new) for line in lines]
        found.append(lines)
    return found


def _grant_kafka(servers: str, user: str, lines: list[str]) -> None:
    """Grant rights as `kafka-acls.sh` does with these lines."""
    for line in lines:
        words = shlex.split(line)
        assert words[0] == "acl"
        option = {word: words[at + 1] for at, word in enumerate(words[:-1]) if word.startswith("--")}
        operations = [words[at + 1] for at, word in enumerate(words) if word == "--operation"]
        (kind,) = {"--topic", "--group", "--transactional-id"} & set(option)
        for operation in operations:
            name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operation).upper()
            prefixed = option.get("--resource-pattern-type") == "prefixed"
            allow(servers, user, kind.removeprefix("--").replace("-", "_"), option[kind], name, prefixed=prefixed)


def _sidecar(folder: Path, service: str, sources: dict[str, Any], **more: Any) -> Sidecar:
    # An event without an id is rejected.
    config = {"service": service, "sources": sources, "envelope": {"required": ["event_id"]}, **more}
    return Sidecar(folder, config, unique("sidecar"))


def _failed(sidecar: Sidecar, code: int) -> list[dict[str, Any]]:
    """Return what `tracecar check` finds missing."""
    found = sidecar.cli("check", "-c", str(sidecar.directory / sidecar._file.name), "--json", code=code)
    return [one for one in map(json.loads, found.splitlines()) if not one["ok"]]


def _events(sidecar: Sidecar, many: int) -> None:
    sidecar.wait(lambda: len(sidecar.rows("events")) >= many, f"{many} events")


def _letters(sidecar: Sidecar, many: int) -> list[dict[str, Any]]:
    sidecar.wait(lambda: len(sidecar.rows("dlq", "list")) >= many, f"{many} dead letters")
    return sidecar.rows("dlq", "list")


def _settled(sidecar: Sidecar) -> bool:
    return "returned" in {one["state"] for one in sidecar.rows("dlq", "list")}


class OfKafka:
    """A user of a real Kafka without rights yet, and a topic."""

    def __init__(self, kafka: Any, part: str) -> None:
        self.servers, self.user, self.service = kafka.bootstrap_servers, unique("reader"), unique("shop")
        self.topic = unique("orders")
        self.steps = steps(part, self.topic, self.service, self.user)
        scram_user(self.servers, self.user, "SCRAM-SHA-512")
        sasl = {"mechanism": "SCRAM-SHA-512", "username": self.user, "password": PASSWORD}
        self.source = {"bootstrap_servers": kafka.address("SASL"), "start": "earliest", "sasl": sasl}

    def grant(self, step: int) -> None:
        _grant_kafka(self.servers, self.user, self.steps[step - 1])

    def publish(self, topic: str, *events: dict[str, str]) -> None:
        produce(self.servers, topic, [json.dumps(event).encode() for event in events])


def _end(servers: str, topic: str) -> int:
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": servers, "group.id": "looks-only", "log_level": 0})
    try:
        return int(consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=30)[1])
    finally:
        consumer.close()


def _replayed(sidecar: Sidecar, grant: Callable[[], None]) -> None:
    """Assert that the letter is refused until the right is granted, and then is sent and returns, because it is
    still bad."""
    (letter,) = _letters(sidecar, 1)
    sidecar.cli("dlq", "replay", letter["id"], "--yes", code=1)
    grant()
    sidecar.cli("dlq", "replay", letter["id"], "--yes", "--again", "--detach")
    sidecar.wait(lambda: _settled(sidecar), "the letter to come back")


@pytest.mark.kafka
def test_kafka_step_by_step(kafka, tmp_path):
    given = OfKafka(kafka, "Kafka")
    topic = create_topic(given.servers, given.topic)
    sources = {"kafka": {**given.source, "topics": [topic]}}
    given.grant(1)
    given.publish(topic, GOOD, BAD)
    with _sidecar(tmp_path, given.service, sources, dead_letters={"enabled": False}) as sidecar:
        assert _failed(sidecar, 0) == []
        _events(sidecar, 2)
    sidecar = _sidecar(tmp_path, given.service, sources)
    missing = _failed(sidecar, 1)
    assert [one["what"] for one in missing] == [
        f"sources.kafka: create {topic}.dlt",
        "sources.kafka: commit dead letters in transactions",
    ]
    given.grant(2)
    given.publish(topic, BAD)
    with sidecar:
        assert _failed(sidecar, 0) == []
        _replayed(sidecar, lambda: given.grant(3))
        given.grant(4)
        sidecar.rows("groups")


@pytest.mark.kafka
def test_kafka_with_a_gate(kafka, tmp_path):
    given = OfKafka(kafka, "Kafka, a gate")
    read = create_topic(given.servers, f"{given.topic}.in")
    create_topic(given.servers, given.topic)
    sources = {"kafka": {**given.source, "gate": {read: given.topic}}}
    given.grant(1)
    given.publish(read, GOOD)
    with _sidecar(tmp_path, given.service, sources) as sidecar:
        assert [one["what"] for one in _failed(sidecar, 1)] == [f"sources.kafka: create {read}.dlt"]
        _events(sidecar, 1)
        sidecar.wait(lambda: _end(given.servers, given.topic), "the event to pass")
    given.grant(2)
    given.publish(read, BAD)
    with _sidecar(tmp_path, given.service, sources) as sidecar:
        assert _failed(sidecar, 0) == []
        _replayed(sidecar, lambda: given.grant(3))


@pytest.mark.kafka
def test_kafka_with_a_pattern(kafka, tmp_path):
    given = OfKafka(kafka, "Kafka, topics by pattern")
    topic = create_topic(given.servers, f"{given.topic}-1")
    sources = {"kafka": {**given.source, "topics": [f"^{given.topic}.*"]}}
    given.grant(1)
    given.publish(topic, GOOD, BAD)
    with _sidecar(tmp_path, given.service, sources, dead_letters={"enabled": False}) as sidecar:
        assert _failed(sidecar, 0) == []
        _events(sidecar, 2)
    sidecar = _sidecar(tmp_path, given.service, sources, dead_letters={"stream": "tracecar.dlt.{stream}"})
    assert [one["what"] for one in _failed(sidecar, 1)] == [
        f"sources.kafka: create tracecar.dlt.{topic}",
        "sources.kafka: commit dead letters in transactions",
    ]
    given.grant(2)
    given.publish(topic, BAD)
    with sidecar:
        assert _failed(sidecar, 0) == []
        _replayed(sidecar, lambda: given.grant(3))


def _redis_steps(
    grants: list[Callable[[], None]], publish: Callable[[dict[str, str]], object], letters: str, *made: Any
) -> None:
    """Run a sidecar with the rights of each step, and assert that it can do that step and no more."""
    observe, write, replay, more = grants
    folder, service, sources = made
    observe()
    publish(GOOD)
    publish(BAD)
    with _sidecar(folder, service, sources, dead_letters={"enabled": False}) as sidecar:
        assert _failed(sidecar, 0) == []
        _events(sidecar, 2)
    sidecar = _sidecar(folder, service, sources)
    assert [one["what"] for one in _failed(sidecar, 1)] == [f"sources.redis: write to {letters}"]
    write()
    publish(BAD)
    with sidecar:
        assert _failed(sidecar, 0) == []
        _replayed(sidecar, replay)
        more()
        assert _failed(sidecar, 0) == []
        assert "NOPERM" not in sidecar.log


def _of_redis(
    clients: list[redis.Redis], lines: list[list[str]], change: Callable[[str], str] = str
) -> list[Callable[[], None]]:
    def grant(commands: list[str]) -> None:
        for client in clients:
            for line in commands:
                client.execute_command(*change(line).split())

    return [partial(grant, commands) for commands in lines]


@pytest.mark.valkey
def test_redis_step_by_step(valkey, tmp_path):
    user, service, stream = unique("reader"), unique("shop"), unique("orders")
    url = valkey.url.replace("redis://", f"redis://{user}:{PASSWORD}@")
    sources = {"redis": {"url": url, "streams": [stream], "start": "earliest"}}
    with redis.Redis.from_url(valkey.url) as client:
        grants = _of_redis([client], steps("Redis and Valkey", stream, service, user))
        publish = partial(_add, client, stream)
        _redis_steps(grants, publish, f"{stream}.dlt", tmp_path, service, sources)


@pytest.mark.valkey
def test_redis_with_a_pattern(valkey, tmp_path):
    user, service, stream = unique("reader"), unique("shop"), unique("orders")
    url = valkey.url.replace("redis://", f"redis://{user}:{PASSWORD}@")
    sources = {"redis": {"url": url, "streams": [f"{stream}*"], "start": "earliest"}}
    with redis.Redis.from_url(valkey.url) as client:
        lines = steps("Redis and Valkey", stream, service, user)
        grants = _of_redis([client], lines, lambda line: line.replace(f"~{stream} ", f"~{stream}* "))
        publish = partial(_add, client, f"{stream}-1")
        _redis_steps(grants, publish, f"{stream}-1.dlt", tmp_path, service, sources)


@pytest.mark.valkey
def test_redis_with_a_gate(valkey, tmp_path):
    user, service, stream = unique("reader"), unique("shop"), unique("orders")
    url = valkey.url.replace("redis://", f"redis://{user}:{PASSWORD}@")
    read = f"{stream}.in"
    sources = {"redis": {"url": url, "gate": {read: stream}, "start": "earliest"}}
    with redis.Redis.from_url(valkey.url) as client:
        observe, write, replay, _ = _of_redis([client], steps("Redis and Valkey", read, service, user))
        observe()
        write()
        client.execute_command("ACL", "SETUSER", user, f"~{stream}")
        _add(client, read, GOOD)
        _add(client, read, BAD)
        with _sidecar(tmp_path, service, sources) as sidecar:
            assert _failed(sidecar, 0) == []
            sidecar.wait(lambda: client.xlen(stream) == 1, "the event to pass")
            _replayed(sidecar, replay)
            assert "NOPERM" not in sidecar.log


@pytest.mark.valkey
def test_redis_cluster_step_by_step(tmp_path):
    user, service, stream = unique("reader"), unique("shop"), unique("orders")
    with contextlib.ExitStack() as stack:
        nodes = stack.enter_context(cluster_of_three())
        clients = [stack.enter_context(redis.Redis(port=node.port)) for node in nodes]
        whole = stack.enter_context(contextlib.closing(redis.RedisCluster("127.0.0.1", nodes[0].port)))
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in nodes)
        source = {"url": f"redis+cluster://{user}:{PASSWORD}@{hosts}", "streams": [stream], "start": "earliest"}
        grants = _of_redis(clients, steps("Redis Cluster", stream, service, user))
        publish = partial(_add, whole, stream)
        _redis_steps(grants, publish, f"{{{stream}}}.dlt", tmp_path, service, {"redis": source})


def _add(client: Any, stream: str, event: dict[str, str]) -> None:
    client.xadd(stream, {"payload": json.dumps(event)})
