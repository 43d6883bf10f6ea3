"""Schema checks over the whole API: real events are checked against an unregistered version."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from sidecar.adapters.history.builder import build_parquet_history
from sidecar.api import models
from sidecar.api.client.client import BadRequest
from sidecar.config.schema import HistoryConfig
from sidecar.domain.history_rows import HistoryRow, encode_row
from sidecar.domain.offset_ranges import OffsetRange
from sidecar.domain.ports.history import HistorySegment
from sidecar.domain.position import Partition, Position
from tests.support.api import READER, SCHEMA, order, serving

OLD = json.loads(SCHEMA)


def _with(*fields: dict[str, object], without: str | None = None) -> str:
    kept = [field for field in OLD["fields"] if field["name"] != without]
    return json.dumps(OLD | {"fields": [*kept, *fields]})


async def _check(tmp_path: Path, text: str, redact: tuple[str, ...] = (), limit: int = 10) -> models.SchemaCheckResult:
    async with serving(tmp_path / "token", redact=redact) as sidecar, sidecar.client(READER) as client:
        for number in range(3):
            await sidecar.pass_on(order(number, data={"total": number}))
        await sidecar.pass_on(order(9, data={"total": [1]}))
        return await client.check_schema(models.SchemaCheckRequest(subject="orders-value", text=text, limit=limit))


async def test_a_compatible_version_survives(tmp_path: Path) -> None:
    result = await _check(tmp_path, _with({"name": "added", "type": "string", "default": ""}))
    assert (result.events, result.survived, result.versions, result.faults) == (3, 3, [1], [])
    assert result.note is not None
    assert result.note.startswith("3 of 10 wanted events")


async def test_faults_name_reader_path_and_events(tmp_path: Path) -> None:
    result = await _check(tmp_path, _with({"name": "added", "type": "string"}, without="eventId"))
    assert (result.events, result.survived) == (3, 0)
    assert {(fault.reader, fault.path, fault.count) for fault in result.faults} == {
        ("new version", "added", 3),
        ("version 1", "eventId", 3),
    }
    assert all(len(fault.evidence) == 3 for fault in result.faults)


async def test_a_path_is_redacted_and_an_unusable_text_is_refused(tmp_path: Path) -> None:
    narrower = {"name": "data", "type": {"type": "map", "values": "string"}}
    result = await _check(tmp_path, _with(narrower, without="data"), redact=("body:data",))
    assert result.faults
    assert all("total" not in repr(fault) for fault in result.faults)
    with pytest.raises(BadRequest, match="cannot be used"):
        await _check(tmp_path, '{"type": "recrd"}')


@pytest.mark.slow
@pytest.mark.parametrize("redact", [(), ("body:data.total",)])
async def test_events_of_the_history_are_checked_too(tmp_path: Path, redact: tuple[str, ...]) -> None:
    history, sql = build_parquet_history(HistoryConfig(url=str(tmp_path / "history"), bodies=True))
    bodies = [order(number, data={"total": number}) for number in range(5)]
    async with serving(tmp_path / "token", redact=redact, history=history, sql=sql) as sidecar:
        decoded = [await sidecar.pass_on(body) for body in bodies]
        rows = []
        for number, each in enumerate(decoded):
            old = replace(each.event, position=Position("memory", "orders", 3, 900 + number), appended_at=number + 1)
            total = "***" if redact else "text"
            body = json.dumps(bodies[number] | {"data": {"total": total}}).encode()
            rows.append(encode_row(HistoryRow(old, None, body, b"[]")))
        await history.append(HistorySegment(rows, [OffsetRange(Partition("memory", "orders", 3), None, 900, 905)]))
        async with sidecar.client(READER) as client:
            narrower = _with({"name": "data", "type": {"type": "map", "values": "int"}}, without="data")
            request = models.SchemaCheckRequest(subject="orders-value", text=narrower, limit=5)
            result = await client.check_schema(request)
    await history.close()
    assert result.note is None
    assert (result.events, result.stored_events) == (10, 5)
    faults = {(fault.reader, fault.path): fault.count for fault in result.faults}
    if redact:
        assert faults == {}, "hidden values say nothing"
    else:
        assert faults[("new version", "data.total")] == 5
        assert result.survived == 5
