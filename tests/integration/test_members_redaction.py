"""Values that `redact` names never reach the server of the shared index, not even while a client listens at another
member."""

from __future__ import annotations

import json
import threading
import uuid
from pathlib import Path

import httpx2
import pytest
from redis import Redis

from sidecar.demo.embedded_valkey import EmbeddedValkey
from tests.support.sidecar_process import TOKEN, Sidecar

pytestmark = pytest.mark.valkey
SECRET = "4111-1111-1111-1111"
SCHEMA = {
    "type": "record",
    "name": "Paid",
    "fields": [
        {"name": "eventId", "type": "string"},
        {"name": "qty", "type": "int"},
        {"name": "card", "type": "string"},
    ],
}


def dumped(client: Redis) -> bytes:
    """Return everything that a server stores."""
    return b"\n".join(key + (client.dump(key) or b"") for key in client.scan_iter(count=1000))


def test_nothing_hidden_is_handed_on(valkey: EmbeddedValkey, tmp_path: Path) -> None:
    stream = f"orders-{uuid.uuid4().hex[:8]}"
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / f"{stream}-value.avsc").write_text(json.dumps(SCHEMA))
    with EmbeddedValkey(rdbcompression="no") as index:
        config = {
            "service": stream,
            "sources": {"redis": {"url": valkey.url, "streams": [stream], "start": "earliest"}},
            "registry": {"directory": str(tmp_path / "schemas")},
            "index": {"redis": {"url": index.url}},
            "redact": ["body:card", "body:qty", "header:authorization"],
        }
        with (
            Sidecar(tmp_path, config, "one") as one,
            Sidecar(tmp_path, config, "two") as two,
            Redis(port=valkey.port) as source,
            Redis(port=index.port) as server,
            httpx2.stream(
                "GET", f"{one.url}/v1/live", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60
            ) as live,
        ):
            one.wait(lambda: len(one.get("/v1/status")["members"]) == 2, "both members")
            sent, stop = 0, threading.Event()

            def load() -> None:
                nonlocal sent
                while not stop.wait(0.005):
                    body = {"eventId": f"e{sent}", "qty": SECRET if sent % 7 == 3 else 1, "card": SECRET}
                    source.xadd(stream, {"authorization": SECRET, "payload": json.dumps(body)})
                    sent += 1

            loading = threading.Thread(target=load)
            loading.start()
            try:
                one.wait(lambda: server.xlen(b"tracecar:1{0}v"), "what passes at the other to be handed on")
                first = sent + 1
                one.wait(lambda: sent > first + 200, "some load")
            finally:
                stop.set()
                loading.join()
            # The first member's live stream has the events of both members.
            wanted = {f"e{number}" for number in range(first, sent)}
            for line in live.iter_lines():
                if line.startswith("data:") and '"position"' in line:
                    assert SECRET not in line
                    wanted.discard(json.loads(line[5:])["event_id"])
                if not wanted:
                    break
            assert all(sum(s["events"] for s in m.get("/v1/status")["streams"]) for m in (one, two))
            assert SECRET.encode() not in dumped(server)
            rejected = one.get("/v1/events", query="status:rejected")["items"]
            assert rejected
            assert SECRET not in json.dumps(rejected)
