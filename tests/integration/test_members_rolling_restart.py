"""A rolling restart of ten members under load, with a shared index: no event is missing or doubled."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import Counter
from pathlib import Path

import pytest

from sidecar.config.loader import load
from sidecar.demo.embedded_kafka import EmbeddedKafka
from sidecar.demo.embedded_valkey import EmbeddedValkey
from sidecar.runtime.wiring import build_service
from tests.integration.test_end_to_end_kafka import header, make_topic
from tests.integration.test_members_kafka import SCHEMA, STEPS, Load, dead_letters
from tests.support.conditions import until

pytestmark = [pytest.mark.kafka, pytest.mark.valkey]

MEMBERS, PARTITIONS = 10, 10
SECONDS = 150.0


class Member:
    """A sidecar in this process. `stop` ends it like SIGTERM."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.start()

    def start(self) -> None:
        self.service = build_service(load(str(self._file)))
        self._running = asyncio.ensure_future(self.service.run())

    async def stop(self) -> None:
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)

    @property
    def leases(self) -> int:
        return sum(len(pipeline.leases()) for pipeline in self.service.pipelines)


def _write_config(directory: Path, kafka: EmbeddedKafka, valkey: EmbeddedValkey, topics: list[str]) -> Path:
    """Write the configuration that all members share, and return its file."""
    # All members run in this process, so a busy machine delays their heartbeats.
    client = {"session_timeout_ms": 30_000, "heartbeat_interval_ms": 100}
    source = {"bootstrap_servers": kafka.bootstrap_servers, "topics": topics, "start": "earliest", "client": client}
    config = {
        "service": topics[0],
        "sources": {"kafka": source},
        "registry": {"directory": str(directory / "schemas")},
        "index": {"redis": {"url": valkey.url, "prefix": uuid.uuid4().hex}},
        "api": {"port": 0, "token": "t"},
    }
    file = directory / "tracecar.yaml"
    file.write_text(json.dumps(config))
    return file


async def test_a_rolling_restart_of_ten_members_leaves_no_hole(
    kafka: EmbeddedKafka, valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    topics = [f"orders-{uuid.uuid4().hex[:8]}", f"stock-{uuid.uuid4().hex[:8]}"]
    (tmp_path / "schemas").mkdir()
    for topic in topics:
        make_topic(kafka, topic, PARTITIONS // 2)
        (tmp_path / "schemas" / f"{topic}-value.avsc").write_text(json.dumps(SCHEMA))
    file = _write_config(tmp_path, kafka, valkey, topics)
    members = [Member(file) for _ in range(MEMBERS)]
    try:

        async def shared_out() -> bool:
            return sum(member.leases for member in members) == PARTITIONS

        await until(shared_out, "the partitions to be shared out")
        with Load(kafka, topics) as load_:
            for member in members:
                await member.stop()
                member.start()
                await until(shared_out, "the partitions to be shared out again")
        count = len(load_.flows) * STEPS
        index = members[0].service.index

        async def committed() -> bool:
            standing = await members[0].service.pipelines[0].broker.status()
            return len(standing) == PARTITIONS and all(one.lag == 0 for one in standing)

        async def indexed() -> bool:
            covered = index.coverage()
            return covered.events == count and not covered.filling

        await until(committed, "everything to be committed")
        await until(indexed, f"all {count} events to be indexed")
        assert index.coverage().note is None
        for trace in load_.flows[::20]:
            flow = await members[-1].service.index.flow(trace)
            assert flow is not None
            assert [node.event.event_id for node in flow.nodes] == [f"{trace}-{step}" for step in range(STEPS)]
            assert not {node.status for node in flow.nodes} & {"duplicate", "replayed"}
    finally:
        await asyncio.gather(*(member.stop() for member in members))
    letters = await asyncio.to_thread(dead_letters, kafka, topics, PARTITIONS // 2)
    assert Counter(header(letter, "tracecar.event-id") for letter in letters) == Counter(load_.broken)
