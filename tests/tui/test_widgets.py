"""Times, columns, the live buffer, outlines of schemas, and imports of the dashboard."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from sidecar.api import models
from tests.support.dashboard_data import event, service_status, stream_status
from tui.live_buffer import LiveBuffer
from tui.open_browser import has_browser
from tui.text.columns import Column, fit, fit_exactly, wrap
from tui.text.names import NameBook
from tui.text.schema_changes import differences, outline_of
from tui.text.status_lines import entries
from tui.text.time_format import clock, coarse, micros, rate, span


@pytest.mark.parametrize(
    ("milliseconds", "said"),
    [(None, "·"), (0, "0 ms"), (0.25, "250 µs"), (7, "7 ms"), (1_240, "1.24 s"), (61_000, "61.0 s"),
     (186_000, "3.1 min"), (1e8, "27.8 h"), (1e9, "11.6 d")],
)  # fmt: skip
def test_durations_are_short(milliseconds: float | None, said: str) -> None:
    assert span(milliseconds) == said


def test_times_of_the_api_are_read() -> None:
    assert micros("1970-01-01T00:00:01.5Z") == 1_500_000
    assert micros("nonsense") is None
    assert clock("2026-11-24T10:39:01Z") == "10:39:01.000"
    assert clock(None) == "·"
    assert (coarse(30), coarse(600), rate(0.4), rate(1200)) == ("30 s", "10 min", "0.4/s", "1,200/s")


@given(
    st.lists(st.tuples(st.integers(1, 30), st.integers(0, 50), st.integers(0, 3)), min_size=1, max_size=8),
    st.integers(31, 250),
)
def test_columns_never_are_wider_than_the_screen(columns: list[tuple[int, int, int]], width: int) -> None:
    made = [Column(str(n), "x", least, least + more, rank) for n, (least, more, rank) in enumerate(columns)]
    widths = fit(made, width)
    assert widths
    assert sum(widths.values()) + 2 * (len(widths) - 1) <= width


@given(st.text("ab漢字é ", max_size=40), st.integers(1, 30))
def test_a_cell_has_exactly_its_width_also_with_wide_characters(text: str, width: int) -> None:
    assert fit_exactly(Text(text), width).cell_len == width


@given(st.text("ab漢 ", max_size=200), st.integers(4, 30))
def test_wrapped_lines_fit(text: str, width: int) -> None:
    assert all(Text(line).cell_len <= width for line in wrap(text, width))


def test_the_feed_leaves_out_what_it_has_and_forgets_the_oldest() -> None:
    feed = LiveBuffer(kept=3)
    feed.fill([event(1, "orders", "A", 0), event(2, "orders", "A", 0)])
    for number in (2, 3, 4):
        feed.add(event(number, "orders", "A", 0))
    assert [seen.event.position[-1] for seen in feed.rows()] == ["2", "3", "4"]
    feed.add(event(1, "orders", "A", 0))  # the buffer has forgotten it, so it is new
    assert [seen.number for seen in feed.rows()] == [3, 4, 5]


def test_its_rate_is_of_the_last_seconds() -> None:
    now = [0.0]
    feed = LiveBuffer(now=lambda: now[0])
    feed.tick()
    for number in range(50):
        feed.add(event(number, "orders", "A", 0))
    now[0] = 2.0
    assert feed.tick() == 25.0


def test_schemas_differ_by_lines_of_their_outlines() -> None:
    before = [(0, "shop.Parcel", "record"), (1, "parcelId", "string"), (1, "items", "array of record Item")]
    after = [(0, "shop.Parcel", "record"), (1, "parcelId", "int"), (1, "items", "array of record Item")]
    changed = [line for line in differences(before, after) if line[0] != " "]
    assert changed == [("-", 1, "parcelId", "string"), ("+", 1, "parcelId", "int")]


def test_a_schema_of_an_older_sidecar_is_shown_by_its_text() -> None:
    subject = models.SubjectModel(
        subject="orders-value", versions=[1], compatibility=None, kind="AVRO", id=1, seen=[], text="a\nb"
    )
    assert outline_of(subject) == [(0, "a", ""), (0, "b", "")]


def test_the_dashboard_loads_no_broker_client_and_no_schema_library() -> None:
    code = (
        "import tui.app, sys; print([m for m in ('aiokafka', 'redis', 'fastavro', 'opentelemetry', 'litestar', "
        "'aiohttp', 'sidecar.domain.model', 'sidecar.config.schema') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("environment", "platform", "has"),
    [
        ({}, "linux", False),
        ({"DISPLAY": ":0"}, "linux", True),
        ({}, "darwin", True),
        ({"SSH_TTY": "/dev/pts/1"}, "darwin", False),
        ({"SSH_CONNECTION": "x", "BROWSER": "my-opener"}, "linux", True),
    ],
)
def test_no_browser_is_opened_in_the_terminal_itself(environment: dict[str, str], platform: str, has: bool) -> None:
    assert has_browser(environment, platform) is has


def test_a_stream_says_which_partitions_are_behind() -> None:
    behind = [
        models.PartitionLagModel(partition=n, lag=lag, settled_here=True)
        for n, lag in ((3, 1_203), (0, 12), (2, 4), (9, 1))
    ]
    status = service_status(streams=[stream_status("orders", partitions=12, lag=1_220, behind=behind)])
    (row,) = [entry for entry in entries(status, None, None, NameBook()) if entry.key == "stream orders"]
    assert row.cells[-1] == "reading; lag 1,203 in partition 3, 12 in 0, 4 in 2 and 1 more"
