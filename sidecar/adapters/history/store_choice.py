"""Chooses the storage of the history by its URL."""

from __future__ import annotations

from sidecar.adapters.history.file_store import FileStore


def build_file_store(url: str) -> FileStore:
    """Build a directory, or a prefix of a bucket. Raises Refused for storage that cannot be used."""
    if "://" in url:
        from sidecar.adapters.history.object_store import ObjectStore

        return ObjectStore(url)
    from sidecar.adapters.history.directory_store import DirectoryStore

    return DirectoryStore(url)
