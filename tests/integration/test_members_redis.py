"""Two sidecars of a group on Redis Streams.

Members share each stream entry by entry. Each shows all of it, through a shared index or by reading the entries of the
other.
"""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from sidecar.demo.embedded_valkey import EmbeddedValkey
from tests.support.sidecar_process import Sidecar

pytestmark = pytest.mark.valkey
STEPS = 5


@contextlib.contextmanager
def two(valkey: EmbeddedValkey, stream: str, directory: Path, index: dict[str, Any]) -> Iterator[list[Sidecar]]:
    (directory / "schemas").mkdir()
    config = {
        "service": stream,
        "sources": {"redis": {"url": valkey.url, "streams": [stream], "start": "earliest", "claim_idle": "2s"}},
        "registry": {"directory": str(directory / "schemas")},
        "index": index,
    }
    with contextlib.ExitStack() as stack:
        members = [Sidecar(directory, config, f"member{number}") for number in range(2)]
        for member in members:
            member.start()
            stack.callback(member.stop)
        for member in members:
            member.wait_ready()
        yield members


def add(client: Redis, stream: str, flows: range) -> list[str]:
    traces = []
    for flow in flows:
        trace = f"{flow + 1:032x}"
        traces.append(trace)
        with client.pipeline() as pipe:
            for step in range(STEPS):
                body = json.dumps({"eventId": f"{trace}-{step}"})
                pipe.xadd(stream, {"traceparent": f"00-{trace}-{step + 1:016x}-01", "payload": body})
            pipe.execute()
    return traces


def whole(member: Sidecar, traces: list[str]) -> bool:
    flows = [member.get(f"/v1/flows/{trace}") for trace in traces]
    return all(
        [event["event_id"] for event in flow["events"]] == [f"{trace}-{step}" for step in range(STEPS)]
        for trace, flow in zip(traces, flows, strict=True)
    )


@pytest.mark.parametrize("shared", [True, False], ids=["shared index", "everyone reads all"])
def test_each_shows_all_that_both_read(valkey: EmbeddedValkey, tmp_path: Path, shared: bool) -> None:
    stream = f"orders-{uuid.uuid4().hex[:8]}"
    index = {"redis": {"url": valkey.url, "prefix": stream}} if shared else {"memory": {"scope": "all"}}
    with Redis(port=valkey.port) as client:
        client.xgroup_create(stream, f"tracecar.{stream}", "0", mkstream=True)
        with two(valkey, stream, tmp_path, index) as members:
            traces = add(client, stream, range(100))

            def events(member: Sidecar) -> int:
                return int(member.get("/v1/status")["index"]["events"])

            for member in members:
                member.wait(lambda member=member: events(member) == len(traces) * STEPS, "all events")
                assert whole(member, traces[::9])
            seen = [sum(s["events"] for s in member.get("/v1/status")["streams"]) for member in members]
            assert sum(seen) == len(traces) * STEPS
            # One dies. The other claims its pending entries, and both show them.
            members[1].kill()
            more = add(client, stream, range(100, 160))
            first = members[0]
            first.wait(lambda: events(first) == 160 * STEPS, "all events")
            assert whole(first, (traces + more)[::9])
            members[1].start()
            members[1].wait_ready()
            members[1].wait(lambda: events(members[1]) == 160 * STEPS, "all events")
            assert whole(members[1], (traces + more)[::9])
