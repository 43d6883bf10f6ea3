"""Four sidecars of a group on a real Kafka with a shared index.

They are killed and restarted one by one under load, while the server of the index is stopped, killed and flushed. In
the end each one gives the same complete answers.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from redis import Redis

from sidecar.demo.embedded_kafka import EmbeddedKafka
from sidecar.demo.embedded_valkey import EmbeddedValkey
from tests.integration.test_end_to_end_kafka import header, make_topic
from tests.support.sidecar_process import Sidecar

pytestmark = [pytest.mark.kafka, pytest.mark.valkey]

SCHEMA = {
    "type": "record",
    "name": "Step",
    "fields": [{"name": "eventId", "type": "string"}, {"name": "qty", "type": "int"}],
}
STEPS = 5
MEMBERS = 4


class Load:
    """Publishes flows of five events to two topics, one after the other, until stopped. Some events are broken."""

    def __init__(self, kafka: EmbeddedKafka, topics: list[str]) -> None:
        self._producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
        self._topics = topics
        self.flows: list[str] = []
        self.broken: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._producer.flush()

    def _run(self) -> None:
        while not self._stop.wait(0.02):
            for _ in range(2):
                self._flow()

    def _flow(self) -> None:
        trace, before = uuid.uuid4().hex, None
        for step in range(STEPS):
            id = f"{trace}-{step}"
            broken = (len(self.flows) * STEPS + step) % 51 == 7
            headers = [("traceparent", f"00-{trace}-{step + 1:016x}-01".encode())]
            if before is not None:
                headers.append(("causation-id", before.encode()))
            body = {"eventId": id, "qty": "many" if broken else step}
            if broken:
                self.broken.append(id)
            self._producer.produce(self._topics[step % 2], json.dumps(body).encode(), key=id, headers=headers)
            before = id
        self.flows.append(trace)
        self._producer.poll(0)


@contextlib.contextmanager
def fleet(
    kafka: EmbeddedKafka,
    topics: list[str],
    directory: Path,
    index: dict[str, Any],
    members: int = MEMBERS,
    client: Callable[[int], dict[str, Any]] = lambda number: {},
) -> Iterator[list[Sidecar]]:
    schemas = directory / "schemas"
    schemas.mkdir()
    for topic in topics:
        (schemas / f"{topic}-value.avsc").write_text(json.dumps(SCHEMA))

    def config(number: int) -> dict[str, Any]:
        own = {"session_timeout_ms": 6000, "heartbeat_interval_ms": 500, **client(number)}
        source = {"bootstrap_servers": kafka.bootstrap_servers, "topics": topics, "start": "earliest", "client": own}
        return {
            "service": topics[0],
            "sources": {"kafka": source},
            "registry": {"directory": str(schemas)},
            "index": index,
        }

    with contextlib.ExitStack() as stack:
        found = [Sidecar(directory, config(number), f"member{number}") for number in range(members)]
        for one in found:
            one.start()
            stack.callback(one.stop)
        for one in found:
            one.wait_ready()
        yield found


def dead_letters(kafka: EmbeddedKafka, topics: list[str], partitions: int) -> list[Any]:
    """Return every dead letter that a reader at `read_committed` finds."""
    consumer = Consumer(
        {
            "bootstrap.servers": kafka.bootstrap_servers,
            "group.id": f"look-{uuid.uuid4()}",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    consumer.assign([TopicPartition(f"{topic}.dlt", number, 0) for topic in topics for number in range(partitions)])
    found, ended = [], 0
    while ended < len(topics) * partitions:
        message = consumer.poll(30)
        assert message is not None, "the dead letters cannot be read"
        if message.error() is None:
            found.append(message)
        else:
            assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
            ended += 1
    consumer.close()
    return found


def lag(member: Sidecar) -> int:
    lags = [stream["lag"] for stream in member.get("/v1/status")["streams"]]
    return -1 if None in lags or not lags else sum(lags)


def flow_ids(member: Sidecar, trace: str) -> list[str]:
    import httpx2

    from tests.support.sidecar_process import TOKEN

    answer = httpx2.get(f"{member.url}/v1/flows/{trace}", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60)
    return [event["event_id"] for event in answer.json()["events"]] if answer.status_code == 200 else []


def whole(member: Sidecar, traces: list[str]) -> bool:
    return all(flow_ids(member, trace) == [f"{trace}-{step}" for step in range(STEPS)] for trace in traces)


def test_four_sidecars_give_the_same_complete_answers_after_kills(kafka: EmbeddedKafka, tmp_path: Path) -> None:
    topics = [f"orders-{uuid.uuid4().hex[:8]}", f"stock-{uuid.uuid4().hex[:8]}"]
    for topic in topics:
        make_topic(kafka, topic, 4)
    with EmbeddedValkey() as valkey, fleet(kafka, topics, tmp_path, {"redis": {"url": valkey.url}}) as members:
        first = members[0]
        with Load(kafka, topics) as load:
            first.wait(lambda: len(load.flows) > 100, "some load")
            first.wait(lambda: len(first.get("/v1/status")["members"]) == MEMBERS, "the members to be known")
            for number, member in enumerate(members):
                member.kill()
                if number == 0:
                    os.kill(valkey.pid, signal.SIGSTOP)
                    time.sleep(0.5)
                    os.kill(valkey.pid, signal.SIGCONT)
                elif number == 1:
                    with Redis(port=valkey.port) as client:
                        client.flushall()
                elif number == 2:
                    valkey.kill()
                    valkey.start()
                member.start()
                member.wait_ready()
        count = len(load.flows) * STEPS
        first.wait(lambda: all(lag(member) == 0 for member in members), "everything to be committed")
        first.wait(
            lambda: all(
                not status["filling"] and status["index"]["events"] == count and not status["index"]["coverage"]["note"]
                for status in [member.get("/v1/status") for member in members]
            ),
            f"all {count} events to be indexed",
        )
        some = load.flows[:: max(1, len(load.flows) // 10)]
        for member in members:
            assert whole(member, some)
        flows = [member.get(f"/v1/flows/{some[0]}") for member in members]
        for flow in flows:
            flow.pop("coverage", None)
        assert all(flow == flows[0] for flow in flows)
        assert json.loads(members[2].cli("flow", some[-1], "--json"))["trace_id"] == some[-1]
        listed = first.get("/v1/status")["members"]
        alive = [member for member in listed if member["alive"]]
        assert len(alive) == MEMBERS
        assert sum(member["here"] for member in alive) == 1
        owned = Counter(
            (share["stream"], p) for member in alive for share in member["streams"] for p in share["partitions"]
        )
        assert set(owned.values()) == {1}
        assert len(owned) == 8
    # No rejected event is dead-lettered twice, and none is missing.
    letters = [header(letter, "tracecar.event-id") for letter in dead_letters(kafka, topics, 4)]
    assert Counter(letters) == Counter(load.broken)


def test_without_a_shared_index_all_members_see_all_and_one_commits(kafka: EmbeddedKafka, tmp_path: Path) -> None:
    topics = [f"orders-{uuid.uuid4().hex[:8]}", f"stock-{uuid.uuid4().hex[:8]}"]
    for topic in topics:
        make_topic(kafka, topic, 2)
    with fleet(kafka, topics, tmp_path, {"memory": {"scope": "all"}}, members=2) as members:
        first, second = members
        with Load(kafka, topics) as load:
            first.wait(lambda: len(load.flows) > 30, "some load")
        count = len(load.flows) * STEPS

        def all_of(member: Sidecar) -> bool:
            index = member.get("/v1/status")["index"]
            coverage = index["coverage"]
            return index["events"] == count and len(coverage["partitions"]) == 4 and not coverage["filling"]

        for member in members:
            member.wait(lambda member=member: all_of(member), f"all {count} events to be seen")
            assert whole(member, load.flows[::10])
        committed = [sum(s["settled_here"] for s in member.get("/v1/status")["streams"]) for member in members]
        assert committed == [2, 2]
        # The remaining sidecar commits everything, and its coverage does not change.
        second.stop()
        first.wait(lambda: sum(s["settled_here"] for s in first.get("/v1/status")["streams"]) == 4, "all partitions")
        first.wait(lambda: all_of(first), "the same coverage")
        assert first.get("/v1/status")["index"]["coverage"]["note"] is None


def test_the_live_stream_of_one_member_has_the_events_of_all(
    kafka: EmbeddedKafka, tmp_path: Path, valkey: EmbeddedValkey
) -> None:
    import httpx2

    from tests.support.sidecar_process import TOKEN

    topics = [f"orders-{uuid.uuid4().hex[:8]}", f"stock-{uuid.uuid4().hex[:8]}"]
    for topic in topics:
        make_topic(kafka, topic, 2)
    index = {"redis": {"url": valkey.url, "prefix": uuid.uuid4().hex}}
    with fleet(kafka, topics, tmp_path, index, members=2) as members:
        first = members[0]
        first.wait(
            lambda: all(sum(s["settled_here"] for s in m.get("/v1/status")["streams"]) == 2 for m in members), "2"
        )
        heard: set[tuple[str, int]] = set()
        headers = {"Authorization": f"Bearer {TOKEN}"}
        with (
            httpx2.stream("GET", f"{first.url}/v1/live", headers=headers, timeout=60) as stream,
            Load(kafka, topics),
        ):
            for line in stream.iter_lines():
                if line.startswith("data:") and '"position"' in line:
                    event = json.loads(line[5:])
                    heard.add((event["stream"], event["partition"]))
                if len(heard) == 4:
                    break
        assert len(heard) == 4


def settled_here(member: Sidecar) -> int:
    return sum(stream["settled_here"] for stream in member.get("/v1/status")["streams"])


def test_members_with_names_that_stay_keep_their_partitions_over_restarts(kafka: EmbeddedKafka, tmp_path: Path) -> None:
    topics = [f"orders-{uuid.uuid4().hex[:8]}", f"stock-{uuid.uuid4().hex[:8]}"]
    for topic in topics:
        make_topic(kafka, topic, 2)

    def client(number: int) -> dict[str, Any]:
        return {"group_instance_id": f"pod-{number}", "session_timeout_ms": 45_000}

    with fleet(kafka, topics, tmp_path, {}, members=2, client=client) as (first, second):
        first.wait(lambda: [settled_here(member) for member in (first, second)] == [2, 2], "equal shares")
        with Load(kafka, topics) as load:
            second.stop()
            # Without a static name, its restart would have moved all partitions to the other one at once.
            first.wait(lambda: len(load.flows) > 20, "some load")
            assert settled_here(first) == 2
            second.start()
            second.wait_ready()
            second.wait(lambda: settled_here(second) == 2, "its partitions")
            assert settled_here(first) == 2
        for member in (first, second):
            member.wait(lambda member=member: lag(member) == 0, "everything to be committed")
    letters = [header(letter, "tracecar.event-id") for letter in dead_letters(kafka, topics, 2)]
    assert Counter(letters) == Counter(load.broken)
