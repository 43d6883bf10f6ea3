"""The history contract in object storage, on a real S3 server."""

from __future__ import annotations

import uuid

import pytest

from sidecar.adapters.history.object_store import ObjectStore
from sidecar.adapters.history.parquet_history import ParquetHistory
from tests.contracts.history_contract import HistoryContract

pytestmark = pytest.mark.system


class TestS3History(HistoryContract):
    @pytest.fixture
    async def history(self, s3_server, monkeypatch, tmp_path):
        for name, value in s3_server.environment.items():
            monkeypatch.setenv(name, value)
        url = f"s3://{s3_server.BUCKET}/{uuid.uuid4()}"
        history = ParquetHistory(ObjectStore(url, spool=tmp_path / "spool", max_cache_bytes=20_000))
        yield history
        await history.close()
