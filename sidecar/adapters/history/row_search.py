"""Finds rows in data files: chooses row groups by time and by id, newest first, and reads a few of them at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence

import structlog
from msgspec import Struct
from msgspec.structs import replace

from sidecar.adapters.history.engine_client import EngineClient, EngineFailure
from sidecar.adapters.history.engine_requests import ReadRequest, RowGroupRows
from sidecar.adapters.history.file_catalog import FileCatalog, HistoryFile
from sidecar.adapters.history.file_store import FilePart, FileStore
from sidecar.adapters.history.id_filter import find_row_groups, hash_id, locate_blocks
from sidecar.adapters.history.row_pages import (
    RowOrder,
    build_page,
    is_selected,
    latest_rows,
    order_of,
    parse_cursor,
    place_of,
)
from sidecar.domain.errors import Outage
from sidecar.domain.event_bounds import bound_text
from sidecar.domain.history_rows import SINCE_BY_COLUMN, HistoryRow, quote_stream, restore_row, split_offset
from sidecar.domain.ports.history import MAX_PAGE_ROWS, HistoryPage, HistorySelection
from sidecar.domain.position import Position

log = structlog.get_logger()

FIRST_GROUPS, MAX_GROUPS = 4, 64
"""Row groups of the first and of the largest request: most pages are full after the first."""
MAX_POSITIONS_PER_REQUEST = 500
MAX_ATTEMPTS = 3
"""Attempts of a search whose files are merged or deleted under it."""


_FILES_KEEP_VANISHING = (
    f"the history cannot be read: in each of {MAX_ATTEMPTS} attempts a file was deleted while it was read; "
    "try again, and check that no other program deletes files below history.url"
)


class _FileGone(Exception):
    """A file was merged or deleted after it was listed."""


class _Candidate(Struct, frozen=True):
    """A row group that may hold selected rows."""

    file: HistoryFile
    group: int
    first: int
    """Number of its first row."""
    words: tuple[str, ...]
    """Kinds of ids that it may hold one of; none where ids are no condition."""

    @property
    def times(self) -> tuple[int, int]:
        """Earliest and latest append time."""
        group = self.file.header.row_groups[self.group]
        return group.min_ms, group.max_ms


class RowSearch:
    """Searches the data files of a catalog. Methods raise Outage and Refused."""

    def __init__(self, catalog: FileCatalog, store: FileStore, engine: EngineClient) -> None:
        self._catalog, self._store, self._engine = catalog, store, engine
        self.unreadable: dict[str, str] = {}
        """Files that the engine could not read, with the reason. They are left out until the next start."""

    async def find(self, selection: HistorySelection, limit: int, cursor: str | None) -> HistoryPage:
        """Return a page of the selected rows."""
        after = None if cursor is None else parse_cursor(cursor)
        limit = max(1, min(limit, MAX_PAGE_ROWS))
        for attempt in range(MAX_ATTEMPTS):
            await self._catalog.refresh(force=attempt > 0)
            try:
                return await self._find(selection, limit, cursor, after)
            except _FileGone as error:
                log.debug("a file of the history is gone; listing again", file=str(error))
        raise Outage(_FILES_KEEP_VANISHING)

    async def _find(
        self, selection: HistorySelection, limit: int, cursor: str | None, after: RowOrder | None
    ) -> HistoryPage:
        selection = replace(selection, keys=[replace(key, value=bound_text(key.value)) for key in selection.keys])
        candidates = await self._choose(selection, after)
        ascending = selection.oldest_first
        candidates.sort(key=lambda each: each.times[0] if ascending else -each.times[1])
        request = _request(selection, limit + 1, after)
        rows: list[HistoryRow] = []
        size = FIRST_GROUPS
        while candidates:
            if len(rows) > limit:
                last = rows[limit].event.appended_at
                edge = candidates[0].times[0] if ascending else candidates[0].times[1]
                if (edge > last) if ascending else (edge < last):
                    break
            part, candidates = candidates[:size], candidates[size:]
            rows += await self._read(part, request)
            rows = sorted(latest_rows(rows), key=order_of, reverse=not ascending)
            if not candidates or len(rows) > limit:
                rows = await self._without_outdated(rows[: limit + 1], selection) + rows[limit + 1 :]
            size = min(size * 2, MAX_GROUPS)
        return build_page(rows, selection, limit, cursor)

    async def _without_outdated(self, rows: list[HistoryRow], selection: HistorySelection) -> list[HistoryRow]:
        """Replace each row that is stored in several files by its latest version.

        Drop the row if that version no longer matches the selection.
        """
        doubtful = [row for row in rows if self._is_stored_twice(row)]
        if not doubtful:
            return rows
        places = {place_of(row) for row in doubtful}
        latest = await self._at([row.event.position for row in doubtful])
        kept = [row for row in latest if place_of(row) in places and is_selected(row, selection)]
        rest = [row for row in rows if place_of(row) not in places]
        return sorted((*kept, *rest), key=order_of, reverse=not selection.oldest_first)

    def _is_stored_twice(self, row: HistoryRow) -> bool:
        position = row.event.position
        ranges = self._catalog.by_offset().find(position.log, position.offset)
        return sum(offsets.incarnation == row.incarnation for offsets, _ in ranges) > 1

    async def at(self, positions: Sequence[Position]) -> list[HistoryRow]:
        """Return the rows at these positions, newest first."""
        for attempt in range(MAX_ATTEMPTS):
            await self._catalog.refresh(force=attempt > 0)
            try:
                return await self._at(positions)
            except _FileGone as error:
                log.debug("a file of the history is gone; listing again", file=str(error))
        raise Outage(_FILES_KEEP_VANISHING)

    async def _at(self, positions: Sequence[Position]) -> list[HistoryRow]:
        rows: list[HistoryRow] = []
        for first in range(0, len(positions), MAX_POSITIONS_PER_REQUEST):
            part = positions[first : first + MAX_POSITIONS_PER_REQUEST]
            by_offset = self._catalog.by_offset()
            files = {file.name: file for each in part for _, file in by_offset.find(each.log, each.offset)}.values()
            groups = [_Candidate(file, n, start, ()) for file in files for n, start in enumerate(_first_rows(file))]
            stored = [
                (each.system, quote_stream(each.stream), each.partition, *split_offset(each.offset)) for each in part
            ]
            for start in range(0, len(groups), MAX_GROUPS):
                request = ReadRequest([], {}, 2 * len(part) + MAX_GROUPS, positions=stored)
                rows += await self._read(groups[start : start + MAX_GROUPS], request)
        return sorted(latest_rows(rows), key=order_of, reverse=True)

    async def _choose(self, selection: HistorySelection, after: RowOrder | None) -> list[_Candidate]:
        since, until = selection.since_ms, selection.until_ms
        if after is not None and selection.oldest_first:
            since = after[0] if since is None else max(since, after[0])
        elif after is not None:
            until = after[0] + 1 if until is None else min(until, after[0] + 1)
        files = [
            file
            for file in self._catalog.files()
            if file.name not in self.unreadable and _overlaps(file.header.min_ms, file.header.max_ms, since, until)
        ]
        words = await self._choose_by_id(files, selection) if selection.keys else {}
        return [
            _Candidate(file, n, first, words.get((file.name, n)) or _list_words(file, selection))
            for file in files
            for n, first in enumerate(_first_rows(file))
            if _overlaps(file.header.row_groups[n].min_ms, file.header.row_groups[n].max_ms, since, until)
            and (not selection.keys or _may_have_keys(file, n, selection, words))
        ]

    async def _choose_by_id(
        self, files: Iterable[HistoryFile], selection: HistorySelection
    ) -> dict[tuple[str, int], tuple[str, ...]]:
        """Return the row groups that may hold an id by their filters, with the kinds of the ids."""
        hashes = sorted({(key.word, hash_id(key.value)) for key in selection.keys})
        wanted: list[tuple[HistoryFile, str, int]] = []
        parts: list[FilePart] = []
        for file in files:
            if file.header.filters is None:
                continue
            for word, hashed in hashes:
                place = file.header.filters.get(word)
                if place is None or not place.blocks:
                    continue
                start, length = locate_blocks(hashed, place.blocks, len(file.header.row_groups))
                wanted.append((file, word, hashed))
                parts.append(FilePart(file.companion, file.filters_start + place.start + start, length))
        chosen: dict[tuple[str, int], set[str]] = {}
        for (file, kind, hashed), stored in zip(wanted, await self._store.read(parts), strict=True):
            if stored is None:
                raise _FileGone(file.companion)
            for group in find_row_groups(stored, hashed):
                chosen.setdefault((file.name, group), set()).add(kind)
        return {group: tuple(sorted(words)) for group, words in chosen.items()}

    async def _read(self, candidates: Sequence[_Candidate], request: ReadRequest) -> list[HistoryRow]:
        usable = [each for each in candidates if each.file.name not in self.unreadable]
        try:
            return await self._read_together(usable, request)
        except EngineFailure as error:
            await self._raise_if_gone(usable)
            if len({each.file.name for each in usable}) <= 1:
                for name in {each.file.name for each in usable}:
                    log.warning("a file of the history cannot be read", file=name, reason=str(error))
                    self.unreadable[name] = str(error)
                return []
        rows: list[HistoryRow] = []
        for name in dict.fromkeys(each.file.name for each in usable):
            rows += await self._read([each for each in usable if each.file.name == name], request)
        return rows

    async def _read_together(self, candidates: Sequence[_Candidate], request: ReadRequest) -> list[HistoryRow]:
        if not candidates:
            return []
        by_file: dict[str, list[_Candidate]] = {}
        for each in candidates:
            by_file.setdefault(each.file.name, []).append(each)
        paths = await asyncio.gather(*(self._open(each) for each in by_file.values()))
        groups = [
            RowGroupRows(
                path,
                each.first,
                each.file.header.row_groups[each.group].rows,
                list(each.words),
                each.file.header.schema_version,
            )
            for path, group in zip(paths, by_file.values(), strict=True)
            for each in group
        ]
        reply = await self._engine.run(replace(request, groups=groups))
        return [restore_row(values) for values in reply.rows]

    async def _open(self, candidates: Sequence[_Candidate]) -> str:
        file = candidates[0].file
        header = file.header
        parts = [(header.row_groups[each.group].start, header.row_groups[each.group].length) for each in candidates]
        parts += [(0, 4), (header.size_bytes - header.footer_bytes, header.footer_bytes)]
        path = await self._store.open_local(file.file, parts)
        if path is None:
            raise _FileGone(file.name)
        return str(path)

    async def _raise_if_gone(self, candidates: Sequence[_Candidate]) -> None:
        for file in {each.file.name: each.file for each in candidates}.values():
            if await self._store.open_local(file.file, []) is None:
                raise _FileGone(file.name)


def _request(selection: HistorySelection, limit: int, after: RowOrder | None) -> ReadRequest:
    values: dict[str, list[str]] = {}
    for key in selection.keys:
        values.setdefault(key.word, []).append(key.value)
    return ReadRequest(
        [],
        {word: sorted(set(texts)) for word, texts in values.items()},
        limit,
        oldest_first=selection.oldest_first,
        streams=[quote_stream(stream) for stream in selection.streams],
        types=list(selection.types),
        producers=list(selection.producers),
        since_ms=selection.since_ms,
        until_ms=selection.until_ms,
        rejected=selection.rejected,
        after=None if after is None else _order_values(after),
    )


def _order_values(after: RowOrder) -> list[object]:
    moment, system, stream, partition, offset, incarnation = after
    high, low = split_offset(offset)
    return [moment, system, stream, partition, high, low < 0, low, incarnation]


def _list_words(file: HistoryFile, selection: HistorySelection) -> tuple[str, ...]:
    """Return the kinds of ids of a selection for which a file has columns."""
    return tuple(
        sorted({key.word for key in selection.keys if SINCE_BY_COLUMN[key.word] <= file.header.schema_version})
    )


def _may_have_keys(
    file: HistoryFile, group: int, selection: HistorySelection, words: Mapping[tuple[str, int], tuple[str, ...]]
) -> bool:
    if file.header.filters is None:
        return bool(_list_words(file, selection))
    return (file.name, group) in words


def _first_rows(file: HistoryFile) -> list[int]:
    firsts, row = [], 0
    for group in file.header.row_groups:
        firsts.append(row)
        row += group.rows
    return firsts


def _overlaps(low: int | None, high: int | None, since: int | None, until: int | None) -> bool:
    if low is None or high is None:
        return False
    return (since is None or high >= since) and (until is None or low < until)
