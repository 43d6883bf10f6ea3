"""Layout of a flow: the tree, folded duplicates, and where bars begin and end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.support.dashboard_data import at, event, flow
from tui.text.names import NameBook
from tui.text.waterfall_layout import bar, find_pause, shape, ticks, waterfall
from tui.text.waterfall_lines import draw, title
from tui.theme import DARK, palette


def test_lines_are_below_their_cause_with_the_time_since_it() -> None:
    fall = waterfall(flow())
    said = [(line.guide, line.event.type, line.gap) for line in fall.lines if not line.why]
    assert said == [
        ("", "OrderPlaced", None),
        ("├╴", "PaymentAuthorized", 120.0),
        ("│ └╴", "shop.ParcelDispatched", 280.0),
        ("│   └┄", "CustomerNotified", 100.0),
        ("└╴", "PointsGranted", 1100.0),
    ]
    assert fall.length == 1100.0


def test_a_duplicate_is_folded_into_the_first_until_it_is_opened() -> None:
    (first,) = [line for line in waterfall(flow()).lines if line.copies]
    assert (first.key, first.copies, first.folded) == ("kafka://payments/0/2", 1, True)
    opened = waterfall(flow(), {first.key}).lines
    assert "kafka://payments/0/5" in [line.key for line in opened]


def test_effects_of_a_folded_duplicate_are_shown() -> None:
    events = [
        event(1, "orders", "A", 0),
        event(2, "orders", "A", 10, event_id="e-1", status="duplicate"),
        event(3, "payments", "B", 20, parent="kafka://orders/0/2", depth=1),
    ]
    assert [line.event.type for line in waterfall(flow(events)).lines] == ["A", "B"]


def test_a_rejection_has_its_reason_below() -> None:
    (why,) = [line for line in waterfall(flow()).lines if line.why]
    assert why.why.startswith("items[1].qty: expected int")
    assert why.key == "kafka://shipping/0/3 why"


def test_a_missing_cause_is_marked() -> None:
    lines = waterfall(flow([event(2, "payments", "B", 0, causation_id="gone")])).lines
    assert lines[0].missing


def test_a_chain_of_ten_thousand_is_no_recursion() -> None:
    events = [event(0, "orders", "A", 0)]
    events += [event(n, "orders", "A", n % 60_000, parent=f"kafka://orders/0/{n - 1}") for n in range(1, 10_000)]
    lines = waterfall(flow(events)).lines
    assert len(lines) == 10_000
    assert max(len(line.guide) for line in lines) < 40


def test_a_long_pause_before_a_replay_is_folded_with_a_mark() -> None:
    """The first second and the last one keep their places; an hour between them takes a few cells."""
    hour = 3_600_000
    events = [
        event(1, "orders", "A", 0),
        event(2, "payments", "B", 400, parent="kafka://orders/0/1", depth=1, status="rejected"),
        event(3, "stock", "C", 900, parent="kafka://orders/0/1", depth=1),
    ]
    late = [
        event(4, "payments", "B", 0, parent="kafka://orders/0/1", depth=1, status="replayed",
              occurred_at="2026-11-24T11:39:01Z", appended_at="2026-11-24T11:39:01Z"),
        event(5, "shipping", "D", 0, parent="kafka://payments/0/4", depth=2,
              occurred_at="2026-11-24T11:39:01.500Z", appended_at="2026-11-24T11:39:01.500Z"),
    ]  # fmt: skip
    fall = waterfall(flow([*events, *late]))
    assert fall.pause is not None
    assert (fall.pause.begins, round(fall.pause.duration)) == (900.0, hour + 100)
    assert fall.length == hour + 1_500
    assert fall.axis_length < 2_000
    names, colors = NameBook(), palette(DARK)
    lines = [draw(fall, 20, line, 100, colors, names).plain for line in fall.lines]
    assert all("⋯" in line for line in lines), lines
    head = title(fall, 20, 100, colors, names).plain
    assert "⋯ 60.0 min ⋯" in head
    assert "+60.0 min" in next(line for line in lines if "↻" in line)  # the real time since the cause
    assert waterfall(flow(events)).pause is None


@given(st.lists(st.floats(0, 1e7), min_size=2, max_size=12))
def test_a_folded_axis_keeps_the_order_of_times(times: list[float]) -> None:
    pause = find_pause(times)
    if pause is not None:
        placed = [pause.place(time) for time in sorted(times)]
        assert placed == sorted(placed)


def test_a_replayed_event_is_at_the_time_of_its_replay() -> None:
    events = [event(1, "orders", "A", 0), event(2, "orders", "A", 5, appended_at=at(900), replay_of="x")]
    assert [line.at for line in waterfall(flow(events)).lines] == [0.0, 900.0]


def test_times_that_are_missing_or_run_backwards_draw_nothing_wrong() -> None:
    events = [
        event(1, "orders", "A", 500),
        event(2, "orders", "B", 100, parent="kafka://orders/0/1"),
        event(3, "orders", "C", 0, occurred_at=None, appended_at=None, parent="kafka://orders/0/1"),
    ]
    lines = {line.event.type: line for line in waterfall(flow(events)).lines}
    assert lines["B"].gap == -400.0
    assert bar(lines["B"], 400.0, 20) == (0, "", 0)
    assert bar(lines["C"], 400.0, 20) == (0, "", -1)


@given(st.integers(0, 10**10), st.integers(1, 200))
def test_bars_and_ticks_stay_on_the_axis(micros: int, width: int) -> None:
    length = micros / 1000
    for line in waterfall(flow()).lines:
        begins, stretch, mark = bar(line, length, width)
        assert 0 <= begins <= max(mark, begins)
        assert mark < width
        assert begins + len(stretch) <= max(mark, begins)
    assert all(0 <= cell < width or width < 2 for cell, _ in ticks(length, width))


def test_the_shape_counts_events_over_time_and_marks_failures() -> None:
    assert shape(flow(), 4) == [(3, False), (2, True), (0, False), (1, False)]
    assert shape(flow([]), 3) == [(0, False)] * 3
