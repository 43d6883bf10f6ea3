"""Schema checks over the whole API: real events are checked against an unregistered version."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sidecar.api import models
from sidecar.api.client.client import BadRequest
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
