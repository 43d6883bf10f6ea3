"""The history as Parquet files in a directory or in a bucket.

Layout: `events/day=2026-01-31/hour=13/NAME.parquet` with a companion `NAME.idx` (`file_header.py`), and
`dead_letters/day=2026-01-31/NAME.parquet`. Day and hour are those in which the file was written. Files are never
changed: merging writes a new one that names those which it replaces, and deletes them then.

What happens if the process dies, or the storage fails, between each two steps of `append`:

1. Lines are written to the spool. Dies here: the spool is removed at the next start, nothing was promised.
2. The engine writes data file and companion to the spool. The same.
3. Facts about dead letters are published. Dies here: they are found although their segment is not there, and are
   written again with it; equal facts are one.
4. The companion is published. Dies here: a companion without a data file is ignored, and deleted after a day.
5. The data file is published. From now on all of the segment is readable. Dies here: the writer does not know, appends
   the segment again, and each row is one event in every answer, because the offsets that a file covers say which rows
   may be stored twice.

Of a merge: the new file is published like a segment. Once it is there, the files that it names as replaced are not read
any more. Dies before they are deleted: the next maintenance deletes them. Two processes that merge the same files at
the same time write a file of the same name and content; if their lists differ, rows are stored twice until a later
merge.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import msgspec

from sidecar.adapters.history.engine_client import EngineClient
from sidecar.adapters.history.engine_requests import FateReadRequest, FateWriteRequest, WriteRequest
from sidecar.adapters.history.engine_sql import FATE_COLUMNS
from sidecar.adapters.history.file_catalog import COMPANION, DATA, DEAD_LETTERS, EVENTS, FileCatalog, build_file
from sidecar.adapters.history.file_header import read_header_length, store_range
from sidecar.adapters.history.file_maintenance import FileMaintenance, HistoryLimits
from sidecar.adapters.history.file_store import FileStore, StoredFile
from sidecar.adapters.history.row_search import RowSearch
from sidecar.domain.errors import Outage
from sidecar.domain.history_rows import HistoryRow
from sidecar.domain.offset_ranges import join_ranges, subtract_ranges
from sidecar.domain.ports.history import (
    DeadLetterFate,
    HistoryCoverage,
    HistoryPage,
    HistorySegment,
    HistorySelection,
    HistoryUpkeep,
)
from sidecar.domain.position import Position

_T = TypeVar("_T")

MIN_FILTERED_ROWS = 256_000
"""Rows of a segment from which its file has filters of its own; smaller files get them when they are merged."""
WRITE_MEMORY_BYTES, READ_MEMORY_BYTES = 256_000_000, 256_000_000
MAX_READ_THREADS = 2
WRITER_NICE_LEVELS = 5
MAX_ORIGINS_PER_REQUEST = 500


class ParquetHistory:
    """A history in a file store."""

    def __init__(
        self,
        store: FileStore,
        limits: HistoryLimits | None = None,
        *,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._store, self._now_us = store, now_us
        self.catalog = FileCatalog(store)
        # Nothing waits for what is written, but a person waits for an answer.
        self.writer = EngineClient(
            store.spool / "write", memory_bytes=WRITE_MEMORY_BYTES, threads=1, nice_levels=WRITER_NICE_LEVELS
        )
        self._reader = EngineClient(store.spool / "read", memory_bytes=READ_MEMORY_BYTES, threads=MAX_READ_THREADS)
        self.search = RowSearch(self.catalog, store, self._reader)
        self.maintenance = FileMaintenance(store, self.catalog, self.writer, limits, now_us)
        self._id = secrets.token_hex(4)
        self._written = 0
        self._staged_rows = 0

    # --- writing

    async def stage(self, lines: Sequence[bytes]) -> None:
        """Write lines to the spool."""
        await self._in_spool(lambda: self._append_lines(lines))
        self._staged_rows += len(lines)

    @property
    def _staging(self) -> Path:
        return self._store.spool / "lines.ndjson"

    def _append_lines(self, lines: Sequence[bytes]) -> None:
        self._store.spool.mkdir(parents=True, exist_ok=True)
        with self._staging.open("ab") as file:
            size = file.tell()
            try:
                file.write(b"".join([part for line in lines for part in (line, b"\n")]))
            except OSError:
                file.truncate(size)
                raise

    async def unstage(self) -> None:
        """Drop the staged lines."""
        await self._in_spool(lambda: self._staging.unlink(missing_ok=True))
        self._staged_rows = 0

    async def append(self, segment: HistorySegment) -> None:
        """Store the staged lines and a segment."""
        await self.stage(segment.lines)
        segment.lines = ()
        name = self._next_name()
        target, companion = self._spool_path(DATA), self._spool_path(COMPANION)
        reply = await self.writer.run(
            WriteRequest(
                str(self._staging),
                str(target),
                str(companion),
                [store_range(each) for each in segment.covered],
                [store_range(each) for each in segment.holes],
                filtered=self._staged_rows >= MIN_FILTERED_ROWS,
                fates=len(segment.fates),
            )
        )
        header = reply.header
        assert header is not None
        if segment.fates:
            await self._write_fates(segment.fates, self._fate_folder() + name.rpartition("/")[2])
        length = await self._in_spool(lambda: read_header_length(companion))
        await self._store.publish(companion, name + COMPANION)
        await self._store.publish(target, name + DATA)
        self.catalog.add(build_file(StoredFile(name + DATA, header.size_bytes), header, length))
        await self.unstage()

    async def _write_fates(self, fates: Sequence[DeadLetterFate], name: str) -> None:
        lines, target = self._store.spool / "fates.ndjson", self._store.spool / f"fates{DATA}"
        text = b"\n".join(msgspec.json.encode(_fate_values(fate)) for fate in fates)
        await self._in_spool(lambda: lines.write_bytes(text))
        await self.writer.run(FateWriteRequest(str(lines), [], str(target)))
        size = await self._in_spool(lambda: target.stat().st_size)
        await self._store.publish(target, name + DATA)
        self.catalog.add_fates(StoredFile(name + DATA, size))

    def _spool_path(self, ending: str) -> Path:
        return self._store.spool / f"segment{ending}"

    def _next_name(self) -> str:
        now_us = self._now_us()
        self._written += 1
        moment = datetime.fromtimestamp(now_us // 1_000_000, UTC)
        return f"{EVENTS}day={moment:%Y-%m-%d}/hour={moment:%H}/{now_us:016d}-{self._id}-{self._written}"

    def _fate_folder(self) -> str:
        return f"{DEAD_LETTERS}day={datetime.fromtimestamp(self._now_us() // 1_000_000, UTC):%Y-%m-%d}/"

    async def _in_spool(self, work: Callable[[], _T]) -> _T:
        try:
            return await asyncio.to_thread(work)
        except OSError as error:
            raise Outage(
                f"cannot write to the history's temporary directory {self._store.spool}: {error.strerror or error}"
            ) from error

    # --- reading

    async def find(self, selection: HistorySelection, *, limit: int = 1_000, cursor: str | None = None) -> HistoryPage:
        """Return a page of the selected rows."""
        return await self.search.find(selection, limit, cursor)

    async def at(self, positions: Sequence[Position]) -> list[HistoryRow]:
        """Return the rows at these positions."""
        return await self.search.at(positions)

    async def fates(self, origins: Sequence[Position]) -> list[DeadLetterFate]:
        """Return what happened to rejected records."""
        await self.catalog.refresh()
        paths = [await self._store.open_local(file, None) for file in self.catalog.fate_files()]
        present = [str(path) for path in paths if path is not None]
        if not present:
            return []
        fates: list[DeadLetterFate] = []
        for first in range(0, len(origins), MAX_ORIGINS_PER_REQUEST):
            part = [str(each) for each in origins[first : first + MAX_ORIGINS_PER_REQUEST]]
            reply = await self._reader.run(FateReadRequest(present, part))
            fates += [_restore_fate(values) for values in reply.rows]
        return sorted(fates, key=lambda fate: (fate.happened_at, fate.state, fate.dead_letter_id))

    async def coverage(self) -> HistoryCoverage:
        """Return the extent of the history."""
        await self.catalog.refresh()
        files = self.catalog.files()
        covered = join_ranges(each for file in files for each in file.covered)
        times = [moment for file in files for moment in (file.header.min_ms, file.header.max_ms) if moment is not None]
        return HistoryCoverage(
            events=sum(file.header.rows for file in files),
            bytes=sum(file.stored_bytes for file in files),
            files=len(files),
            oldest_ms=min(times, default=None),
            newest_ms=max(times, default=None),
            covered=covered,
            holes=subtract_ranges((each for file in files for each in file.holes), covered),
            kept_from_ms=self.maintenance.deleted_before_ms,
        )

    async def upkeep(self) -> HistoryUpkeep:
        """Return what maintenance would do now."""
        upkeep = await self.maintenance.plan()
        upkeep.unusable = self.catalog.list_unusable() | self.search.unreadable
        return upkeep

    async def start(self) -> None:
        """Start the engine that answers, so that the first question does not wait for it."""
        await self._store.clean_spools()
        await self._reader.start()

    async def maintain(self) -> None:
        """Merge small files, and delete what is older or larger than the limits."""
        await self.maintenance.run()

    async def close(self) -> None:
        """End the engines and remove the spool."""
        await self.writer.close()
        await self._reader.close()
        await self._store.close()


def _fate_values(fate: DeadLetterFate) -> dict[str, object]:
    values = {name: getattr(fate, name) for name in FATE_COLUMNS}
    values["origin"] = str(fate.origin)
    values["position"] = None if fate.position is None else str(fate.position)
    return values


def _restore_fate(row: Sequence[object]) -> DeadLetterFate:
    values = dict(zip(FATE_COLUMNS, row, strict=True))
    values["origin"] = Position.parse(str(values["origin"]))
    values["position"] = None if values["position"] is None else Position.parse(str(values["position"]))
    return msgspec.convert(values, DeadLetterFate)
