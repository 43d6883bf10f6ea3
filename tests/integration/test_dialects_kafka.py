"""A dead-letter topic of a real Kafka with letters of every framework, and others under names of their own.

They are grouped by cause, and our own letters are readable by the tools of other frameworks.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from sidecar.adapters.brokers.kafka.broker import KafkaBroker
from sidecar.config.schema import Config, KafkaConfig, SourcesConfig
from sidecar.dead_letters.dialects import read
from sidecar.dead_letters.dialects.foreign import header_prefixes
from sidecar.demo.embedded_kafka import EmbeddedKafka
from sidecar.domain.model import Headers, Outgoing
from sidecar.domain.position import Partition
from tests.servers.kafka import create_topic, produce, published, unique
from tests.support import dead_letters as samples
from tests.support.sidecar_process import Sidecar

pytestmark = pytest.mark.kafka

SCHEMA = {"type": "record", "name": "Order", "fields": [{"name": "total", "type": "int"}]}
EACH = 3
FRAMEWORKS: dict[str, Headers] = {
    "spring": samples.spring(),
    "spring-retry": samples.RETRY,
    "connect": samples.CONNECT,
    "streams": samples.STREAMS,
    "share-group": samples.SHARE,
    "smallrye": samples.SMALLRYE,
    "spring-cloud-stream": samples.CLOUD,
    "karafka": samples.KARAFKA,
    "wolverine": samples.WOLVERINE,
    "unknown": (),
}


def of(headers: Headers, topic: str, offset: int) -> Headers:
    """Return the headers of the sample for another origin."""

    def told(name: str, value: bytes | None) -> bytes | None:
        if name.endswith("offset"):
            return offset.to_bytes(8, "big") if value is not None and len(value) == 8 else str(offset).encode()
        if name.endswith("partition"):
            return (0).to_bytes(4, "big") if value is not None and value[:1] == b"\0" else b"0"
        return value if value is None else value.replace(b"orders", topic.encode())

    return tuple((name, told(name, value)) for name, value in headers)


def test_a_topic_filled_with_all_dialects_reads_as_its_causes(kafka: EmbeddedKafka, tmp_path: Path) -> None:
    servers = kafka.bootstrap_servers
    topic = create_topic(servers, unique("orders"))
    named = {
        create_topic(servers, f"{topic}-dlt"): [name for name in FRAMEWORKS if name != "smallrye"],
        create_topic(servers, f"dead-letter-topic-{topic}"): ["smallrye"],
        create_topic(servers, f"error.{topic}.billing"): ["spring-cloud-stream"],
    }
    produce(servers, topic, [b'{"total": 1}'] * 2, key=b"o-1", headers=[("h", b"1")])
    published(
        servers,
        [
            Outgoing(
                stream,
                None if name == "share-group" else f"o-{number}".encode(),
                None if name == "share-group" else b'{"total": 1}',
                of(FRAMEWORKS[name], topic, number),
            )
            for stream, names in named.items()
            for name in names
            for number in range(EACH)
        ],
    )
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / f"{topic}-value.avsc").write_text(json.dumps(SCHEMA))
    produce(servers, topic, [b'{"total": "many"}'], key=b"o-9", headers=[("h", b"1")])
    letters = {"dialects": ["spring", "connect", "streams", "share-group"]}
    source = {"bootstrap_servers": servers, "topics": [topic], "start": "earliest", "group_id": f"tracecar.{topic}"}
    config = {
        "service": "shop",
        "sources": {"kafka": source},
        "registry": {"directory": str(tmp_path / "schemas")},
        "dead_letters": letters,
    }
    trying = Sidecar(tmp_path, config, "trying")
    said = trying.cli("check", "-c", str(tmp_path / "trying.yaml"))
    assert f"dead letters in dead-letter-topic-{topic}?" in said
    assert "'error.{stream}.*'" in said

    letters["read"] = ["{stream}.dlt", "{stream}-dlt", f"dead-letter-topic-*{topic}", "error.{stream}.*"]
    with Sidecar(tmp_path, config) as sidecar:
        sidecar.wait(lambda: len(sidecar.rows("dlq", "list", "code:schema.mismatch")) == 1, "our own letter")
        causes = sidecar.rows("dlq", "groups")
        found = {cause["dialects"][0]: cause for cause in causes if len(cause["dialects"]) == 1}
        # Letters of @RetryableTopic say the same as the recoverer's, so both have one cause.
        both = next(cause for cause in causes if len(cause["dialects"]) == 2)
        assert set(both["dialects"]) == {"spring", "spring-retry"}
        assert set(found) | {"spring", "spring-retry"} == {*FRAMEWORKS, "tracecar"}
        assert len(causes) == len(FRAMEWORKS)
        assert {cause["stream"] for cause in causes} == {topic}
        for name, cause in found.items():
            assert cause["count"] == (1 if name == "tracecar" else EACH), name
        # Two letters of one origin with the same failure count as one.
        assert both["count"] == EACH
        assert both["groups"] == ["billing"]
        assert found["connect"]["groups"] == ["connect-warehouse-sink"]
        assert found["tracecar"]["path"] == "total"
        assert found["spring-cloud-stream"]["aggregates"] == EACH
        _letters_of_share_groups_show_their_origin(sidecar)
        assert sidecar.stop() == 0


def _letters_of_share_groups_show_their_origin(sidecar: Sidecar) -> None:
    shared = sidecar.rows("dlq", "list", "code:delivery.exhausted")
    assert len(shared) == EACH
    first = next(row for row in shared if row["origin"].endswith("/0"))
    shown = sidecar.rows("dlq", "show", first["id"])[0]
    assert (shown["body"], shown["headers"], shown["key"]) == ({"total": 1}, [["h", "1"]], "o-1")


async def test_our_letter_is_theirs_too(kafka: EmbeddedKafka) -> None:
    servers = kafka.bootstrap_servers
    topic = create_topic(servers, unique("orders"))
    letters = create_topic(servers, f"{topic}.dlt")
    naming = Config(service="shop", sources=SourcesConfig()).stream_names("g")
    out = samples.written()
    published(servers, [Outgoing(letters, out.key, out.value, out.headers)])
    broker = KafkaBroker(KafkaConfig(bootstrap_servers=servers, topics=[topic], group_id=unique("g")), "shop", naming)
    await broker.start()
    try:
        landed = [one async for records in broker.scan(Partition("kafka", letters, 0)) for one in records]
    finally:
        await broker.close()
    assert len(landed) == 1
    own = read(landed[0], naming)
    assert own.record is not None
    assert (own.dialect, own.record.headers) == ("tracecar", samples.OWN)
    for dialect in samples.ALL:
        theirs = header_prefixes((dialect,))
        headers = tuple(header for header in landed[0].headers if header[0].startswith(theirs))
        found = read(replace(landed[0], headers=headers), naming)
        assert (found.dialect, str(found.origin)) == (dialect, samples.AT)
