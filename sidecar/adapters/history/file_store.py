"""Storage of whole files: what the history needs of a directory or of a bucket.

A file appears whole or not at all, and its content never changes: a name is written once, or again with the same
content. So a reader needs no lock, and a copy of a part of a file stays valid.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from msgspec import Struct


class StoredFile(Struct, frozen=True, order=True):
    """A file with its size."""

    name: str
    """Path within the store, with slashes."""
    size_bytes: int


class FilePart(Struct, frozen=True):
    """A part of a file to read."""

    name: str
    start: int
    length: int


class FileStore(Protocol):
    """Files in a directory or a bucket. Every method may raise Outage or Refused."""

    spool: Path
    """A local directory for files that are being written, on the same file system as the store if that is local."""

    async def list_files(self, prefix: str) -> list[StoredFile]:
        """Return the files whose names begin with a prefix that ends with a slash, by name."""

    async def read(self, parts: Sequence[FilePart]) -> list[bytes | None]:
        """Read parts of files. None for a file that does not exist; shorter than asked for at the end of a file."""

    async def publish(self, local: Path, name: str) -> None:
        """Move a file from the spool into the store: durable on return, and visible whole or not at all."""

    async def delete(self, names: Sequence[str]) -> None:
        """Delete files, in this order. A file that does not exist is no error."""

    async def open_local(self, file: StoredFile, parts: Sequence[tuple[int, int]] | None) -> Path | None:
        """Return a local path at which the parts (start and length) of a file, or all of it, can be read.

        None if the file does not exist any more.
        """

    async def clean_spools(self) -> None:
        """Remove what processes that are gone left in the spool."""

    async def close(self) -> None:
        """Release connections and temporary files."""
