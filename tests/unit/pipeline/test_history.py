"""Everything that the pipeline decodes is in the history once. Commits do not wait for it, also if storage fails."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.adapters.brokers.memory.log import MemoryLog
from sidecar.adapters.history.memory import MemoryHistory
from sidecar.domain.errors import Outage, Refused
from sidecar.domain.model import Outgoing
from sidecar.domain.ports.history import HistorySelection
from sidecar.domain.position import Partition, Position
from sidecar.domain.redaction import Redactor
from sidecar.pipeline import history_filler, history_writer
from sidecar.pipeline.history_filler import HistoryFiller
from sidecar.pipeline.history_recorder import HistoryRecorder, RowEncoder
from sidecar.pipeline.history_writer import HistoryWriter
from sidecar.pipeline.pipeline import HistoryFeed
from sidecar.runtime.history_metrics import HistoryMetrics
from sidecar.runtime.history_wiring import HistoryRecording
from tests.support.conditions import until
from tests.support.pipeline import Harness, registry

ORDERS = [Partition("memory", "orders", number) for number in (0, 1)]
FLUSH_S = 0.02


class FaultyHistory(MemoryHistory):
    """Fails when it is told to; also after it stored a segment."""

    def __init__(self) -> None:
        super().__init__()
        self.fails: Exception | None = None
        self.fails_afterwards = False
        self.appended = asyncio.Event()

    async def start(self) -> None:
        pass

    async def maintain(self) -> None:
        pass

    async def append(self, segment) -> None:
        if self.fails is not None and not self.fails_afterwards:
            raise self.fails
        staged = list(self._staged)
        await super().append(segment)
        if self.fails is not None:
            self._staged = staged  # the answer is lost: the caller tries again
            raise self.fails
        self.appended.set()


class Keeper:
    """The writing side of a history, and a pipeline's way to it."""

    def __init__(self, history, *, bodies=False, redact=(), max_bytes=1 << 20, lookback_s=0.0) -> None:
        self.history, self.lookback_s = history, lookback_s
        self.recorder = HistoryRecorder(
            RowEncoder(Redactor(redact, {"event_id": ["body:eventId"]}), bodies=bodies), member="m", max_bytes=max_bytes
        )
        self.writer = HistoryWriter(history, self.recorder, flush_s=FLUSH_S)
        self.filler: HistoryFiller | None = None

    def feed(self, decoder) -> HistoryFeed:
        self.filler = HistoryFiller(self.history, self.recorder, decoder, flush_s=FLUSH_S, lookback_s=self.lookback_s)
        return HistoryFeed(self.recorder, self.filler)

    async def __aenter__(self):
        self.writer.start()
        self.filler.start()
        return self

    async def __aexit__(self, *_):
        await self.filler.close()
        await self.writer.close()

    async def offsets(self, partition=0) -> list[int]:
        page = await self.history.find(HistorySelection(oldest_first=True), limit=10_000)
        assert page.cursor is None
        return sorted(row.event.position.offset for row in page.rows if row.event.position.log == ORDERS[partition])

    async def covered(self, partition=0) -> list[tuple[int, int]]:
        coverage = await self.history.coverage()
        return [(each.start, each.end) for each in coverage.covered if each.partition == ORDERS[partition]]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    for module, name in (
        (history_filler, "RETRY_MIN_S"),
        (history_filler, "MISSED_POLL_INTERVAL_S"),
        (history_writer, "RETRY_MIN_S"),
        (history_writer, "RETRY_MAX_S"),
    ):
        monkeypatch.setattr(module, name, 0.01)


@pytest.fixture
def log():
    log = MemoryLog()
    log.create("orders", 2)
    return log


def harness(log, keeper, **settings) -> Harness:
    return Harness(log, registry(), history=keeper.feed, **settings)


async def covers(keeper: Keeper, ranges: list[tuple[int, int]]) -> bool:
    return await keeper.covered() == ranges


async def test_everything_decoded_is_in_the_history_with_the_offsets_that_it_covers(log):
    keeper = Keeper(FaultyHistory())
    sidecar = harness(log, keeper)
    sidecar.produce(*sidecar.good(35))
    sidecar.produce({"eventId": "bad", "qty": "x"}, partition=1)
    async with sidecar.running(), keeper:
        await until(lambda: keeper.recorder.counters.written == 36)
        assert await keeper.offsets() == list(range(35))
        assert await keeper.covered() == [(0, 35)]
        origin = ORDERS[1].at(0)
        await until(lambda: keeper.history._fates)
        (fate,) = await keeper.history.fates([origin])
        assert (fate.state, fate.dead_letter_id) == ("open", f"tracecar.shop@{origin}")
    (row,) = await keeper.history.at([ORDERS[0].at(7)])
    assert (row.event.event_id, row.body) == ("e-7", None)


async def test_queued_events_are_written_at_the_stop(log):
    keeper = Keeper(FaultyHistory())
    sidecar = harness(log, keeper)
    keeper.writer._flush_s = 3_600
    async with keeper, sidecar.running():
        sidecar.produce(*sidecar.good(5))
        await until(lambda: keeper.recorder.counters.recorded == 5)
    assert await keeper.offsets() == list(range(5))


@pytest.mark.parametrize("error", [Outage("away"), Refused("no")])
@pytest.mark.parametrize("afterwards", [False, True])
async def test_a_storage_that_fails_stops_no_commit_and_loses_nothing(log, error, afterwards):
    keeper = Keeper(FaultyHistory())
    keeper.history.fails, keeper.history.fails_afterwards = error, afterwards
    sidecar = harness(log, keeper)
    async with sidecar.running(), keeper:
        sidecar.produce(*sidecar.good(50))
        await until(lambda: sidecar.committed() == 50)
        await until(lambda: keeper.writer.problem is not None)
        assert any("commits go on" in sentence for sentence in keeper.writer.sentences())
        keeper.history.fails = None
        await until(lambda: keeper.recorder.counters.written == 50)
        assert await keeper.offsets() == list(range(50))
        assert await keeper.covered() == [(0, 50)]
        await until(lambda: not keeper.writer.sentences())


async def test_a_slow_storage_stops_no_commit_and_loses_nothing(log):
    class SlowHistory(FaultyHistory):
        """Appends once it may."""

        def __init__(self) -> None:
            super().__init__()
            self.asked, self.may_append = asyncio.Event(), asyncio.Event()

        async def append(self, segment) -> None:
            self.asked.set()
            await self.may_append.wait()
            await super().append(segment)

    keeper = Keeper(SlowHistory(), max_bytes=2_000)
    sidecar = harness(log, keeper)
    async with sidecar.running(), keeper:
        sidecar.produce(*sidecar.good(50))
        await keeper.history.asked.wait()
        sidecar.produce(*sidecar.good(50, 50))
        await until(lambda: sidecar.committed() == 100 and keeper.recorder.counters.missed > 0)
        assert await keeper.offsets() == []
        assert log.groups["tracecar.shop"].history_marks[ORDERS[0]] == 0
        keeper.history.may_append.set()
        await until(lambda: covers(keeper, [(0, 100)]))
        assert await keeper.offsets() == list(range(100))


async def test_events_that_do_not_fit_are_counted_and_read_again(log, monkeypatch):
    keeper = Keeper(FaultyHistory(), max_bytes=2_000)
    monkeypatch.setattr(history_writer, "MAX_STAGED_BYTES", 2_000)
    keeper.history.fails = Outage("away")
    sidecar = harness(log, keeper)
    async with sidecar.running(), keeper:
        sidecar.produce(*sidecar.good(300))
        await until(lambda: sidecar.committed() == 300)
        assert keeper.recorder.counters.missed > 0
        assert any("read again" in sentence for sentence in keeper.writer.sentences())
        keeper.history.fails = None
        await until(lambda: not keeper.recorder.missed and keeper.recorder.counters.filled > 0)
        await until(lambda: covers(keeper, [(0, 300)]))
        assert await keeper.covered() == [(0, 300)]
        assert await keeper.offsets() == list(range(300))


async def test_a_start_fills_what_a_crash_left_out_and_tells_what_is_gone(log):
    history = FaultyHistory()
    first = Keeper(history)
    sidecar = harness(log, first)
    async with first, sidecar.running():
        sidecar.produce(*sidecar.good(10))
        await until(lambda: first.recorder.counters.written == 10)
    lost = Keeper(FaultyHistory())  # its rows go nowhere, as those of a process that is killed
    sidecar = harness(log, lost)
    async with sidecar.running():
        sidecar.produce(*sidecar.good(30, 10))
        await until(lambda: sidecar.committed() == 40)
    log.trim(ORDERS[0], 20)
    second = Keeper(history)
    sidecar = harness(log, second)
    async with sidecar.running(), second:
        sidecar.produce(*sidecar.good(5, 40))
        await until(lambda: covers(second, [(0, 10), (20, 45)]))
        assert await second.covered() == [(0, 10), (20, 45)]
        assert await second.offsets() == [*range(10), *range(20, 45)]
        holes = (await history.coverage()).holes
        assert [(hole.partition, hole.start, hole.end) for hole in holes] == [(ORDERS[0], 10, 20)]
        assert second.recorder.counters.filled == 20
        assert second.recorder.counters.lost == 10


async def test_a_new_history_begins_where_the_sidecar_does(log):
    sidecar = Harness(log, registry())
    async with sidecar.running():
        sidecar.produce(*sidecar.good(10))
        await until(lambda: sidecar.committed() == 10)
    keeper = Keeper(FaultyHistory())
    sidecar = harness(log, keeper)
    async with sidecar.running(), keeper:
        sidecar.produce(*sidecar.good(5, 10))
        await until(lambda: keeper.recorder.counters.written == 5)
        await until(lambda: keeper.filler.running == 0)
    assert await keeper.covered() == [(10, 15)]


@pytest.mark.parametrize("recorded", [0, 5], ids=["nothing is recorded", "only later events are recorded"])
async def test_a_history_that_is_new_begins_within_the_window_of_the_look_back(log, recorded):
    without = Harness(log, registry())
    async with without.running():
        without.produce(*without.good(10))
        await until(lambda: without.committed() == 10)
    keeper = Keeper(FaultyHistory(), lookback_s=900.0)
    sidecar = harness(log, keeper)
    async with sidecar.running(), keeper:
        sidecar.produce(*sidecar.good(recorded, 10))
        await until(lambda: covers(keeper, [(0, 10 + recorded)]))
    assert keeper.recorder.counters.filled == 10


async def test_what_processes_committed_that_died_before_any_file_is_filled(log):
    history = FaultyHistory()
    for life in range(5):  # a crash loop: no file is ever written
        sidecar = harness(log, Keeper(history))
        async with sidecar.running():
            sidecar.produce(*sidecar.good(10, 10 * life))
            await until(lambda life=life, sidecar=sidecar: sidecar.committed() == 10 * life + 10)
    later = Keeper(history)  # writes what it consumes, and dies before it fills
    sidecar = harness(log, later)
    later.filler._delay_s = 3_600.0
    async with sidecar.running(), later:
        sidecar.produce(*sidecar.good(5, 50))
        await until(lambda: later.recorder.counters.written == 5)
        sidecar.produce(*sidecar.good(5, 55))
        await until(lambda: later.recorder.counters.written == 10 and sidecar.committed() == 60)
    assert await later.covered() == [(50, 60)]
    keeper = Keeper(history)
    sidecar = harness(log, keeper)
    async with sidecar.running(), keeper:
        await until(lambda: covers(keeper, [(0, 60)]))
        assert await keeper.offsets() == list(range(60))
        assert keeper.recorder.counters.filled == 50
        sidecar.produce(*sidecar.good(1, 60))
        await until(lambda: covers(keeper, [(0, 61)]))
        sidecar.produce(*sidecar.good(1, 61))  # its commit stores the mark behind what is in files
        await until(lambda: sidecar.committed() == 62)
        assert log.groups["tracecar.shop"].history_marks[ORDERS[0]] == 61


async def test_a_redacted_value_is_in_no_row(log):
    keeper = Keeper(FaultyHistory(), bodies=True, redact=["body:eventId", "header:h"])
    sidecar = harness(log, keeper)
    async with sidecar.running(), keeper:
        log.append(Outgoing("orders", b"k", b'{"eventId": "s3cret-id", "qty": "s3cret-qty"}', (("h", b"s3cret"),)))
        log.append(Outgoing("orders", b"k", b's3cret {"eventId": not JSON', (("h", b"s3cret"),)))
        await until(lambda: keeper.recorder.counters.written == 2)
    for row in (await keeper.history.find(HistorySelection())).rows:
        assert "s3cret-id" not in repr(row)
        assert b"[redacted]" in row.headers
        assert row.event.event_id is None
        assert b"s3cret {" not in row.body


async def test_a_replay_is_a_fate_of_its_origin(log):
    keeper = Keeper(FaultyHistory())
    sidecar = harness(log, keeper)
    letter = "tracecar.shop@memory://orders/0/0"
    headers = (("tracecar.replay-of", letter.encode()), ("tracecar.replay-id", b"r"))
    async with sidecar.running(), keeper:
        sidecar.produce({"eventId": "bad", "qty": "x"})
        log.append(Outgoing("orders", b"k", b'{"eventId": "e", "qty": 1}', headers, partition=0))
        await until(lambda: keeper.recorder.counters.written == 2 and len(keeper.history._fates) == 2)
    fates = await keeper.history.fates([Position("memory", "orders", 0, 0)])
    assert {fate.state for fate in fates} == {"open", "replayed"}
    assert [fate.position for fate in fates if fate.state == "replayed"] == [Position("memory", "orders", 0, 1)]


async def test_large_bodies_are_kept_and_encoded_beside_the_event_loop(log):
    keeper = Keeper(FaultyHistory(), bodies=True)
    sidecar = harness(log, keeper)
    async with sidecar.running(), keeper:
        sidecar.produce({"eventId": "large", "qty": 1, "text": "x" * 100_000}, {"eventId": "small", "qty": 1})
        sidecar.produce({"eventId": "huge", "qty": 1, "text": "x" * 2_000_000})
        await until(lambda: keeper.recorder.counters.written == 3)
    bodies = {row.event.event_id: row.body for row in (await keeper.history.find(HistorySelection())).rows}
    assert len(bodies["large"]) > 100_000
    assert bodies["huge"] is None
    assert await keeper.covered() == [(0, 3)]


async def test_counters_are_metrics(log):
    keeper = Keeper(FaultyHistory())
    sidecar = harness(log, keeper)
    async with sidecar.running(), keeper:
        sidecar.produce(*sidecar.good(3))
        await until(lambda: keeper.recorder.counters.written == 3)
        recording = HistoryRecording(keeper.recorder, keeper.writer, keeper.filler)
        values = {each.name: next(iter(each.read()))[0] for each in HistoryMetrics(recording).instruments()}
    assert values["tracecar.history_written"] == 3
    assert (values["tracecar.history_missed"], values["tracecar.history_failing"]) == (0, 0)
    assert HistoryMetrics(None).instruments() == ()
