"""Builds the history and its SQL for a URL."""

from __future__ import annotations

from sidecar.adapters.history.file_store import FileStore
from sidecar.adapters.history.parquet_history import ParquetHistory
from sidecar.adapters.history.sql_runner import HistorySqlRunner


def build_parquet_history(url: str) -> tuple[ParquetHistory, HistorySqlRunner]:
    """Build them on a directory, or on a prefix of a bucket. Raises Refused for storage that cannot be used."""
    is_bucket = "://" in url
    store: FileStore
    if is_bucket:
        from sidecar.adapters.history.object_store import ObjectStore

        store = ObjectStore(url)
    else:
        from sidecar.adapters.history.directory_store import DirectoryStore

        store = DirectoryStore(url)
    history = ParquetHistory(store)
    return history, HistorySqlRunner(history.catalog, store, copies=is_bucket)
