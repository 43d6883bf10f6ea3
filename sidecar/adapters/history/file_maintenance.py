"""Maintenance of the history's files: merging small ones, and deleting what is older or larger than the limits."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from hashlib import md5

import structlog
from msgspec import Struct

from sidecar.adapters.history.engine_client import EngineClient, EngineFailure
from sidecar.adapters.history.engine_requests import FateWriteRequest, MergeRequest
from sidecar.adapters.history.file_catalog import COMPANION, DATA, FileCatalog, HistoryFile, build_file
from sidecar.adapters.history.file_header import read_header_length, store_range
from sidecar.adapters.history.file_store import FileStore, StoredFile
from sidecar.domain.history_rows import SCHEMA_VERSION
from sidecar.domain.offset_ranges import OffsetRange, join_ranges
from sidecar.domain.ports.history import HistoryUpkeep

log = structlog.get_logger()

MIN_FULL_ROWS = 500_000
"""Rows from which a file is not merged any more."""
MAX_MERGED_ROWS = 2_000_000
MAX_UNFILTERED_ROWS, MAX_UNFILTERED_FILES = 500_000, 64
"""Files without filters in the current hour above which they are merged: a look-up reads all of them."""
HOUR_CLOSED_AFTER_S = 600
"""Time after the end of an hour from which its files are all there."""
MAX_ORPHAN_AGE_S = 86_400.0
MAX_FATE_FILES_PER_DAY = 16
_HOUR = re.compile(r"day=(\d{4}-\d\d-\d\d)(?:/hour=(\d\d))?/")


class HistoryLimits(Struct, frozen=True):
    """Limits for the age (seconds) and total size (bytes) of the history."""

    age_s: float
    size_bytes: int


def end_of_folder(name: str) -> float | None:
    """Return the end of the hour (or day) in a file's name, in seconds since 1970; None if the name has neither."""
    match = _HOUR.search(name)
    if match is None:
        return None
    try:
        start = datetime.fromisoformat(f"{match[1]}T{match[2] or '00'}:00:00").replace(tzinfo=UTC)
    except ValueError:
        return None
    return start.timestamp() + (3_600 if match[2] else 86_400)


def plan_merges(files: Iterable[HistoryFile], now_s: float) -> list[list[HistoryFile]]:
    """Return the groups of files that are to be merged into one each, oldest first."""
    folders: dict[str, list[HistoryFile]] = {}
    for file in files:
        # A file of a later version has columns that this one would drop.
        if file.header.rows < MIN_FULL_ROWS and file.header.schema_version <= SCHEMA_VERSION:
            folders.setdefault(file.folder, []).append(file)
    groups: list[list[HistoryFile]] = []
    for folder, small in sorted(folders.items()):
        small.sort(key=lambda file: (file.header.min_ms or 0, file.name))
        unfiltered = [file for file in small if file.header.filters is None]
        end = end_of_folder(folder + "/")
        if end is not None and now_s >= end + HOUR_CLOSED_AFTER_S:
            if len(small) > 1 or unfiltered:
                groups += _split(small)
        elif (
            len(unfiltered) >= MAX_UNFILTERED_FILES
            or sum(file.header.rows for file in unfiltered) >= MAX_UNFILTERED_ROWS
        ):
            groups += _split(unfiltered)
    return groups


def _split(files: Sequence[HistoryFile]) -> list[list[HistoryFile]]:
    groups: list[list[HistoryFile]] = [[]]
    for file in files:
        if groups[-1] and sum(each.header.rows for each in groups[-1]) + file.header.rows > MAX_MERGED_ROWS:
            groups.append([])
        groups[-1].append(file)
    return [group for group in groups if len(group) > 1 or group[0].header.filters is None]


class FileMaintenance:
    """Merges small files of a store, and deletes what exceeds the limits."""

    def __init__(
        self,
        store: FileStore,
        catalog: FileCatalog,
        engine: EngineClient,
        limits: HistoryLimits | None,
        now_us: Callable[[], int],
    ) -> None:
        self._store, self._catalog, self._engine, self._limits, self._now_us = store, catalog, engine, limits, now_us
        self._failed: set[frozenset[str]] = set()
        """Groups of files whose merge failed: they are not tried again until the next start."""
        self.deleted_before_ms: int | None = None

    async def run(self) -> None:
        """Merge and delete all files for which it is due. Raises Outage and Refused."""
        await self._catalog.refresh(force=True)
        await self._delete_files(sorted(self._catalog.list_replaced()))
        await self._store.delete(self._catalog.orphans(MAX_ORPHAN_AGE_S))
        if self._limits is not None:
            await self._delete_beyond(self._limits)
        for group in plan_merges(self._catalog.files(), self._now_us() / 1e6):
            await self._merge_or_skip(group)
        await self._merge_fates()

    async def plan(self) -> HistoryUpkeep:
        """Return what `run` would do now."""
        await self._catalog.refresh()
        beyond = [] if self._limits is None else self._plan_deletions(self._limits)
        gone = {file.name for _, group in beyond for file in group}
        groups = plan_merges((file for file in self._catalog.files() if file.name not in gone), self._now_us() / 1e6)
        return HistoryUpkeep(len(groups), sum(map(len, groups)), len(gone))

    async def _delete_files(self, names: Sequence[str]) -> None:
        """Delete data files, then their companions."""
        if names:
            companions = [name.removesuffix(DATA) + COMPANION for name in names]
            await self._store.delete([*names, *companions])
            self._catalog.remove(names)

    def _plan_deletions(self, limits: HistoryLimits) -> list[tuple[float, list[HistoryFile]]]:
        """Return the hours that are older or larger than the limits, by their end, oldest first."""
        now_s = self._now_us() / 1e6
        folders: dict[float, list[HistoryFile]] = {}
        for file in self._catalog.files():
            end = end_of_folder(file.name)
            if end is not None:
                folders.setdefault(end, []).append(file)
        total = sum(file.stored_bytes for group in folders.values() for file in group)
        beyond: list[tuple[float, list[HistoryFile]]] = []
        for end, group in sorted(folders.items()):
            if end >= now_s - limits.age_s and total <= limits.size_bytes:
                break
            beyond.append((end, group))
            total -= sum(file.stored_bytes for file in group)
        return beyond

    async def _delete_beyond(self, limits: HistoryLimits) -> None:
        for end, group in self._plan_deletions(limits):
            await self._delete_files([file.name for file in group])
            self.deleted_before_ms = int(end * 1000)
        oldest = self._now_us() / 1e6 - limits.age_s
        old = [file.name for file in self._catalog.fate_files() if (end_of_folder(file.name) or oldest) < oldest]
        await self._store.delete(old)
        self._catalog.remove(old)

    async def _merge_or_skip(self, group: Sequence[HistoryFile]) -> None:
        names = frozenset(file.name for file in group)
        if names in self._failed:
            return
        try:
            await self.merge(group)
        except EngineFailure as error:
            # One damaged file must not keep the others from being merged for ever, nor be tried every minute.
            log.warning("cannot merge files of the history", files=len(group), reason=str(error))
            self._failed.add(names)

    async def merge(self, group: Sequence[HistoryFile]) -> None:
        """Merge files of one hour into a new file, publish it, and delete the merged files."""
        paths = [await self._store.open_local(file.file, None) for file in group]
        present = [str(path) for path in paths if path is not None]
        if len(present) < len(group):
            return  # another process merged or deleted some of them
        covered = [each for file in group for each in file.covered]
        names = sorted(file.name for file in group)
        stem = f"{group[0].folder}/m-{md5(' '.join(names).encode(), usedforsecurity=False).hexdigest()[:16]}"
        target, companion = self._store.spool / f"merged{DATA}", self._store.spool / f"merged{COMPANION}"
        reply = await self._engine.run(
            MergeRequest(
                present,
                str(target),
                str(companion),
                [store_range(each) for each in join_ranges(covered)],
                [store_range(each) for each in join_ranges(each for file in group for each in file.holes)],
                names,
                distinct=_count_offsets(join_ranges(covered)) < _count_offsets(covered),
                version=max(file.header.schema_version for file in group),
            )
        )
        header = reply.header
        assert header is not None
        length = await asyncio.to_thread(read_header_length, companion)
        await self._store.publish(companion, stem + COMPANION)
        await self._store.publish(target, stem + DATA)
        self._catalog.add(build_file(StoredFile(stem + DATA, header.size_bytes), header, length))
        await self._delete_files(names)

    async def _merge_fates(self) -> None:
        folders: dict[str, list[StoredFile]] = {}
        for file in self._catalog.fate_files():
            folders.setdefault(file.name.rpartition("/")[0], []).append(file)
        for folder, files in folders.items():
            if len(files) <= MAX_FATE_FILES_PER_DAY:
                continue
            paths = [await self._store.open_local(file, None) for file in files]
            present = [str(path) for path in paths if path is not None]
            names = sorted(file.name for file in files)
            target = self._store.spool / f"merged-fates{DATA}"
            await self._engine.run(FateWriteRequest(None, present, str(target)))
            size = target.stat().st_size
            name = f"{folder}/m-{md5(' '.join(names).encode(), usedforsecurity=False).hexdigest()[:16]}{DATA}"
            await self._store.publish(target, name)
            self._catalog.add_fates(StoredFile(name, size))
            await self._store.delete(names)
            self._catalog.remove(names)


def _count_offsets(ranges: Iterable[OffsetRange]) -> int:
    return sum(each.end - each.start for each in ranges)
