"""Files of the history in object storage: S3 and what speaks its protocol, Google Cloud Storage, Azure Blob Storage.

A file is uploaded in one request, or in parts that become one object when the upload completes. A crash in between
leaves parts that no reader sees; a lifecycle rule of the bucket removes them. Credentials come from the environment, as
the providers' own tools read them: keys, web identity (IRSA), workload identity, or the instance's metadata.

The engine reads local files only. `open_local` fetches the parts of an object that it needs into a sparse local file of
the same size, which stays in a cache of bounded size.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import from_url

from sidecar.adapters.history.file_store import FilePart, StoredFile
from sidecar.domain.errors import Outage, Refused

_T = TypeVar("_T")
MAX_CACHE_BYTES = 256 << 20
"""Bytes of cached parts."""
MAX_CONCURRENT_REQUESTS = 32
MAX_RETRIES_PER_REQUEST = 3
REQUEST_TIMEOUT_S, CONNECT_TIMEOUT_S = 60, 5


class ObjectStore:
    """File store below a prefix of a bucket."""

    def __init__(self, url: str, *, spool: Path | None = None, max_cache_bytes: int = MAX_CACHE_BYTES) -> None:
        self._url = url
        allow_http = os.environ.get("AWS_ENDPOINT_URL", os.environ.get("AWS_ENDPOINT", "")).startswith("http://")
        try:
            self._store = from_url(
                url,
                client_options={
                    "allow_http": allow_http,
                    "timeout": f"{REQUEST_TIMEOUT_S}s",
                    "connect_timeout": f"{CONNECT_TIMEOUT_S}s",
                },
                retry_config={"max_retries": MAX_RETRIES_PER_REQUEST},
            )
        except (BaseError, ValueError) as error:
            raise Refused(f"cannot use history.url {url}: {error}") from error
        self.spool = spool or Path(tempfile.mkdtemp(prefix="tracecar-history-"))
        self._cache = _PartCache(self.spool / "cache", max_cache_bytes, self._fetch)
        self._limit = asyncio.Semaphore(MAX_CONCURRENT_REQUESTS)

    async def list_files(self, prefix: str) -> list[StoredFile]:
        """Return the objects below a prefix, by name."""

        async def collect() -> list[StoredFile]:
            pages = [page async for page in obstore.list(self._store, prefix, chunk_size=1_000)]
            return sorted(StoredFile(each["path"], each["size"]) for page in pages for each in page)

        return await self._run(collect)

    async def read(self, parts: Sequence[FilePart]) -> list[bytes | None]:
        """Read parts of objects, several at a time."""
        return list(await asyncio.gather(*(self._read_part(part) for part in parts)))

    async def _read_part(self, part: FilePart) -> bytes | None:
        async with self._limit:
            try:
                return await self._run(lambda: self._fetch(part))
            except FileNotFoundError:
                return None

    async def _fetch(self, part: FilePart) -> bytes:
        if not part.length:
            return b""
        return bytes(await obstore.get_range_async(self._store, part.name, start=part.start, length=part.length))

    async def publish(self, local: Path, name: str) -> None:
        """Upload a file of the spool, and remove it there."""
        await self._run(lambda: obstore.put_async(self._store, name, local))
        await asyncio.to_thread(local.unlink, missing_ok=True)

    async def delete(self, names: Sequence[str]) -> None:
        """Delete objects."""
        for name in names:
            try:
                await self._run(lambda name=name: obstore.delete_async(self._store, name))  # type: ignore[misc]
            except FileNotFoundError:
                continue

    async def open_local(self, file: StoredFile, parts: Sequence[tuple[int, int]] | None) -> Path | None:
        """Return the path of a sparse copy of an object that has these parts, or all of it."""
        wanted = [(0, file.size_bytes)] if parts is None else parts
        try:
            return await self._run(lambda: self._cache.open(file, wanted))
        except FileNotFoundError:
            return None

    async def clean_spools(self) -> None:
        """Do nothing: the spool is a temporary directory of this process."""

    async def close(self) -> None:
        """Remove the spool with the cache."""
        await asyncio.to_thread(shutil.rmtree, self.spool, ignore_errors=True)

    async def _run(self, work: Callable[[], Awaitable[_T]]) -> _T:
        try:
            return await work()
        except FileNotFoundError:
            raise
        except (PermissionDeniedError, UnauthenticatedError) as error:
            raise Refused(f"{self._url} refuses access to the history: {_first_line(error)}") from error
        except (BaseError, OSError) as error:
            raise Outage(f"cannot reach the history at {self._url}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:300]


class _PartCache:
    """Sparse local copies of objects, of which the one that was used least recently is removed first."""

    def __init__(self, folder: Path, max_bytes: int, fetch: Callable[[FilePart], Awaitable[bytes]]) -> None:
        self._folder, self._max_bytes, self._fetch = folder, max_bytes, fetch
        self._copies: dict[str, _SparseCopy] = {}
        self._made = 0
        """Copies made so far: each has a name of its own, so that a removed one is never mistaken for its successor."""

    async def open(self, file: StoredFile, parts: Sequence[tuple[int, int]]) -> Path:
        """Return the path of a copy that has these parts."""
        copy = self._copies.pop(file.name, None)
        if copy is None:
            self._made += 1
            copy = _SparseCopy(file, self._folder / f"{self._made}.parquet")
        self._copies[file.name] = copy  # now the one that was used last
        async with copy.lock:
            try:
                await self._fill(copy, parts)
            except FileNotFoundError:
                self._remove(file.name)
                raise
        self._evict()
        return copy.path

    async def _fill(self, copy: _SparseCopy, parts: Sequence[tuple[int, int]]) -> None:
        missing = [part for part in dict.fromkeys(parts) if part[1] and not copy.has(*part)]
        if not missing and copy.parts:
            return
        contents = await asyncio.gather(*(self._fetch(FilePart(copy.file.name, *part)) for part in missing))
        await asyncio.to_thread(copy.write, missing, contents)

    def _evict(self) -> None:
        total = sum(copy.bytes for copy in self._copies.values())
        for name in list(self._copies)[:-1]:
            if total <= self._max_bytes:
                break
            if not self._copies[name].lock.locked():
                total -= self._copies[name].bytes
                self._remove(name)

    def _remove(self, name: str) -> None:
        copy = self._copies.pop(name, None)
        if copy is not None:
            copy.path.unlink(missing_ok=True)


class _SparseCopy:
    """A local file as large as an object, with some of its parts."""

    def __init__(self, file: StoredFile, path: Path) -> None:
        self.file, self.path = file, path
        self.parts: list[tuple[int, int]] = []
        self.bytes = 0
        self.lock = asyncio.Lock()

    def has(self, start: int, length: int) -> bool:
        """Return whether one of the parts holds this one."""
        return any(first <= start and start + length <= first + size for first, size in self.parts)

    def write(self, parts: Sequence[tuple[int, int]], contents: Sequence[bytes]) -> None:
        """Add parts."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(descriptor, self.file.size_bytes)
            for (start, _), content in zip(parts, contents, strict=True):
                os.pwrite(descriptor, content, start)
        finally:
            os.close(descriptor)
        self.parts += parts
        self.bytes += sum(map(len, contents))
