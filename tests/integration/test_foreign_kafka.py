"""Records that real libraries wrote, in a real Kafka, as the sidecar's API shows them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sidecar.adapters.registry.directory import DirectoryRegistry
from sidecar.demo.embedded_kafka import EmbeddedKafka
from sidecar.domain.model import Outgoing, Record, SchemaRef
from tests.servers.kafka import create_topic, published
from tests.support import foreign
from tests.support.foreign import ForeignRecord
from tests.support.sidecar_process import Sidecar

pytestmark = pytest.mark.kafka

FILES = [name for name in foreign.files() if any(line.record.position.system == "kafka" for line in foreign.load(name))]
DEAD_LETTERS = ["{stream}-dlt", "{stream}-dlq", "dead-letter-topic-*"]
SUFFIXES = ("-dlt", "-dlq")
FILLER = b'{"eventType": "Filler"}'


@pytest.fixture(scope="module")
def sidecar(kafka: EmbeddedKafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    """A sidecar that reads the topics of all files."""
    folder = tmp_path_factory.mktemp("foreign")
    schemas = folder / "schemas"
    schemas.mkdir()
    for subject, schema in foreign.SCHEMAS.items():
        if schema is not None:
            (schemas / f"{subject}.avsc").write_text(json.dumps(schema))
    refs = asyncio.run(_refs(schemas))
    lines = [line for name in FILES for line in foreign.load(name)]
    topics = _publish(kafka.bootstrap_servers, lines, refs)
    watched = [topic for topic in topics if not _is_dead(topic)]
    config = {
        "service": "shop",
        "sources": {
            "kafka": {
                "bootstrap_servers": kafka.bootstrap_servers,
                "topics": watched,
                "start": "earliest",
                "group_id": "tracecar.foreign",
            }
        },
        "registry": {"directory": str(schemas)},
        "dead_letters": {"read": DEAD_LETTERS},
    }
    with Sidecar(folder, config) as running:
        running.wait(lambda: sum(row["lag"] or 0 for row in running.rows("streams")) == 0, "all records to be read")
        yield running


def _is_dead(topic: str) -> bool:
    return topic.endswith(SUFFIXES) or topic.startswith("dead-letter-topic-")


async def _refs(schemas: Path) -> dict[str, SchemaRef]:
    registry = DirectoryRegistry(schemas)
    refs = {}
    for subject, schema in foreign.SCHEMAS.items():
        if schema is not None:
            latest = await registry.by_version(subject, None)
            assert latest is not None
            refs[subject] = latest.ref
    return refs


def _publish(servers: str, lines: list[ForeignRecord], refs: dict[str, SchemaRef]) -> list[str]:
    """Write every record at its own offset; filler records are between them."""
    by_topic: dict[str, dict[int, Record]] = {}
    for line in lines:
        record = line.record
        subject = foreign.subject_of(record)
        if subject in refs:
            record = foreign.with_ids(record, refs[subject])
        by_topic.setdefault(record.position.stream, {})[record.position.offset] = record
    for topic, records in by_topic.items():
        create_topic(servers, topic, retention_ms=-1)
        first = min(record.timestamp for record in records.values())
        published(
            servers,
            [
                Outgoing(topic, record.key, record.value, record.headers, timestamp=record.timestamp)
                if (record := records.get(offset)) is not None
                else Outgoing(topic, None, FILLER, (), timestamp=first)
                for offset in range(max(records) + 1)
            ],
        )
    return list(by_topic)


def _field(row: dict[str, Any], name: str) -> Any:
    if name.startswith("schema_"):
        return row["schema"] and row["schema"][name.removeprefix("schema_")]
    if name == "root_cause":
        root = row["root_cause"]
        return root and (f"{root['type']}: {root['message']}" if root["message"] else root["type"])
    if name == "status" and row["status"] == "duplicate":
        return "ok"  # two records of a file may have the same id
    return row[name]


@pytest.mark.parametrize("name", FILES)
def test_every_field_of_every_record_is_right(sidecar: Sidecar, name: str) -> None:
    events = {row["position"]: row for row in sidecar.rows("events", "--limit", "0")}
    letters = {row["position"]: row for row in sidecar.rows("dlq", "list", "--limit", "0")}
    wrong = {}
    for line in foreign.load(name):
        position = str(line.record.position)
        if not line.is_letter and _is_dead(line.record.position.stream):
            continue
        row = (letters if line.is_letter else events)[position]
        expected = {
            key: value for key, value in line.expected.items() if key not in ("origin_timestamp", "schema_guid")
        }
        if found := foreign.differences(expected, lambda field, row=row: _field(row, field)):
            wrong[position] = found
    assert not wrong, json.dumps(wrong, indent=1, default=str)


def test_ids_of_the_record_inside_find_its_dead_letter(sidecar: Sidecar) -> None:
    for query in ("event:e-orders-2", "aggregate:orders-2", "trace:0af7651916cd43dd8448eb211c803162", "e-orders-2"):
        assert [row["position"] for row in sidecar.rows("dlq", "list", query)] == ["kafka://sp.orders-dlt/0/0"], query
    away = sidecar.rows("dlq", "list", 'root_cause:"java.net.ConnectException: bank is away"')
    assert len(away) == 5
    assert len({row["cause"] for row in away}) == 1, "they have one cause"
    shown = sidecar.rows("dlq", "show", away[0]["id"])[0]
    assert "Caused by: java.net.ConnectException: bank is away" in shown["stacktrace"]
    assert sidecar.rows("dlq", "list", "stacktrace:/KafkaMessageListenerContainer/")


def test_a_replay_has_the_origins_bytes_and_time_and_every_replay_is_one(sidecar: Sidecar) -> None:
    # By stream, because the broker also has dead letters of other tests, which this sidecar reads too.
    payments = sidecar.rows("dlq", "list", "stream:sp.payments")
    letter = next(row for row in payments if row["position"] == "kafka://sp.payments-dlt/0/1")
    planned = sidecar.cli("dlq", "replay", letter["id"], "--dry-run", "--again")
    assert "serialized again by the framework" in planned
    orders = sidecar.rows("dlq", "list", "dialect:smallrye stream:sm.orders")
    smallrye = next(row for row in orders if row["origin"].endswith("/1"))
    for _ in range(2):
        sidecar.cli("dlq", "replay", letter["id"], "--again", "--force", "--yes")
        sidecar.cli("dlq", "replay", smallrye["id"], "--again", "--force", "--yes")

    def replays(stream: str) -> list[dict[str, Any]]:
        rows = sidecar.rows("events", f"stream:{stream}", "--full", "--limit", "0")
        return sorted((row for row in rows if row["replay_of"]), key=lambda row: row["position"])

    sidecar.wait(lambda: len(replays("sp.payments")) == len(replays("sm.orders")) == 2, "the replays to pass")
    for row in replays("sp.payments"):
        assert (row["status"], row["body"]["total"]) == ("replayed", 4), "the integer that the origin holds"
    origin = next(row for row in sidecar.rows("events", "stream:sm.orders") if row["position"] == smallrye["origin"])
    for row in replays("sm.orders"):
        assert (row["status"], row["appended_at"]) == ("replayed", origin["appended_at"])
