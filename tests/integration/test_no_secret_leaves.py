"""A hundred secrets on real servers: none of them is in anything that leaves the process.

The records themselves stay as they are, in their streams and in dead letters. Everything that Tracecar writes beside
them is searched: headers, ledger, shared index, history, spans, metrics, log, and every answer.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from redis import Redis

from sidecar.demo.embedded_kafka import EmbeddedKafka
from sidecar.demo.embedded_valkey import EmbeddedValkey
from tests.servers import kafka as server
from tests.servers.otlp import Receiver
from tests.support.planted_secrets import (
    FORMS,
    MARK,
    REDACT,
    SCHEMA,
    Secrets,
    flat_entries,
    foreign_letters,
    kafka_records,
)
from tests.support.ports import free_port
from tests.support.sidecar_process import TOKEN, Sidecar

pytestmark = [pytest.mark.kafka, pytest.mark.system]
READER = "readers-token-0123456789"


class SpanCollector:
    """An endpoint for Zipkin's spans that keeps the bodies of all requests."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        bodies = self.bodies

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                bodies.append(self.rfile.read(int(self.headers["content-length"])))
                self.send_response(202)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Write nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}/api/v2/spans"

    def __enter__(self) -> SpanCollector:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class Planted:
    """A sidecar between real servers, with everything planted."""

    def __init__(self, sidecar: Sidecar, kafka: str, valkey: EmbeddedValkey, stream: str) -> None:
        self.sidecar, self.kafka, self.valkey, self.stream = sidecar, kafka, valkey, stream
        self.checked, self.free, self.entries = stream, f"{stream}-free", f"{stream}-entries"
        self.letters = f"{stream}-dlt"
        self.published: dict[tuple[str, int, int], set[tuple[str, bytes | None]]] = {}

    def plant(self) -> int:
        """Publish everything; returns the number of events."""
        secret, count = Secrets(), 0
        producer = Producer({"bootstrap.servers": self.kafka})
        for record in (*kafka_records(secret, self.checked, self.free), *foreign_letters(secret, self.checked)):
            producer.produce(record.stream, record.value, record.key, headers=list(record.headers), partition=0)
            count += record.stream != self.letters
        assert producer.flush(30) == 0
        with Redis(port=self.valkey.port) as source:
            for fields in flat_entries(secret):
                source.xadd(self.entries, dict(fields))
                count += 1
        return count

    def topic(self, name: str) -> Iterator[Any]:
        """Yield the messages of a topic's partitions."""
        consumer = Consumer({"bootstrap.servers": self.kafka, "group.id": "reader", "enable.auto.commit": False})
        try:
            partitions = consumer.list_topics(name, 10).topics[name].partitions
            ends = {n: consumer.get_watermark_offsets(TopicPartition(name, n), 10)[1] for n in partitions}
            consumer.assign([TopicPartition(name, n, 0) for n in partitions])
            left = {n for n, end in ends.items() if end}
            while left:
                message = consumer.poll(10)
                if message is None or message.error():
                    break
                yield message
                if message.offset() >= ends[message.partition()] - 1:
                    left.discard(message.partition())
        finally:
            consumer.close()


@pytest.fixture
def planted(kafka: EmbeddedKafka, tmp_path: Path) -> Iterator[tuple[Planted, Receiver, SpanCollector]]:
    stream = server.unique("pay")
    for name in (stream, f"{stream}-free", f"{stream}-dlt"):
        server.create_topic(kafka.bootstrap_servers, name)
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / f"{stream}-value.avsc").write_text(json.dumps(SCHEMA))
    with EmbeddedValkey(rdbcompression="no") as valkey, Receiver() as otlp, SpanCollector() as zipkin:
        config = {
            "service": stream,
            "sources": {
                "kafka": {
                    "bootstrap_servers": kafka.bootstrap_servers,
                    "topics": [stream, f"{stream}-free"],
                    "start": "earliest",
                },
                "redis": {"url": valkey.url, "streams": [f"{stream}-entries"], "start": "earliest"},
            },
            "registry": {"directory": str(tmp_path / "schemas")},
            "dead_letters": {
                "dialects": ["spring", "connect", "streams", "share-group"],
                "breaker": {"ratio": 1.0, "minimum": 1_000_000},
            },
            "index": {"redis": {"url": valkey.url}},
            "history": {"url": str(tmp_path / "history"), "bodies": True, "flush": "1s"},
            "exporters": {"otlp": {"endpoint": otlp.endpoint("grpc")}, "zipkin": {"endpoint": zipkin.endpoint}},
            "envelope": {"aggregate_id": ["body:subject"], "event_id": ["header:x-event-id"]},
            "redact": REDACT,
            "api": {
                "port": free_port(),
                "token": TOKEN,
                "tokens": [{"name": "ada", "token": READER, "role": "read"}],
            },
        }
        with Sidecar(tmp_path, config) as sidecar:
            yield Planted(sidecar, kafka.bootstrap_servers, valkey, stream), otlp, zipkin


def found(data: bytes | str) -> str | None:
    """The place of a secret in some data, with what is around it."""
    text = data if isinstance(data, str) else data.decode("latin-1")
    places = [at for form in FORMS if (at := text.find(form)) >= 0]
    return text[max(0, min(places) - 300) : min(places) + 100] if places else None


def test_no_secret_is_in_anything_that_leaves_the_process(
    planted: tuple[Planted, Receiver, SpanCollector], tmp_path: Path
) -> None:
    it, otlp, zipkin = planted
    sidecar = it.sidecar
    count = it.plant()
    sidecar.wait(lambda: sum(s["events"] for s in sidecar.get("/v1/status")["streams"]) >= count, "all events")
    sidecar.wait(lambda: not any(s["lag"] for s in sidecar.get("/v1/status")["streams"]), "everything committed")
    leaks: list[tuple[str, str]] = []

    def check(where: str, data: bytes | str) -> None:
        leak = found(data)
        if leak is not None:
            leaks.append((where, leak))

    report(it, check)
    edit(it, check)
    for token in (TOKEN, READER):
        for path, answer in answers(it, token):
            check(f"{path} for {token[:4]}", answer)
    for name in ("tracecar.ledger", f"{it.checked}.dlt", f"{it.free}.dlt"):
        written = list(it.topic(name))
        assert written
        for message in written:
            for header, value in message.headers() or ():
                if header.startswith(("tracecar.", "kafka_dlt", "__connect", "__streams", "__dlq")):
                    check(f"header {header} in {name}", value or b"")
            if name == "tracecar.ledger":
                check("ledger", (message.key() or b"") + (message.value() or b""))
    with Redis(port=it.valkey.port) as client:
        for key in client.scan_iter(count=1000):
            if key not in (it.entries.encode(), f"{it.entries}.dlt".encode()):
                check(f"Valkey {key!r}", key + (client.dump(key) or b""))
    for request in otlp.requests["traces"] + otlp.requests["metrics"] + otlp.requests["logs"]:
        check("OTLP", request.SerializeToString())
    assert otlp.spans
    otlp.wait(lambda: zipkin.bodies, "spans for Zipkin")
    for body in zipkin.bodies:
        check("Zipkin", body)
    for file in (tmp_path / "history").rglob("*"):
        if file.is_file():
            check(f"history {file.name}", file.read_bytes())
    check("log", (tmp_path / "tracecar.log").read_bytes())
    assert not leaks, "\n\n".join(f"{where}: {text}" for where, text in leaks)


def report(it: Planted, check: Any) -> None:
    """Report failures whose words quote the event."""
    secret = Secrets()
    error = {"type": "ValueError", "message": f"no card {secret()}", "stacktrace": f"ValueError: {secret()}\n at x"}
    headers = {"Authorization": f"Bearer {TOKEN}"}
    for body in (
        {"position": f"kafka://{it.free}/0/0", "group": "g", "error": error, "attempts": 3},
        {"record": {"stream": it.free, "value": "e30="}, "group": "g", "error": error, "attempts": 1},
    ):
        answer = httpx2.post(f"{it.sidecar.url}/v1/failures", json=body, headers=headers)
        assert answer.status_code == 201, answer.text
        check("answer to a report", answer.text)


def edit(it: Planted, check: Any) -> None:
    """Edit letters at hidden places, in a replay that does not end while it is looked at."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    letters = it.sidecar.get("/v1/dead-letters", query=f"stream:{it.checked}", limit=20)["items"]
    edit = {"set": {"cards": {f"{MARK}-edit": 1}, 'limits["größe"]': 9, "owner": {"pin": f"{MARK}-pin"}}}
    request = {"ids": [letter["id"] for letter in letters], "edit": edit, "rate": 0.2, "force": True}
    plan = httpx2.post(f"{it.sidecar.url}/v1/replays", json={**request, "dry_run": True}, headers=headers)
    check("dry run", plan.text)
    answer = httpx2.post(f"{it.sidecar.url}/v1/replays", json=request, headers=headers)
    assert answer.status_code == 201, answer.text
    check("answer to a replay", answer.text)


def answers(it: Planted, token: str) -> Iterator[tuple[str, str]]:
    """Yield every answer that shows events or letters."""
    with httpx2.Client(base_url=it.sidecar.url, headers={"Authorization": f"Bearer {token}"}, timeout=60) as http:
        letters = http.get("/v1/dead-letters", params={"limit": 0}).json()["items"]
        events = http.get("/v1/events", params={"limit": 0}).json()["items"]
        assert len(letters) > 100
        assert len(events) > 100
        paths = [
            "/v1/events?full=true&limit=0", "/v1/dead-letters?limit=0", "/v1/dead-letters/groups?limit=0",
            "/v1/flows?limit=0", "/v1/scan?full=true", "/v1/audit", "/v1/replays", "/v1/dead-letters/export",
            "/v1/schemas", "/v1/status", "/v1/streams", "/v1/groups", "/metrics", "/v1/lint", "/v1/catalog",
            "/v1/history", f"/v1/scan?full=true&query=stream:{it.letters}",
            *(f"/v1/events/{quote(event['position'], safe='')}" for event in events),
            *(f"/v1/flows/{quote(event['position'], safe='')}" for event in events[:50]),
            *(f"/v1/dead-letters/{quote(letter['id'], safe='')}" for letter in letters),
        ]  # fmt: skip
        for path in paths:
            answer = http.get(path)
            if answer.status_code == 404 and path in ("/v1/lint", "/v1/catalog", "/v1/history"):
                continue
            assert answer.status_code < 500, (path, answer.text)
            yield path, answer.text
        for query in (f"/{MARK}/", f"body.limits:/{MARK}/", f"message:/{MARK}/", f"header.x-token:/{MARK}/", MARK):
            for path in ("/v1/events", "/v1/dead-letters"):
                items = http.get(path, params={"query": query}).json()["items"]
                yield f"{path}?query={query}", MARK if items else ""
