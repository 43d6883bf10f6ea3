"""Maintenance merges small files without losing or doubling an event, and deletes what is beyond the limits."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import duckdb
import pytest
from msgspec.structs import replace

from sidecar.adapters.history.directory_store import DirectoryStore
from sidecar.adapters.history.file_header import decode_header, encode_companion
from sidecar.adapters.history.file_maintenance import HistoryLimits
from sidecar.adapters.history.parquet_history import ParquetHistory
from sidecar.adapters.history.sql_runner import HistorySqlRunner
from sidecar.domain.derived_ids import derive_trace_id
from sidecar.domain.errors import Outage
from sidecar.domain.history_rows import SCHEMA_VERSION, encode_row
from sidecar.domain.ports.history import DeadLetterFate, HistoryKey, HistorySegment, HistorySelection
from sidecar.domain.ports.history_sql import SqlLimits
from tests.contracts.history_contract import EVERYTHING, NOW, offsets, row, segment, span

pytestmark = pytest.mark.slow  # each test starts a process of DuckDB

HOUR_US = 3_600_000_000


class Clock:
    def __init__(self) -> None:
        self.now_us = NOW * 1000

    def __call__(self) -> int:
        return self.now_us


class Place:
    """A directory, and histories on it that share a clock."""

    def __init__(self, path: Path) -> None:
        self.path, self.clock = path, Clock()
        self.opened: list[ParquetHistory] = []

    def open(self, limits: HistoryLimits | None = None) -> ParquetHistory:
        history = ParquetHistory(DirectoryStore(self.path), limits, now_us=self.clock)
        self.opened.append(history)
        return history

    def files(self, ending: str = "parquet") -> list[Path]:
        return sorted(self.path.glob(f"events/*/*/*.{ending}"))


@pytest.fixture
async def place(tmp_path):
    place = Place(tmp_path / "history")
    yield place
    for history in place.opened:
        await history.close()


async def write(history: ParquetHistory, *numbers: int) -> None:
    for number in numbers:
        await history.append(segment(row(number, event_id=f"e-{number}", aggregate_id="4711")))


async def everything(history: ParquetHistory) -> list[int]:
    return offsets((await history.find(EVERYTHING, limit=10_000)).rows)


async def test_files_of_a_closed_hour_become_one(place):
    history = place.open()
    await write(history, 1, 2, 3)
    await history.append(segment(row(3, event_id="e-3", aggregate_id="4711"), holes=[span(8, 9)]))  # once more
    await history.maintain()
    assert len(place.files()) == 4  # the hour is not over
    place.clock.now_us += 2 * HOUR_US
    await write(history, 4)
    await history.maintain()
    assert len(place.files()) == len(place.files("idx")) == 2
    for reader in (history, place.open()):
        assert await everything(reader) == [4, 3, 2, 1]
        coverage = await reader.coverage()
        assert (coverage.events, coverage.covered, coverage.holes) == (4, [span(1, 5)], [span(8, 9)])
        found = await reader.find(HistorySelection(keys=[HistoryKey("event_id", "e-2")]))
        assert offsets(found.rows) == [2]
    await history.maintain()
    assert len(place.files()) == 2


async def test_a_crash_after_merging_doubles_nothing_and_is_cleaned_up(place, monkeypatch):
    history = place.open()
    await write(history, 1, 2, 3)
    place.clock.now_us += 2 * HOUR_US

    async def die(names) -> None:
        raise Outage("killed before the deletion")

    with monkeypatch.context() as patched:
        patched.setattr(history.maintenance, "_delete_files", lambda names: die(names) if names else die_not())
        with pytest.raises(Outage):
            await history.maintain()
    assert len(place.files()) == 4
    after = place.open()
    assert await everything(after) == [3, 2, 1]
    assert (await after.coverage()).events == 3
    await after.maintain()
    assert len(place.files()) == 1
    assert await everything(history) == [3, 2, 1]  # which had other files in its list


async def die_not() -> None:
    """Nothing is to be deleted."""


async def test_a_crash_before_the_data_file_is_not_seen(place):
    history = place.open()
    await write(history, 1)
    (companion,) = place.files("idx")
    shutil.copy(companion, companion.with_name("0-orphan.idx"))
    assert await everything(place.open()) == [1]
    await history.catalog.refresh(force=True)
    assert history.catalog.orphans(0) == [str(companion.with_name("0-orphan.idx").relative_to(place.path))]
    await history.maintain()
    assert len(place.files("idx")) == 2  # it may be about to appear


async def test_two_processes_that_merge_the_same_files_write_the_same(place):
    one, other = place.open(), place.open()
    await write(one, 1, 2, 3)
    place.clock.now_us += 2 * HOUR_US
    await one.catalog.refresh(force=True)
    await other.catalog.refresh(force=True)
    files = one.catalog.files()
    kept = {path: path.read_bytes() for kind in ("parquet", "idx") for path in place.files(kind)}
    await one.maintenance.merge(files)
    for path, content in kept.items():
        path.write_bytes(content)  # as if the other had opened them before
    await other.maintenance.merge(files)
    assert len(place.files()) == 1
    assert await everything(place.open()) == [3, 2, 1]


async def test_a_reader_goes_on_while_its_files_are_merged(place):
    writer, reader = place.open(), place.open()
    await write(writer, 1, 2, 3)
    assert await everything(reader) == [3, 2, 1]
    place.clock.now_us += 2 * HOUR_US
    await writer.maintain()
    assert len(place.files()) == 1
    assert await everything(reader) == [3, 2, 1]
    assert offsets(await reader.at([row(2).event.position])) == [2]


async def test_what_is_too_old_is_deleted(place):
    history = place.open(HistoryLimits(age_s=3 * 3_600, size_bytes=10**9))
    fate = DeadLetterFate(row(1).event.position, NOW, "g@1", "open", NOW * 1000)
    await history.append(HistorySegment([encode_row(row(1))], [span(1, 2)], fates=[fate]))
    place.clock.now_us += 2 * HOUR_US
    await write(history, 2)
    place.clock.now_us += 3 * HOUR_US
    await history.maintain()
    assert await everything(history) == [2]
    assert (await history.coverage()).kept_from_ms is not None
    assert await history.fates([row(1).event.position]) == [fate]  # the day is not over
    place.clock.now_us += 48 * HOUR_US
    await history.maintain()
    assert await everything(history) == []
    assert await history.fates([row(1).event.position]) == []
    assert place.files() == place.files("idx") == []


async def test_what_is_too_much_is_deleted_oldest_first(place):
    history = place.open(HistoryLimits(age_s=10**9, size_bytes=1))
    for number in range(3):
        await write(history, number)
        place.clock.now_us += HOUR_US
    size = sum(file.stored_bytes for file in history.catalog.files()) // 3
    history.maintenance._limits = HistoryLimits(age_s=10**9, size_bytes=2 * size + size // 2)
    await history.maintain()
    assert await everything(history) == [2, 1]


def rewrite(data: Path, columns: str, version: int, **changes: object) -> None:
    """Write a data file again with other columns, as another version of Tracecar would have written it."""
    copy = data.with_suffix(".copy")
    rows = f"SELECT {columns} FROM read_parquet('{data}', hive_partitioning = false)"
    duckdb.execute(f"COPY ({rows}) TO '{copy}' (FORMAT parquet)")
    os.replace(copy, data)
    header = decode_header(data.with_suffix(".idx").read_bytes())
    (group,) = header.row_groups
    size = data.stat().st_size
    header.schema_version, header.size_bytes, header.footer_bytes = version, size, size - 4
    header.row_groups = [replace(group, start=4, length=0)]
    data.with_suffix(".idx").write_bytes(encode_companion(header, b""))


async def test_files_of_older_and_newer_versions_of_the_columns_stand_side_by_side(place):
    history = place.open()
    await write(history, 1, 2, 3, 4)
    oldest, older, _, newer = place.files()
    rewrite(oldest, "* EXCLUDE (derived_trace_id)", 1)
    rewrite(older, "* EXCLUDE (derived_trace_id)", 1)
    rewrite(newer, "*, 'later' AS column_of_a_later_version", SCHEMA_VERSION + 1)
    reader = place.open()
    runner = HistorySqlRunner(reader.catalog, DirectoryStore(place.path), copies=False)

    async def check(derived: list[int]) -> None:
        assert await everything(reader) == [4, 3, 2, 1]
        assert not reader.search.unreadable
        page = await reader.find(HistorySelection(keys=[HistoryKey("event_id", "e-1")]))
        assert offsets(page.rows) == [1]
        keys = [HistoryKey("derived_trace_id", f"{derive_trace_id(f'e-{number}'):032x}") for number in range(1, 5)]
        assert offsets((await reader.find(HistorySelection(keys=keys))).rows) == derived
        answer = await runner.run("SELECT event_id, derived_trace_id IS NULL FROM events ORDER BY 1", SqlLimits())
        assert answer.rows == [[f"e-{number}", number not in derived] for number in range(1, 5)]

    await check([4, 3])
    place.clock.now_us += 2 * HOUR_US
    await reader.maintain()
    assert len(place.files()) == 2  # a file with columns that this version does not know is not merged
    assert newer in place.files()
    await check([4, 3])


async def test_hostile_files_are_left_out_and_the_rest_is_answered(place):
    history = place.open()
    await write(history, 1, 2)
    first, second = place.files()
    garbage = first.with_name("0000-x-1.parquet")
    garbage.write_bytes(b"PAR1 is no Parquet" * 100)
    (first.with_name("0000-x-2.parquet")).write_bytes(first.read_bytes())
    (first.with_name("0000-x-2.idx")).write_bytes(b"TCHIDX1\n\xff\xff\xff\xff" + b"\x00" * 50)
    damaged = bytearray(second.read_bytes())
    damaged[8:-400] = b"\xff" * len(damaged[8:-400])
    second.write_bytes(damaged)
    os.symlink("/etc/passwd", first.with_name("0000-x-3.parquet"))
    reader = place.open()
    assert await everything(reader) == [1]
    assert set(reader.search.unreadable) == {str(second.relative_to(place.path))}
    assert {Path(file.name).name for file in reader.catalog.strangers()} == {"0000-x-1.parquet", "0000-x-2.parquet"}
    place.clock.now_us += 2 * HOUR_US
    await reader.maintain()  # one damaged file stops nothing else
    assert await everything(reader) == [1]


async def test_a_full_disk_is_an_outage_and_the_same_segment_can_be_appended_later(place, monkeypatch):
    history = place.open()
    whole = segment(row(1), row(2))

    def no_space(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", no_space)
        with pytest.raises(Outage, match="No space left"):
            await history.append(whole)
    assert place.files() == []
    await history.append(whole)
    assert await everything(history) == [2, 1]


async def test_what_a_killed_process_left_in_the_spool_is_removed(place):
    left = place.path / ".spool" / f"{os.uname().nodename}-999999999-abcd"
    left.mkdir(parents=True)
    (left / "lines.ndjson").write_bytes(encode_row(row(9)))
    history = place.open()
    await history.start()
    assert not left.exists()
    await write(history, 1)
    assert await everything(history) == [1]


async def test_a_clock_that_jumps_back_loses_nothing(place):
    history = place.open()
    await write(history, 1)
    place.clock.now_us -= 5 * HOUR_US
    await write(history, 2)
    place.clock.now_us += 9 * HOUR_US
    await write(history, 3)
    await history.maintain()
    assert await everything(history) == [3, 2, 1]


@pytest.mark.slow
async def test_ten_thousand_files(place):
    history = place.open()
    await write(history, 1)
    place.clock.now_us += 2 * HOUR_US
    await history.maintain()
    (path,) = place.files()
    for number in range(10_000):
        for ending in (".parquet", ".idx"):
            os.link(path.with_suffix(ending), path.with_name(f"{number}{ending}"))
    reader = place.open()
    assert (await reader.coverage()).files == 10_001
    page = await reader.find(HistorySelection(keys=[HistoryKey("event_id", "no such id")]))
    assert page.rows == []
    await write(reader, 2)
    page = await reader.find(HistorySelection(keys=[HistoryKey("event_id", "e-2")]))
    assert offsets(page.rows) == [2]


async def test_the_query_in_the_docs_gives_each_event_once(place):
    history = place.open()
    await write(history, 1, 2)
    again = row(2, event_id="e-2", aggregate_id="4711", observed_at=(NOW + 99) * 1000)
    await history.append(segment(again))
    page = (Path(__file__).parents[4] / "docs" / "history.md").read_text()
    query = page.partition("```sql\n")[2].partition("```")[0]
    changes = {"'history/": f"'{place.path}/", "2026-01-31": "2026-09-21", "AND type LIKE 'Order%'": ""}
    for text, changed in changes.items():
        assert text in query
        query = query.replace(text, changed)
    found = duckdb.connect().sql(query.rstrip().rstrip(";"))
    rows = found.select("event_id, epoch_us(observed_at)").order("event_id").fetchall()
    assert rows == [("e-1", (NOW + 1) * 1000 + 500), ("e-2", (NOW + 99) * 1000)]
