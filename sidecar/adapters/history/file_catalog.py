"""The data files of a history, with their headers: what is where, without opening a data file."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence

import structlog
from msgspec import Struct

from sidecar.adapters.history.file_header import (
    FIRST_READ_BYTES,
    FileHeader,
    decode_header,
    header_bytes,
    restore_range,
)
from sidecar.adapters.history.file_store import FilePart, FileStore, StoredFile
from sidecar.adapters.history.id_filter import BLOCK_BYTES
from sidecar.domain.offset_ranges import OffsetRange, RangeIndex

log = structlog.get_logger()

EVENTS, DEAD_LETTERS = "events/", "dead_letters/"
DATA, COMPANION = ".parquet", ".idx"
REFRESH_INTERVAL_S = 5.0
"""Age of a listing up to which it is used: files of other writers are seen after this time."""
MAX_HEADERS_PER_READ = 500


class HistoryFile(Struct, frozen=True):
    """A data file of the history with the header of its companion."""

    file: StoredFile
    header: FileHeader
    filters_start: int
    """First byte of the filters in the companion."""
    covered: tuple[OffsetRange, ...]
    holes: tuple[OffsetRange, ...]

    @property
    def name(self) -> str:
        return self.file.name

    @property
    def stored_bytes(self) -> int:
        """Size of the file with its companion."""
        words = (self.header.filters or {}).values()
        groups = len(self.header.row_groups)
        return self.file.size_bytes + self.filters_start + sum(each.blocks for each in words) * groups * BLOCK_BYTES

    @property
    def companion(self) -> str:
        return companion_of(self.file.name)

    @property
    def folder(self) -> str:
        """Folder of the file, which is its day and hour: `events/day=2026-01-31/hour=13`."""
        return self.file.name.rpartition("/")[0]


def companion_of(name: str) -> str:
    """Return the name of a data file's companion."""
    return name.removesuffix(DATA) + COMPANION


class FileCatalog:
    """Cached list of the files in a store, with their headers. It is listed again at most every few seconds."""

    def __init__(self, store: FileStore) -> None:
        self._store = store
        self._files: dict[str, HistoryFile] = {}
        self._fate_files: dict[str, StoredFile] = {}
        self._strangers: set[StoredFile] = set()
        """Files without a header that can be read: not the history's, or damaged."""
        self._orphans: dict[str, float] = {}
        """Companions without a data file, and when they were first seen."""
        self._listed_at = -REFRESH_INTERVAL_S
        self._lock = asyncio.Lock()
        self._by_offset: RangeIndex[HistoryFile] | None = None

    async def refresh(self, *, force: bool = False) -> None:
        """List the files if the last listing is too old."""
        async with self._lock:
            if not force and time.monotonic() - self._listed_at < REFRESH_INTERVAL_S:
                return
            started = time.monotonic()
            events, fates = await self._store.list_files(EVENTS), await self._store.list_files(DEAD_LETTERS)
            companions = {file.name: file for file in events if file.name.endswith(COMPANION)}
            data = [file for file in events if file.name.endswith(DATA)]
            self._note_orphans(companions, {file.name for file in data})
            new = [file for file in data if self._is_new(file)]
            headers = await self._read_headers([file for file in new if companion_of(file.name) in companions])
            present = {file.name for file in data}
            self._files = {name: file for name, file in self._files.items() if name in present} | headers
            self._strangers = {
                file for file in (*self._strangers, *new) if file.name in present and file.name not in self._files
            }
            self._fate_files = {file.name: file for file in fates if file.name.endswith(DATA)}
            self._listed_at = started
            self._by_offset = None

    def _is_new(self, file: StoredFile) -> bool:
        known = self._files.get(file.name)
        return known is None or known.file != file

    def _note_orphans(self, companions: Iterable[str], data: set[str]) -> None:
        now = time.monotonic()
        alone = [name for name in companions if name.removesuffix(COMPANION) + DATA not in data]
        self._orphans = {name: self._orphans.get(name, now) for name in alone}

    async def _read_headers(self, files: Sequence[StoredFile]) -> dict[str, HistoryFile]:
        headers: dict[str, HistoryFile] = {}
        for first in range(0, len(files), MAX_HEADERS_PER_READ):
            part = files[first : first + MAX_HEADERS_PER_READ]
            starts = await self._store.read([FilePart(companion_of(file.name), 0, FIRST_READ_BYTES) for file in part])
            for file, start in zip(part, starts, strict=True):
                known = None if start is None else await self._parse(file, start)
                if known is not None:
                    headers[file.name] = known
        return headers

    async def _parse(self, file: StoredFile, start: bytes) -> HistoryFile | None:
        try:
            length = header_bytes(start)
            if length > len(start):
                (whole,) = await self._store.read([FilePart(companion_of(file.name), 0, length)])
                start = whole or b""
            header = decode_header(start)
        except ValueError as error:
            log.warning("a file of the history cannot be used", file=file.name, reason=str(error))
            return None
        if header.size_bytes != file.size_bytes:
            log.warning(
                "a file of the history cannot be used",
                file=file.name,
                reason=f"it has {file.size_bytes} bytes, and its companion says {header.size_bytes}",
            )
            return None
        return build_file(file, header, length)

    def add(self, file: HistoryFile) -> None:
        """Add a file that this process has just written."""
        self._files[file.name] = file
        self._by_offset = None

    def add_fates(self, file: StoredFile) -> None:
        """Add a file of facts about dead letters that this process has just written."""
        self._fate_files[file.name] = file

    def remove(self, names: Iterable[str]) -> None:
        """Remove files that this process has just deleted."""
        for name in names:
            self._files.pop(name, None)
            self._fate_files.pop(name, None)
        self._by_offset = None

    def files(self) -> list[HistoryFile]:
        """Return the files to read: all but those that were merged into another file of the store."""
        replaced = self.list_replaced()
        return [file for name, file in self._files.items() if name not in replaced]

    def by_offset(self) -> RangeIndex[HistoryFile]:
        """Return an index of the files to read by the offset ranges that they cover."""
        if self._by_offset is None:
            self._by_offset = RangeIndex((each, file) for file in self.files() for each in file.covered)
        return self._by_offset

    def list_replaced(self) -> set[str]:
        """Return the files that were merged into another one, and not deleted yet."""
        return {name for file in self._files.values() for name in file.header.replaces if name in self._files}

    def fate_files(self) -> list[StoredFile]:
        """Return the files of facts about dead letters."""
        return list(self._fate_files.values())

    def list_unusable(self) -> dict[str, str]:
        """Return the files that are not the history's, or are damaged, with the reason."""
        reason = "it has no companion that can be read, so it is not the history's, or it is damaged"
        return {file.name: reason for file in self.strangers()}

    def strangers(self) -> list[StoredFile]:
        """Return the files that are not the history's, or are damaged."""
        return sorted(self._strangers)

    def orphans(self, older_than_s: float) -> list[str]:
        """Return the companions that have been without a data file for so long."""
        now = time.monotonic()
        return [name for name, since in self._orphans.items() if now - since >= older_than_s]


def build_file(file: StoredFile, header: FileHeader, header_length: int) -> HistoryFile:
    """Build the catalog entry of a data file from its header."""
    return HistoryFile(
        file,
        header,
        header_length,
        tuple(map(restore_range, header.covered)),
        tuple(map(restore_range, header.holes)),
    )
