"""The contract of every history (`ports.History`). An adapter's test subclasses `HistoryContract`."""

from __future__ import annotations

import itertools

import pytest

from sidecar.domain.derived_ids import derive_trace_id
from sidecar.domain.history_rows import HistoryRow, encode_row
from sidecar.domain.model import Event, Rejection, SchemaRef, TraceOrigin
from sidecar.domain.offset_ranges import OffsetRange
from sidecar.domain.ports.history import (
    DeadLetterFate,
    History,
    HistoryKey,
    HistorySegment,
    HistorySelection,
)
from sidecar.domain.position import Partition, Position

NOW = 1_790_000_000_000
"""In milliseconds."""
ORDERS = Partition("memory", "orders", 0)
EVERYTHING = HistorySelection()


def row(
    offset: int, stream: str = "orders", *, at: int | None = None, incarnation: str | None = "i", **words
) -> HistoryRow:
    """Build a row of an event that was appended `at` milliseconds after a fixed time; by default its offset."""
    appended_at = NOW + (offset if at is None else at)
    words.setdefault("observed_at", appended_at * 1000 + 500)
    return HistoryRow(Event(Position("memory", stream, 0, offset), None, appended_at, **words), incarnation)


def segment(*rows: HistoryRow, holes=(), fates=(), covered=None) -> HistorySegment:
    """Build a segment that covers exactly the offsets of its rows, unless told otherwise."""
    ranges = [
        OffsetRange(
            each.event.position.log, each.incarnation, each.event.position.offset, each.event.position.offset + 1
        )
        for each in rows
    ]
    return HistorySegment([encode_row(each) for each in rows], ranges if covered is None else covered, holes, fates)


def offsets(rows) -> list[int]:
    return [each.event.position.offset for each in rows]


def span(start: int, end: int, incarnation: str | None = "i", partition: Partition = ORDERS) -> OffsetRange:
    return OffsetRange(partition, incarnation, start, end)


class HistoryContract:
    """The promises. Subclasses provide an empty `history`."""

    @pytest.fixture
    def history(self) -> History:
        raise NotImplementedError

    async def test_a_row_is_returned_unchanged(self, history):
        whole = HistoryRow(
            Event(
                position=Position("redis", "50%/orders\udcff", 0, (1 << 40) << 64 | (1 << 64) - 1),
                key="k",
                appended_at=1 << 40,
                observed_at=NOW * 1000,
                event_id='e"\\\n\u0001ü\U0001f600',
                type="OrderCreated",
                version="2",
                occurred_at=-5,
                aggregate_id="4711",
                aggregate_type="order",
                trace_id=(1 << 128) - 1,
                span_id=(1 << 64) - 1,
                parent_span_id=1,
                trace_origin=TraceOrigin.B3,
                correlation_id="c",
                causation_id="d",
                producer="",
                schema=SchemaRef("orders-value", 3, 7, "guid"),
                unchecked=True,
                rejection=Rejection("schema.mismatch", "expected int", "data.total"),
                replay_of="group@memory://orders/0/1",
                digest=0xFFFF_FFFF,
                hop_of="memory://orders/0/1",
            ),
            "q83vEjRWeJA",
            body='{"a": [1, null, "ü\\u0000"]}'.encode(),
            headers=b'[["a", null], ["a", "x"]]',
        )
        await history.append(segment(whole, row(1)))
        assert await history.at([whole.event.position]) == [whole]
        assert await history.at([row(1).event.position]) == [row(1)]
        assert await history.at([Position("redis", "50%/orders\udcff", 0, 3), row(2).event.position]) == []
        for word in ("event_id", "aggregate_id", "correlation_id", "causation_id", "replay_of"):
            key = HistoryKey(word, getattr(whole.event, word))
            assert (await history.find(HistorySelection(keys=[key]))).rows == [whole], word
        assert (await history.find(HistorySelection(keys=[HistoryKey("trace_id", "f" * 32)]))).rows == [whole]
        assert (await history.find(HistorySelection(streams=["50%/orders\udcff"]))).rows == [whole]

    async def test_rows_are_found_by_the_trace_id_that_is_derived_from_their_own_ids(self, history):
        rows = [
            row(1, event_id="root"),
            row(2, event_id="b", causation_id="root"),
            row(3, event_id="c", correlation_id="root"),
            row(4, event_id="d", correlation_id="root", trace_id=1),
            row(5),
        ]
        await history.append(segment(*rows))

        async def find(text: str) -> list[int]:
            key = HistoryKey("derived_trace_id", f"{derive_trace_id(text):032x}")
            return offsets((await history.find(HistorySelection(keys=[key]))).rows)

        assert await find("root") == [3, 2, 1]
        assert await find(str(rows[4].event.position)) == [5]
        assert await find("d") == []

    async def test_times_and_texts_that_no_file_can_hold_are_bounded(self, history):
        wild = row(1, at=(1 << 62) - NOW, observed_at=1 << 62, occurred_at=-(1 << 62), event_id="\ud800" + "x" * 1_000)
        wild.event.key, wild.event.digest, wild.event.span_id = "k" * 100_000, 1 << 70, 1 << 64
        await history.append(segment(wild, row(2)))
        rows = (await history.find(EVERYTHING)).rows
        assert offsets(rows) == [1, 2]
        assert len(rows[0].event.key or "") <= 512
        assert rows[0].event.span_id is None

    async def test_rows_are_found_by_any_of_several_keys(self, history):
        await history.append(segment(row(1, event_id="a"), row(2, trace_id=0xABC), row(3, aggregate_id="a"), row(4)))
        keys = [HistoryKey("event_id", "a"), HistoryKey("trace_id", f"{0xABC:032x}"), HistoryKey("event_id", "nobody")]
        assert offsets((await history.find(HistorySelection(keys=keys))).rows) == [2, 1]
        assert (await history.find(HistorySelection(keys=keys[2:]))).rows == []

    async def test_conditions_are_joined_by_and(self, history):
        no = Rejection("decode.malformed", "no")
        await history.append(
            segment(
                row(1, type="A"),
                row(2, type="B", rejection=no),
                row(3, type="A", rejection=no, producer="shop"),
                row(9, "stock", at=4),
            )
        )

        async def find(**conditions) -> list[int]:
            return offsets((await history.find(HistorySelection(**conditions))).rows)

        assert await find(types=["A"]) == [3, 1]
        assert await find(types=["A", "B"], rejected=True) == [3, 2]
        assert await find(producers=["shop", "till"]) == [3]
        assert await find(streams=["stock"]) == [9]
        assert await find(since_ms=NOW + 2, until_ms=NOW + 4) == [3, 2]
        assert await find(since_ms=NOW + 2, until_ms=NOW + 4, oldest_first=True, types=["A"]) == [3]
        assert await find(since_ms=NOW + 5) == []

    @pytest.mark.parametrize("oldest_first", [False, True])
    async def test_pages_give_each_row_once_in_order(self, history, oldest_first):
        # Rows of one time, in segments that overlap in time.
        rows = [row(offset, stream, at=offset // 3) for offset in range(40) for stream in ("orders", "stock")]
        for part in range(4):
            await history.append(segment(*rows[part::4]))
        selection, seen, cursor = HistorySelection(oldest_first=oldest_first), [], None
        for page_number in itertools.count():
            page = await history.find(selection, limit=7, cursor=cursor)
            assert len(page.rows) <= 7
            seen += page.rows
            cursor = page.cursor
            if cursor is None:
                break
            if page_number == 3:  # newer rows that arrive meanwhile do not matter
                await history.append(segment(row(1_000, at=-1 if oldest_first else 1_000)))
        assert seen == sorted(
            rows, key=lambda each: (each.event.appended_at, each.event.position), reverse=not oldest_first
        )
        with pytest.raises(ValueError, match="cursor"):
            await history.find(selection, cursor="x")

    async def test_a_row_that_is_stored_twice_is_one_event(self, history):
        await history.append(segment(row(1, event_id="e", unchecked=True), row(2)))
        await history.append(segment(row(1, event_id="e", observed_at=(NOW + 99) * 1000), row(2)))
        await history.append(segment(row(1, event_id="e", unchecked=True), row(3)))
        found = (await history.find(EVERYTHING)).rows
        assert offsets(found) == [3, 2, 1]
        assert not found[2].event.unchecked  # the row with the latest `observed_at`
        assert (await history.find(HistorySelection(keys=[HistoryKey("event_id", "e")]))).rows == [found[2]]
        assert offsets((await history.find(EVERYTHING, limit=2)).rows) == [3, 2]
        assert await history.at([row(1).event.position]) == [found[2]]
        assert (await history.coverage()).covered == [span(1, 4)]

    async def test_a_stream_that_was_created_again_has_its_own_rows(self, history):
        old, new = row(1, event_id="old"), row(1, incarnation="j", event_id="new", at=9)
        await history.append(segment(old))
        await history.append(segment(new))
        assert (await history.find(EVERYTHING)).rows == [new, old]
        assert await history.at([old.event.position]) == [new, old]
        assert (await history.coverage()).covered == [span(1, 2), span(1, 2, "j")]

    async def test_coverage_joins_ranges_and_tells_holes(self, history):
        empty = await history.coverage()
        assert (empty.events, empty.oldest_ms, empty.newest_ms, empty.covered, empty.holes) == (0, None, None, [], [])
        stock = Partition("memory", "stock", 3)
        await history.append(segment(row(10), covered=[span(10, 20), span(0, 5, None, stock)]))
        await history.append(segment(row(30), covered=[span(30, 40)], holes=[span(20, 30)]))
        await history.append(segment(covered=[span(20, 25), span(5, 9, None, stock)]))  # another member had these
        told = await history.coverage()
        assert (told.events, told.oldest_ms, told.newest_ms) == (2, NOW + 10, NOW + 30)
        assert told.covered == [span(10, 25), span(30, 40), span(0, 9, None, stock)]
        assert told.holes == [span(25, 30)]
        assert told.files > 0
        assert told.bytes > 0

    async def test_staged_rows_are_part_of_the_next_segment(self, history):
        await history.stage([encode_row(row(1)), encode_row(row(2))])
        await history.stage([])
        assert (await history.find(EVERYTHING)).rows == []
        await history.append(segment(row(3), covered=[span(1, 4)]))
        assert offsets((await history.find(EVERYTHING)).rows) == [3, 2, 1]
        await history.stage([encode_row(row(4))])
        await history.unstage()
        await history.append(segment(row(5)))
        assert offsets((await history.find(EVERYTHING)).rows) == [5, 3, 2, 1]
        assert (await history.coverage()).events == 4

    async def test_the_fate_of_a_rejected_event(self, history):
        rejected = row(1, rejection=Rejection("schema.mismatch", "no"))
        origin = rejected.event.position
        letter = DeadLetterFate(
            origin, NOW + 1, f"g@{origin}", "open", NOW * 1000, Position("memory", "orders.dlt", 0, 7)
        )
        replayed = DeadLetterFate(
            origin,
            NOW + 1,
            f"g@{origin}",
            "replayed",
            (NOW + 5) * 1000,
            Position("memory", "orders", 0, 3),
            "r1",
            "ü",
            "",
        )
        other = DeadLetterFate(row(2).event.position, NOW + 2, "g@2", "open", NOW * 1000)
        await history.append(segment(rejected, fates=[replayed]))
        await history.append(segment(fates=[letter, other]))
        await history.append(segment(fates=[letter]))  # listed twice
        assert await history.fates([origin]) == [letter, replayed]
        assert await history.fates([row(9).event.position]) == []
