"""Dead letters end to end on a real Kafka.

Letters of every framework are grouped by cause, a service reports its own failures, and their cause is repaired by an
edit and replayed in growing batches.
"""

from __future__ import annotations

import base64
import json
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import pytest
from confluent_kafka import Consumer, Message

from sidecar.demo.embedded_kafka import EmbeddedKafka
from sidecar.domain.model import Outgoing
from tests.integration.test_dialects_kafka import FRAMEWORKS, of
from tests.servers.kafka import create_topic, produce, published, unique
from tests.support.ports import free_port
from tests.support.sidecar_process import TOKEN, Sidecar

pytestmark = pytest.mark.kafka

SCHEMA = {
    "type": "record",
    "name": "Order",
    "fields": [{"name": "total", "type": "int"}, {"name": "currency", "type": "string"}],
}
GOOD, BAD = 3, 8
"""Orders with a currency, which the foreign letters are about, and orders without."""
REPORTER = "billing-token"
HEADERS = [("h", b"1"), ("h", b"\xff\x00")]


class Taken(NamedTuple):
    """An event as the service received it."""

    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


class Billing:
    """The consumer group of a service. It reports each event that it cannot process, and continues."""

    def __init__(self, servers: str, topic: str, url: str) -> None:
        self.group, self._topic, self._url = f"billing.{topic}", topic, url
        self.processed: list[Taken] = []
        self.failure: BaseException | None = None
        self._stop = threading.Event()
        self._consumer = Consumer(
            {
                "bootstrap.servers": servers,
                "group.id": self.group,
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
            }
        )
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Billing:
        self._consumer.subscribe([self._topic])
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)
        self._consumer.close()
        if self.failure is not None:
            raise self.failure

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                message = self._consumer.poll(0.05)
                if message is not None and message.error() is None:
                    self._process(message)
                    self._consumer.commit(message=message, asynchronous=False)
        except BaseException as error:
            self.failure = error

    def _process(self, message: Message) -> None:
        if json.loads(message.value() or b"{}")["currency"]:
            self.processed.append(Taken(message.key() or b"", message.value() or b"", list(message.headers() or ())))  # type: ignore[arg-type]  # never a dict when read
            return
        failure = {
            "position": f"kafka://{message.topic()}/{message.partition()}/{message.offset()}",
            "group": self.group,
            "error": {"type": "NoCurrency", "message": f"order {(message.key() or b'').decode()} has no currency"},
        }
        headers = {"Authorization": f"Bearer {REPORTER}"}
        httpx2.post(f"{self._url}/v1/failures", json=failure, headers=headers, timeout=60).raise_for_status()


@pytest.fixture
def topic(kafka: EmbeddedKafka) -> str:
    """A stream, and its dead-letter topic with letters of every framework."""
    servers = kafka.bootstrap_servers
    topic = create_topic(servers, unique("orders"))
    letters = create_topic(servers, f"{topic}-dlt")
    produce(servers, topic, [order(number, "EUR") for number in range(GOOD)], key=b"o-1", headers=HEADERS)
    published(
        servers,
        [
            Outgoing(letters, b"o-1", order(number, "EUR"), of(headers, topic, number))
            for headers in FRAMEWORKS.values()
            for number in range(GOOD)
        ],
    )
    return topic


@pytest.fixture
def sidecar(kafka: EmbeddedKafka, topic: str, tmp_path: Path) -> Iterator[Sidecar]:
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / f"{topic}-value.avsc").write_text(json.dumps(SCHEMA))
    source = {"bootstrap_servers": kafka.bootstrap_servers, "topics": [topic], "start": "earliest"}
    config = {
        "service": "shop",
        "sources": {"kafka": {**source, "group_id": f"tracecar.{topic}"}},
        "registry": {"directory": str(tmp_path / "schemas")},
        "api": {
            "port": free_port(),
            "token": TOKEN,
            "tokens": [{"name": "billing", "token": REPORTER, "role": "report"}],
        },
    }
    with Sidecar(tmp_path, config) as running:
        yield running


def order(number: int, currency: str) -> bytes:
    return b'{"total": %d,  "currency": "%s"}' % (number, currency.encode())


def failed(sidecar: Sidecar) -> dict[str, Any] | None:
    """Return the cause of billing's letters."""
    return next((one for one in sidecar.rows("dlq", "groups") if one["dialects"] == ["tracecar"]), None)


def states(sidecar: Sidecar, cause: str) -> Counter[str]:
    return Counter(one["state"] for one in sidecar.rows("dlq", "list", f"cause:{cause}"))


def test_all_letters_of_a_topic_are_explained_repaired_and_replayed(
    kafka: EmbeddedKafka, topic: str, sidecar: Sidecar, tmp_path: Path
) -> None:
    servers = kafka.bootstrap_servers
    with Billing(servers, topic, sidecar.url) as billing:
        produce(servers, topic, [order(number, "") for number in range(BAD)], key=b"o-7", headers=HEADERS)
        sidecar.wait(lambda: (failed(sidecar) or {"count": 0})["count"] == BAD, "billing's failures")
        cause = _each_failure_has_a_cause(sidecar)
        assert (cause["groups"], cause["states"]) == ([billing.group], {"open": BAD})
        query = f"cause:{cause['cause']}"

        # Without an edit, the first one fails again, and the others are not sent.
        tried = json.loads(sidecar.cli("dlq", "replay", query, "--batch-growth", "--yes", "--json", code=1))
        assert (tried["state"], tried["published"], tried["returned"]) == ("paused", 1, 1)
        assert "failed again: reported.error" in tried["note"]
        assert sidecar.rows("replays", "cancel", tried["id"])[0]["state"] == "cancelled"
        assert states(sidecar, cause["cause"]) == {"returned": 1, "open": BAD}

        # An edit that breaks the schema is refused before anything is sent.
        (wrong,) = sidecar.rows("dlq", "replay", query, "--set", "currency=7", "--dry-run")
        assert (wrong["selected"], wrong["sendable"]) == (BAD, 0)
        assert any("currency: expected string" in why for why in wrong["skipped"])

        edit = ("--set", 'currency="EUR"', "--batch-growth", "--comment", "the checkout lost it")
        (plan,) = sidecar.rows("dlq", "replay", query, *edit, "--dry-run")
        assert (plan["selected"], plan["sendable"], plan["passes"], plan["looked_at"]) == (BAD, BAD, BAD, BAD)
        assert [(one["path"], one["before"], one["after"]) for one in plan["changes"]] == [("currency", "", "EUR")]
        assert [(one["group"], one["passed"]) for one in plan["receivers"]] == [(billing.group, BAD)]
        assert len(billing.processed) == GOOD

        (done,) = sidecar.rows("dlq", "replay", query, *edit, "--yes")
        assert (done["state"], done["published"], done["failed"], done["returned"]) == ("done", BAD, 0, 0)
        sidecar.wait(lambda: len(billing.processed) >= GOOD + BAD, "billing to have processed what was mended")
        assert states(sidecar, cause["cause"]) == {"returned": 1, "replayed": BAD}

    _each_was_processed_once_with_the_edit(billing)
    _history_and_audit_name_the_replays(sidecar, query, done["id"], tried["id"])
    _foreign_letters_are_unchanged_and_imported_once(sidecar, tmp_path / "letters.ndjson")


def _each_failure_has_a_cause(sidecar: Sidecar) -> dict[str, Any]:
    """Return the cause of the failures that billing reported."""
    causes = sidecar.rows("dlq", "groups")
    by_dialect = {dialect: cause for cause in causes for dialect in cause["dialects"]}
    assert set(by_dialect) == {*FRAMEWORKS, "tracecar"}
    assert len(causes) == len(FRAMEWORKS)  # letters of @RetryableTopic and of the recoverer share a cause
    counts = {name: cause["count"] for name, cause in by_dialect.items()}
    assert counts == dict.fromkeys(FRAMEWORKS, GOOD) | {"tracecar": BAD}
    served = sidecar.get("/v1/dead-letters/groups")["items"]
    assert {one["cause"]: one["count"] for one in served} == {one["cause"]: one["count"] for one in causes}
    return by_dialect["tracecar"]


def _each_was_processed_once_with_the_edit(billing: Billing) -> None:
    mended = billing.processed[GOOD:]
    assert sorted(one.value for one in mended) == sorted(order(number, "EUR") for number in range(BAD))
    assert {one.key for one in mended} == {b"o-7"}
    assert {tuple(one.headers[: len(HEADERS)]) for one in mended} == {tuple(HEADERS)}
    assert len({dict(one.headers)["tracecar.replay-of"] for one in mended}) == BAD


def _history_and_audit_name_the_replays(sidecar: Sidecar, query: str, replayed: str, cancelled: str) -> None:
    (newest, *_) = sidecar.rows("dlq", "list", query)
    shown = sidecar.get(f"/v1/dead-letters/{newest['id']}")
    assert shown["history"][-1]["replay"] == replayed
    acts = [(one["act"], one["by"], one["replay"]) for one in sidecar.rows("audit") if one["replay"]]
    assert acts[0] == ("replay.started", "operator", replayed)
    assert ("replay.cancelled", "operator", cancelled) in acts


def _foreign_letters_are_unchanged_and_imported_once(sidecar: Sidecar, file: Path) -> None:
    sidecar.cli("dlq", "export", "state:open", "-o", str(file))
    exported = [json.loads(line) for line in file.read_text().splitlines()]
    assert Counter(base64.b64decode(one["value"]) for one in exported) == {
        order(number, "EUR"): len(FRAMEWORKS) for number in range(GOOD)
    }
    assert all(one["done"] for one in sidecar.rows("dlq", "import", str(file)))
    assert sidecar.cli("dlq", "export", "state:open") == file.read_text()
