"""Builds the history and its SQL for a URL."""

from __future__ import annotations

from importlib.util import find_spec

from sidecar.adapters.history.directory_store import DirectoryStore
from sidecar.adapters.history.file_maintenance import HistoryLimits
from sidecar.adapters.history.file_store import FileStore
from sidecar.adapters.history.parquet_history import ParquetHistory
from sidecar.adapters.history.sql_runner import HistorySqlRunner
from sidecar.config.schema import HistoryConfig
from sidecar.config.string_formats import parse_size
from sidecar.domain.errors import ConfigError, Mistake


def build_file_store(url: str) -> FileStore:
    """Build the file store of a URL. Raises ConfigError if a package is missing, Refused if the storage is unusable."""
    if "://" not in url:
        _check_extra("duckdb")
        return DirectoryStore(url)
    _check_extra("duckdb", "obstore")
    from sidecar.adapters.history.object_store import ObjectStore

    return ObjectStore(url)


def build_parquet_history(config: HistoryConfig) -> tuple[ParquetHistory, HistorySqlRunner]:
    """Build the configured history and the SQL over it. Raises as `build_file_store`."""
    store = build_file_store(config.url)
    history = ParquetHistory(store, HistoryLimits(float(config.keep.age), parse_size(config.keep.size)))
    return history, HistorySqlRunner(history.catalog, store, copies="://" in config.url)


def _check_extra(*names: str) -> None:
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        expected = "the extra tracecar[history] to be installed"
        raise ConfigError([Mistake("history", expected, f"no {' and no '.join(missing)}")])
