"""A replay whose sidecar is killed repeatedly sends each letter once and in order; so do two sidecars with the same
request.

On a real Kafka and a real Valkey.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx2
import pytest
import redis
from confluent_kafka import Producer

from sidecar.demo.embedded_kafka import EmbeddedKafka
from sidecar.demo.embedded_valkey import EmbeddedValkey
from tests.integration.test_end_to_end_kafka import dead_letters, make_topic
from tests.support.sidecar_process import TOKEN, Sidecar

LETTERS = 1_500
Sent = list[tuple[int, str]]
"""For each sent record: its partition, and the dead letter that it replays."""


class Place:
    """A broker with a stream, its dead letters, and a target stream."""

    def __init__(self, stream: str, source: dict[str, Any], sent: Callable[[], Sent]) -> None:
        self.stream, self.target = stream, f"{stream}.retry"
        self.source = source
        self.sent = sent

    def config(self, name: str = "shop") -> dict[str, Any]:
        return {"service": name, "sources": self.source, "dead_letters": {"replay": {"selection": 10_000}}}


def letter(system: str, stream: str, number: int) -> list[tuple[str, bytes]]:
    origin = f"kafka://{stream}/{number % 3}/{number // 3}" if system == "kafka" else f"redis://{stream}/{number + 1}-0"
    facts = {
        "dead-letter-id": f"billing@{origin}",
        "code": "reported.error",
        "message": "no such customer",
        "origin": origin,
        "origin-timestamp": str(1_700_000_000_000 + number),
    }
    return [("own", b"1"), *((f"tracecar.{name}", value.encode()) for name, value in facts.items())]


def on_kafka(kafka: EmbeddedKafka) -> Place:
    stream = f"orders-{time.time_ns()}"
    for name in (stream, f"{stream}.dlt", f"{stream}.retry"):
        make_topic(kafka, name, 3)
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
    for number in range(LETTERS):
        producer.produce(
            f"{stream}.dlt",
            value=b"%d" % number,
            key=b"key-%d" % (number % 3),
            partition=number % 3,
            headers=letter("kafka", stream, number),
        )
    producer.flush()

    def sent() -> Sent:
        return [
            (message.partition(), dict(message.headers())["tracecar.replay-of"].decode())
            for message in dead_letters(kafka, f"{stream}.retry")
        ]

    source = {"bootstrap_servers": kafka.bootstrap_servers, "topics": [stream], "group_id": f"tracecar.{stream}"}
    return Place(stream, {"kafka": source}, sent)


def on_redis(valkey: EmbeddedValkey) -> Place:
    stream = f"orders-{time.time_ns()}"
    client = redis.Redis.from_url(valkey.url)
    for name in (stream, f"{stream}.retry"):
        client.xgroup_create(name, "setup", mkstream=True)
    pipe = client.pipeline(transaction=False)
    for number in range(LETTERS):
        pipe.xadd(f"{stream}.dlt", dict([("payload", b"%d" % number), *letter("redis", stream, number)]))  # type: ignore[arg-type]
    pipe.execute()

    def sent() -> Sent:
        entries: Sequence[Any] = client.xrange(f"{stream}.retry")  # type: ignore[assignment]
        return [(0, fields[b"tracecar.replay-of"].decode()) for _, fields in entries]

    return Place(stream, {"redis": {"url": valkey.url, "streams": [stream], "group": f"tracecar.{stream}"}}, sent)


@pytest.fixture(
    params=[pytest.param("kafka", marks=pytest.mark.kafka), pytest.param("redis", marks=pytest.mark.valkey)]
)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    if request.param == "kafka":
        yield on_kafka(request.getfixturevalue("kafka"))
    else:
        yield on_redis(request.getfixturevalue("valkey"))


def post(sidecar: Sidecar, path: str, **body: Any) -> Any:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    answer = httpx2.post(f"{sidecar.url}{path}", json=body, headers=headers, timeout=60)
    assert answer.is_success, f"{answer.status_code} {answer.text}\n{sidecar.log}"
    return answer.json()


def once(sent: Sent) -> None:
    assert len({of for _, of in sent}) == len(sent) == LETTERS


def in_order(sent: Sent) -> None:
    for partition in range(3):
        offsets = [int(of.rpartition("/")[2].partition("-")[0]) for number, of in sent if number == partition]
        assert offsets == sorted(offsets)


def test_killed_five_times_each_letter_is_sent_once(place: Place, tmp_path: Path) -> None:
    sidecar = Sidecar(tmp_path, place.config())
    sidecar.start()
    sidecar.wait_ready()
    id = post(sidecar, "/v1/replays", to=place.target, rate=600)["id"]

    def published() -> int:
        return int(sidecar.get(f"/v1/replays/{id}")["published"])

    for kill in range(1, 6):
        sidecar.wait(lambda: published() >= kill * 200, f"{kill * 200} letters to be sent")  # noqa: B023
        sidecar.kill()
        sidecar.start()
        sidecar.wait_ready()
    sidecar.wait(lambda: sidecar.get(f"/v1/replays/{id}")["state"] == "done", "the replay to end")
    job = sidecar.get(f"/v1/replays/{id}")
    assert (job["selected"], job["published"], job["failed"], job["skipped"]) == (LETTERS, LETTERS, 0, 0)
    once(place.sent())
    in_order(place.sent())
    assert {row["state"] for row in sidecar.get("/v1/dead-letters", limit=1000)["items"]} == {"replayed"}
    sidecar.stop()


def test_two_sidecars_asked_at_once_send_each_letter_once(place: Place, tmp_path: Path) -> None:
    with Sidecar(tmp_path, place.config(), "one") as one, Sidecar(tmp_path, place.config(), "two") as two:
        jobs = [(sidecar, post(sidecar, "/v1/replays", to=place.target)["id"]) for sidecar in (one, two)]
        for sidecar, id in jobs:
            sidecar.wait(lambda: sidecar.get(f"/v1/replays/{id}")["state"] == "done", "a replay to end")  # noqa: B023
        # Each sidecar knows both jobs, and what each of them sent.
        counts = [two.get(f"/v1/replays/{id}") for _, id in jobs]
        assert sum(job["published"] for job in counts) == LETTERS
        assert all(job["published"] + job["skipped"] == LETTERS for job in counts)
        once(place.sent())
