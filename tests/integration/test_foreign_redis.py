"""Entries that real libraries wrote, in a real Valkey, as the sidecar's API shows them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sidecar.demo.embedded_valkey import EmbeddedValkey
from tests.support import foreign
from tests.support.sidecar_process import Sidecar

pytestmark = pytest.mark.valkey

FILES = [name for name in foreign.files() if any(line.record.position.system == "redis" for line in foreign.load(name))]


@pytest.mark.parametrize("name", FILES)
def test_every_field_of_every_entry_is_right(valkey: EmbeddedValkey, tmp_path: Path, name: str) -> None:
    import redis

    lines = foreign.load(name)
    streams = {line.record.position.stream for line in lines}
    with redis.Redis.from_url(valkey.url) as client:
        client.delete(*streams)
        for line in lines:
            record = line.record
            fields = [part for header in record.headers for part in (header[0].encode(), header[1] or b"")]
            if record.value is not None:
                fields[2 * record.value_at : 2 * record.value_at] = [b"payload", record.value]
            client.execute_command("XADD", record.position.stream, str(record.position).rpartition("/")[2], *fields)
    config = {
        "service": "shop",
        "sources": {"redis": {"url": valkey.url, "streams": sorted(streams), "start": "earliest", "group": name}},
        "envelope": foreign.envelope_for(name),
    }
    wrong = {}
    with Sidecar(tmp_path, config) as sidecar:
        sidecar.wait(lambda: len(sidecar.rows("events", "--limit", "0")) >= len(lines), "all entries to be read")
        events = {row["position"]: row for row in sidecar.rows("events", "--limit", "0")}
        for line in lines:
            row = events[str(line.record.position)]
            if found := foreign.differences(line.expected, lambda field, row=row: row[field]):
                wrong[str(line.record.position)] = found
    assert not wrong, json.dumps(wrong, indent=1)
