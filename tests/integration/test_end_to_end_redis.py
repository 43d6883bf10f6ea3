"""End to end on a real Valkey: the guarantees of Kafka's tests hold on Redis Streams too."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from redis import Redis

from sidecar.adapters.registry.directory import DirectoryRegistry
from sidecar.demo.embedded_valkey import EmbeddedValkey
from tests.support.bench_events import SCHEMA, bench_events
from tests.support.sidecar_process import Sidecar

pytestmark = pytest.mark.valkey


def registered(directory: Path, *subjects: str) -> int:
    directory.mkdir()
    for subject in subjects:
        (directory / f"{subject}.avsc").write_text(json.dumps(SCHEMA))
    found = asyncio.run(DirectoryRegistry(str(directory)).by_version(subjects[0], None))
    assert found is not None
    assert found.ref.id is not None
    return found.ref.id


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def everything_committed(client: Redis, group: str, *streams: str) -> bool:
    """Return True once this group has committed everything. The identity group of the stream delivers nothing."""
    for stream in streams:
        newest = client.xinfo_stream(stream)["last-generated-id"]
        states = [state for state in client.xinfo_groups(stream) if state["name"] == group.encode()]
        if [(state["pending"], state["last-delivered-id"]) for state in states] != [(0, newest)]:
            return False
    return True


def test_two_sidecars_killed_again_and_again_letter_and_pass_each_entry_once(
    valkey: EmbeddedValkey, tmp_path: Path, cleanup: ExitStack
) -> None:
    """One stream is observed; another goes through a gate."""
    stream = f"killed-{time.time_ns()}"
    raw, behind = f"{stream}.raw", f"{stream}.behind"
    schema_id = registered(tmp_path / "schemas", f"{stream}-value", f"{raw}-value")
    events = bench_events(20_000, 0.05, schema_id=schema_id)
    config = {
        "service": "shop",
        "sources": {
            "redis": {
                "url": valkey.url,
                "streams": [stream],
                "gate": {raw: behind},
                "start": "earliest",
                "claim_idle": "1s",
            }
        },
        "registry": {"directory": str(tmp_path / "schemas")},
        "index": {"lookback": "0s"},
    }
    client = cleanup.enter_context(Redis.from_url(valkey.url))
    members = [Sidecar(tmp_path, config, f"member-{number}") for number in range(2)]
    for member in members:
        cleanup.callback(member.kill)  # also after a failure
    dice, sent = random.Random(4711), 0
    for member in members:
        member.start()
    for turn in range(8):
        pipe = client.pipeline(transaction=False)
        for _, value, headers in events[sent : sent + len(events) // 8]:
            pipe.xadd(stream, {**dict(headers), "payload": value})
            pipe.xadd(raw, {**dict(headers), "payload": value})
            sent += 1
        pipe.execute()
        time.sleep(dice.uniform(0.1, 1.5))  # a random moment
        members[turn % 2].kill()
        members[turn % 2].start()
    for member in members:
        member.wait_ready()
    members[0].wait(lambda: everything_committed(client, "tracecar.shop", stream, raw), "everything committed")
    for member in members:
        assert member.stop() == 0

    for one in (stream, raw):
        letters = client.xrange(f"{one}.dlt")
        counted = Counter(fields[b"tracecar.origin"] for _, fields in letters)
        assert len(counted) == 1_000
        assert set(counted.values()) == {1}
    passed = Counter(fields[b"payload"] for _, fields in client.xrange(behind))
    broken = {fields[b"payload"] for _, fields in letters}
    assert passed == Counter(value for _, value, _ in events if value not in broken)
    for _, fields in letters[:50]:
        entry = fields[b"tracecar.origin"].decode().rpartition("/")[2]
        ((_, original),) = client.xrange(raw, entry, entry)
        assert fields[b"payload"] == original[b"payload"]
        assert fields[b"traceparent"] == original[b"traceparent"]
