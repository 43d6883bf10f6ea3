"""The map screen: producers, streams and consumer groups, with rates and lag."""

from __future__ import annotations

import statistics
from collections.abc import Iterable

from rich.text import Text
from textual import on
from textual.binding import Binding
from textual.widget import Widget

from tui.query_completion import term
from tui.screens.base_screen import BaseScreen
from tui.text import time_format
from tui.text.columns import cut, fit_exactly
from tui.text.sanitize import clean
from tui.text.time_format import age, count, newest_of, rate, span
from tui.text.topology_lines import TopologyLine, stream_of, topology_lines
from tui.theme import Palette, hue
from tui.widgets.virtual_list import VirtualList

SAMPLE_EVENTS = 1_000
"""Newest events that the lines are computed from."""


class TopologyScreen(BaseScreen):
    """A map of producers, streams and consumer groups."""

    PLACE = "map"
    REFRESH_INTERVAL_S = 2.0
    ABOUT = (
        "Which producers publish to which stream, and which groups consume it. Left of a stream: events per second, "
        "the median time from occurrence to append, and ✗ rejected events, all of the newest thousand events. Right: "
        "the lag of a group, in events and as an estimated time (~). Enter shows the events of the line under the "
        "cursor, or the event at which a group stopped."
    )
    BINDINGS = [
        Binding("f", "failing", "Rejected events"),
        Binding("left_square_bracket", "stream(-1)", "Stream", key_display="[ ]"),
        Binding("right_square_bracket", "stream(1)", "Next stream", key_display="]", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._lanes: list[TopologyLine] = []
        self._note: str | None = None
        self._sampled = ""

    def body(self) -> Iterable[Widget]:
        yield VirtualList(
            self._draw,
            lambda lane: lane.key,
            title=self._title,
            stops=_says,
            empty="Nothing to show yet\nThe map shows the events that were seen and the groups that consume them.\n"
            "Press 7 to see which streams are watched.",
            id="lanes",
        )

    @property
    def enter_hint(self) -> str:
        lane = self.rows.item
        if lane is None:
            return ""
        return "Open event" if self._stop(lane) is not None else "Show events"

    @property
    def rows(self) -> VirtualList[TopologyLine]:
        return self.query_one("#lanes", VirtualList)

    async def look(self) -> None:
        status = await self.client.status()
        self.dashboard.learn_status(status)
        groups = await self.client.groups()
        events = await self.client.events(limit=SAMPLE_EVENTS)
        self._lanes, self._note = topology_lines(status, groups, events.items), groups.note
        self._sampled = newest_of(len(events.items), events.coverage.events, "events")
        self.rows.show(self._lanes)

    def summary(self) -> Text:
        colors = self.theme_styles
        streams = {lane.stream: lane.status for lane in self._lanes}
        stopped = {lane.group.group for lane in self._lanes if lane.group is not None and lane.group.stuck_at}
        text = Text(" ", no_wrap=True, overflow="ellipsis")
        text.append(f"{len(streams)} streams", colors.strong)
        text.append(f"   {rate(sum(stream.rate for stream in streams.values()))}", colors.text)
        bad = sum(lane.producer.rejected for lane in self._lanes if lane.producer)
        text.append(
            f"   ✗ {count(bad)} rejected of {'the ' if 'of' in self._sampled else ''}{self._sampled}",
            colors.bad if bad else colors.dim,
        )
        if stopped:
            text.append(f"   ✗ stopped: {clean(', '.join(sorted(stopped)), 100)}", f"bold {colors.bad}")
        if self._note:
            text.append(f"   {clean(self._note, 200)}", colors.warn)
        return text

    # --- drawing

    @staticmethod
    def _parts(width: int) -> tuple[int, int, int]:
        """Return the widths of the left side, the boxes and the right side, in cells."""
        box = max(21, min(30, width // 4))
        left = (width - box - 2) // 2
        return left, box, width - box - 2 - left

    def _title(self, width: int, colors: Palette) -> Text:
        left, box, right = self._parts(width)
        text = Text(" ")
        text.append_text(fit_exactly(Text("producers"), left - 1))
        text.append_text(fit_exactly(Text("   stream"), box + 2))
        text.append_text(fit_exactly(Text("    groups"), right))
        return text

    def _draw(self, lane: TopologyLine, width: int, colors: Palette) -> Text:
        if lane.row < 0:
            return Text("")
        left, box, right = self._parts(width)
        text = self._left(lane, left, colors)
        text.append_text(self._box(lane, box, colors))
        text.append_text(self._right(lane, right, colors))
        return text

    def _left(self, lane: TopologyLine, width: int, colors: Palette) -> Text:
        middle = (lane.rows - 1) // 2
        top = (lane.rows - lane.producers) // 2
        last = top + lane.producers - 1
        joint = _joint(lane.row, top, last, middle, opens_left=True) if lane.producers else "  "
        edge = lane.producer
        if edge is None:
            return Text.assemble(" " * (width - 3), (joint + " ", colors.line))
        facts = Text()
        if edge.rejected:
            facts.append(f"✗{edge.rejected} ", f"bold {colors.bad}")
        if edge.delays:
            facts.append(f"{span(statistics.median(edge.delays))} ", colors.dim)
        facts.append(f"{rate(lane.share)} ", colors.text)
        room = max(4, min(width // 2 - 2, width - 8 - facts.cell_len))
        producer = "unknown" if edge.producer == "?" else clean(edge.producer, 60)
        name = Text(f" {cut(producer, room)} ", hue(edge.producer, colors.hues))
        line = max(1, width - 3 - name.cell_len - facts.cell_len - 1)
        style = colors.bad if edge.rejected else colors.line
        name.append("─" * line, style)
        name.append(" ")
        name.append_text(facts)
        return Text.assemble(fit_exactly(name, width - 3), (joint + " ", colors.line))

    def _box(self, lane: TopologyLine, width: int, colors: Palette) -> Text:
        status = lane.status
        style = colors.bad if status.held else colors.info
        middle = (lane.rows - 1) // 2
        if lane.row == middle:
            name = Text(clean(lane.stream, 100), f"bold {hue(lane.stream, colors.hues)}")
            inner = fit_exactly(Text.assemble(" ", name), width - 2)
        elif lane.row == middle + 1 and lane.rows > 2:
            parts = [Text(rate(status.rate), colors.text)]
            if status.rejected:
                parts.append(Text(f"✗{count(status.rejected)}", colors.bad))
            if status.lag:
                parts.append(Text(f"lag {count(status.lag)}", colors.warn))
            if status.held:
                parts = [Text("‖ held", f"bold {colors.bad}")]
            wide = sum(part.cell_len + 2 for part in parts) < width - 2
            words = Text(" ").append_text(Text("  " if wide else " ").join(parts))
            inner = fit_exactly(words, width - 2)
        else:
            inner = Text(" " * (width - 2))
        edges = "┃" if status.held else "│"
        if lane.row == middle - 1 and lane.rows > 2:
            return Text("╭" + "─" * (width - 2) + "╮", style)
        if lane.row == middle + 2:
            return Text("╰" + "─" * (width - 2) + "╯", style)
        if lane.row in (middle, middle + 1):
            return Text.assemble((edges, style), inner, (edges, style))
        return Text(" " * width)

    def _right(self, lane: TopologyLine, width: int, colors: Palette) -> Text:
        middle = (lane.rows - 1) // 2
        top = (lane.rows - lane.groups) // 2
        last = top + lane.groups - 1
        joint = _joint(lane.row, top, last, middle, opens_left=False) if lane.groups else "  "
        text = Text.assemble((" " + joint, colors.line))
        group, reading = lane.group, lane.reading
        if group is None or reading is None:
            return fit_exactly(text, width)
        stuck = group.stuck_at is not None and any(stream_of(stop.position) == lane.stream for stop in group.stopped)
        facts = Text()
        if stuck:
            since = min((stop.since for stop in group.stopped if stop.since), default=None)
            facts.append(f"✗ stopped {age(since, time_format.now())} " if since else "✗ stopped ", f"bold {colors.bad}")
        elif reading.lag is None:
            facts.append("lag ? ", colors.dim)
        elif reading.lag:
            facts.append(f"lag {count(reading.lag)} ", colors.warn)
            facts.append(f"{lane.behind} " if lane.behind and width >= 40 else "", colors.warn)
        else:
            facts.append("✓ up to date " if width >= 40 else "✓ ", colors.good)
        if reading.rate is not None and width >= 40:
            facts.append(f"{rate(reading.rate)} ", colors.dim)
        style = colors.bad if stuck else colors.line
        text.append("─▶ ", style)
        text.append(
            cut(clean(group.group, 60), max(8, width - text.cell_len - facts.cell_len - 2)), "bold " + colors.text
        )
        text.append("  ")
        text.append_text(facts)
        return fit_exactly(text, width)

    # --- what people do

    @on(VirtualList.Chosen)
    def _chosen(self, event: VirtualList.Chosen) -> None:
        lane: TopologyLine = event.item
        if (position := self._stop(lane)) is not None:
            self.dashboard.open_flow(position, at=position)
        else:
            self.dashboard.open_live(self._query(lane))

    @staticmethod
    def _stop(lane: TopologyLine) -> str | None:
        """Return the position in this stream at which the line's group has stopped."""
        stops = lane.group.stopped if lane.group is not None else ()
        return next((stop.position for stop in stops if stream_of(stop.position) == lane.stream), None)

    @staticmethod
    def _query(lane: TopologyLine) -> str:
        query = term("stream", lane.stream)
        if lane.producer is not None and lane.producer.producer != "?":
            query += " " + term("producer", lane.producer.producer)
        return query

    def action_failing(self) -> None:
        if (lane := self.rows.item) is not None:
            self.dashboard.open_live(self._query(lane) + " status:rejected")

    def action_stream(self, by: int) -> None:
        lane = self.rows.item
        if lane is None:
            return
        streams = list(dict.fromkeys(line.stream for line in self._lanes))
        at = max(0, min(len(streams) - 1, streams.index(lane.stream) + by))
        self.rows.select(f"{streams[at]} {_middle(self._lanes, streams[at])}")


def _says(lane: TopologyLine) -> bool:
    """Return True if the line names a producer, a group or the stream."""
    return lane.producer is not None or lane.group is not None or lane.row == (lane.rows - 1) // 2


def _middle(lanes: list[TopologyLine], stream: str) -> int:
    """Return the row with the stream's name."""
    return next(((lane.rows - 1) // 2 for lane in lanes if lane.stream == stream), 0)


def _joint(row: int, top: int, last: int, middle: int, *, opens_left: bool) -> str:
    """Return the two cells of the brace between the lines of one side and the stream's box."""
    first, end = min(top, middle), max(last, middle)
    here = top <= row <= last
    if row < first or row > end:
        return "  "
    if first == end:
        return "─▶" if opens_left else "──"
    up, down = row > first, row < end
    out = row == middle
    if opens_left:
        left, right = here, out
    else:
        left, right = out, here
    char = _CROSS[up, down, left, right]
    if opens_left:
        return char + ("▶" if right else " ")
    return ("─" if left else " ") + char


_CROSS = {
    (False, True, True, False): "╮", (False, True, False, True): "╭", (False, True, True, True): "┬",
    (True, False, True, False): "╯", (True, False, False, True): "╰", (True, False, True, True): "┴",
    (True, True, True, False): "┤", (True, True, False, True): "├", (True, True, True, True): "┼",
    (True, True, False, False): "│", (False, True, False, False): "╷", (True, False, False, False): "╵",
}  # fmt: skip
