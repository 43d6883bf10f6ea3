"""The history contract in object storage, on a real S3 server."""

from __future__ import annotations

import uuid

import pytest

from sidecar.adapters.history.builder import build_parquet_history
from sidecar.adapters.history.object_store import ObjectStore
from sidecar.adapters.history.parquet_history import ParquetHistory
from sidecar.config.schema import HistoryConfig
from sidecar.domain.ports.history_sql import SqlLimits
from tests.contracts.history_contract import NOW, HistoryContract, row, segment

pytestmark = pytest.mark.system


async def test_sql_reads_object_storage(s3_server, monkeypatch):
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    history, sql = build_parquet_history(HistoryConfig(url=f"s3://{s3_server.BUCKET}/{uuid.uuid4()}"))
    try:
        await history.append(segment(row(1, event_id="a"), row(2, event_id="b")))
        await history.append(segment(row(2, event_id="b"), row(3, event_id="c")))  # the second is stored twice
        answer = await sql.run("SELECT event_id FROM events ORDER BY 1", SqlLimits())
        assert (answer.rows, answer.files) == ([["a"], ["b"], ["c"]], 2)
        late = await sql.run("SELECT count(*) FROM events", SqlLimits(since_ms=NOW + 3))
        assert (late.rows, late.files) == ([[2]], 1)
    finally:
        await history.close()


class TestS3History(HistoryContract):
    @pytest.fixture
    async def history(self, s3_server, monkeypatch, tmp_path):
        for name, value in s3_server.environment.items():
            monkeypatch.setenv(name, value)
        url = f"s3://{s3_server.BUCKET}/{uuid.uuid4()}"
        history = ParquetHistory(ObjectStore(url, spool=tmp_path / "spool", max_cache_bytes=20_000))
        yield history
        await history.close()
