"""Map: producers, streams and consumer groups, drawn, with what goes along the lines."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from rich.text import Text
from textual import on
from textual.binding import Binding
from textual.widget import Widget

from sidecar.api import models
from tui.looks import Palette, hue
from tui.query_words import term
from tui.safe import clean
from tui.screens.page import Page
from tui.times import count, micros, rate, span
from tui.widgets.columns import cut, sized
from tui.widgets.rows import Rows

SAMPLE = 1_000
"""Events, newest first, that the lines are measured on."""


@dataclass(slots=True)
class Edge:
    """What a producer sends to a stream, in the sample."""

    producer: str
    events: int = 0
    rejected: int = 0
    delays: list[float] = field(default_factory=list)
    """Milliseconds from occurring to lying in the stream."""


@dataclass(frozen=True, slots=True)
class Lane:
    """One line of the drawing: part of a producer's line, of a stream's box, of a group's line."""

    key: str
    stream: str
    row: int
    rows: int
    """Of how many lines the stream's drawing is."""
    producer: Edge | None
    share: float
    """Events a second of the producer's line."""
    group: models.Group | None
    reading: models.GroupStream | None
    status: models.StreamStatus
    producers: int
    groups: int


def lanes(status: models.ServiceStatus, groups: models.GroupPage, events: list[models.Event]) -> list[Lane]:
    """The drawing, stream by stream: the busiest first."""
    edges: dict[str, dict[str, Edge]] = defaultdict(dict)
    for event in events:
        name = event.producer or "?"
        edge = edges[event.stream].setdefault(name, Edge(name))
        edge.events += 1
        edge.rejected += event.status == "rejected"
        occurred, appended = micros(event.occurred_at), micros(event.appended_at)
        if occurred and appended:
            edge.delays.append((appended - occurred) / 1000)
    readers: dict[str, list[tuple[models.Group, models.GroupStream]]] = defaultdict(list)
    for group in groups.items:
        for reading in group.streams:
            readers[reading.stream].append((group, reading))
    found: list[Lane] = []
    for stream in sorted(status.streams, key=lambda one: (-one.events, one.stream)):
        sending = sorted(edges[stream.stream].values(), key=lambda edge: -edge.events)
        reading_here = readers[stream.stream]
        total = sum(edge.events for edge in sending) or 1
        rows = max(4, len(sending), len(reading_here))
        top, under = (rows - len(sending)) // 2, (rows - len(reading_here)) // 2
        for row in range(rows):
            sender = sending[row - top] if 0 <= row - top < len(sending) else None
            reader = reading_here[row - under] if 0 <= row - under < len(reading_here) else None
            found.append(
                Lane(
                    f"{stream.stream} {row}", stream.stream, row, rows, sender,
                    stream.rate * sender.events / total if sender else 0.0,
                    reader[0] if reader else None, reader[1] if reader else None, stream,
                    len(sending), len(reading_here),
                )
            )  # fmt: skip
        found.append(Lane(f"{stream.stream} end", stream.stream, -1, rows, None, 0, None, None, stream, 0, 0))
    return found


class Map(Page):
    PLACE = "map"
    PERIOD = 2.0
    ABOUT = (
        "Who publishes to which stream, and which groups read it. Left of a stream: events a second, the time from "
        "happening to lying in the stream (median), ✗ rejected of the newest thousand events. Right: how far a group "
        "is behind. Enter shows the events of the line under the cursor, or the event that a stopped group "
        "stands in front of."
    )
    BINDINGS = [
        Binding("f", "failing", "Its failures"),
        Binding("left_square_bracket", "stream(-1)", "Stream", key_display="[ ]"),
        Binding("right_square_bracket", "stream(1)", "Next stream", key_display="]", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._lanes: list[Lane] = []
        self._note: str | None = None

    def body(self) -> Iterable[Widget]:
        yield Rows(
            self._draw,
            lambda lane: lane.key,
            title=self._title,
            empty="Nothing to draw yet\nThe map is made of the events that were seen and the groups that read them.\n"
            "Press 7 to see which streams are watched.",
            id="lanes",
        )

    @property
    def deeper(self) -> str:
        return "Its events" if self.rows.item is not None else ""

    @property
    def rows(self) -> Rows[Lane]:
        return self.query_one("#lanes", Rows)

    async def look(self) -> None:
        status = await self.client.status()
        self.dashboard.know(status)
        groups = await self.client.groups()
        events = await self.client.events(limit=SAMPLE)
        self._lanes, self._note = lanes(status, groups, events.items), groups.note
        self.rows.show(self._lanes)

    def summary(self) -> Text:
        colours = self.colours
        streams = {lane.stream: lane.status for lane in self._lanes}
        stopped = {lane.group.group for lane in self._lanes if lane.group is not None and lane.group.stuck_at}
        text = Text(" ", no_wrap=True, overflow="ellipsis")
        text.append(f"{len(streams)} streams", colours.strong)
        text.append(f"   {rate(sum(one.rate for one in streams.values()))}", colours.text)
        bad = sum(lane.producer.rejected for lane in self._lanes if lane.producer)
        text.append(f"   ✗ {bad} of the newest {SAMPLE:,} rejected", colours.bad if bad else colours.dim)
        if stopped:
            text.append(f"   ✗ stopped: {clean(', '.join(sorted(stopped)), 100)}", f"bold {colours.bad}")
        if self._note:
            text.append(f"   {clean(self._note, 200)}", colours.warn)
        return text

    # --- drawing

    @staticmethod
    def _parts(width: int) -> tuple[int, int, int]:
        """The cells of the left side, the box and the right side."""
        box = max(16, min(30, width // 4))
        left = (width - box - 2) // 2
        return left, box, width - box - 2 - left

    def _title(self, width: int, colours: Palette) -> Text:
        left, box, right = self._parts(width)
        text = Text(" ")
        text.append_text(sized(Text("who publishes"), left - 1))
        text.append_text(sized(Text("   stream"), box + 2))
        text.append_text(sized(Text("    who reads"), right))
        return text

    def _draw(self, lane: Lane, width: int, colours: Palette) -> Text:
        if lane.row < 0:
            return Text("")
        left, box, right = self._parts(width)
        text = self._left(lane, left, colours)
        text.append_text(self._box(lane, box, colours))
        text.append_text(self._right(lane, right, colours))
        return text

    def _left(self, lane: Lane, width: int, colours: Palette) -> Text:
        middle = (lane.rows - 1) // 2
        top = (lane.rows - lane.producers) // 2
        last = top + lane.producers - 1
        joint = _joint(lane.row, top, last, middle, opens_left=True) if lane.producers else "  "
        edge = lane.producer
        if edge is None:
            return Text.assemble(" " * (width - 3), (joint + " ", colours.line))
        wide = width >= 40
        name = Text(f" {cut(clean(edge.producer, 60), max(8, width // 2 - 4))} ", hue(edge.producer, colours.hues))
        facts = Text()
        if edge.rejected:
            facts.append(f"✗{edge.rejected} ", f"bold {colours.bad}")
        if wide and edge.delays:
            facts.append(f"{span(statistics.median(edge.delays))} ", colours.dim)
        facts.append(f"{rate(lane.share)} ", colours.text)
        line = max(1, width - 3 - name.cell_len - facts.cell_len - 1)
        style = colours.bad if edge.rejected else colours.line
        name.append("─" * line, style)
        name.append(" ")
        name.append_text(facts)
        return Text.assemble(sized(name, width - 3), (joint + " ", colours.line))

    def _box(self, lane: Lane, width: int, colours: Palette) -> Text:
        status = lane.status
        style = colours.bad if status.held else colours.info
        middle = (lane.rows - 1) // 2
        if lane.row == middle:
            name = Text(clean(lane.stream, 100), f"bold {hue(lane.stream, colours.hues)}")
            inner = sized(Text.assemble(" ", name), width - 2)
        elif lane.row == middle + 1 and lane.rows > 2:
            words = Text(f" {rate(status.rate)}", colours.text)
            if status.rejected:
                words.append(f"  ✗{count(status.rejected)}", colours.bad)
            if status.lag:
                words.append(f"  {count(status.lag)} behind", colours.warn)
            if status.held:
                words = Text(" ‖ held", f"bold {colours.bad}")
            inner = sized(words, width - 2)
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

    def _right(self, lane: Lane, width: int, colours: Palette) -> Text:
        middle = (lane.rows - 1) // 2
        top = (lane.rows - lane.groups) // 2
        last = top + lane.groups - 1
        joint = _joint(lane.row, top, last, middle, opens_left=False) if lane.groups else "  "
        text = Text.assemble((" " + joint, colours.line))
        group, reading = lane.group, lane.reading
        if group is None or reading is None:
            return sized(text, width)
        stuck = group.stuck_at is not None and any(_stream_of(stop.position) == lane.stream for stop in group.stopped)
        facts = Text()
        if stuck:
            facts.append("✗ stopped ", f"bold {colours.bad}")
        elif reading.lag is None:
            facts.append("lag ? ", colours.dim)
        elif reading.lag:
            facts.append(f"{count(reading.lag)} behind ", colours.warn)
        else:
            facts.append("✓ up to date " if width >= 40 else "✓ ", colours.good)
        if reading.rate is not None:
            facts.append(f"{rate(reading.rate)} ", colours.dim)
        style = colours.bad if stuck else colours.line
        text.append("─▶ ", style)
        text.append(
            cut(clean(group.group, 60), max(8, width - text.cell_len - facts.cell_len - 2)), "bold " + colours.text
        )
        text.append("  ")
        text.append_text(facts)
        return sized(text, width)

    # --- what people do

    @on(Rows.Chosen)
    def _chosen(self, event: Rows.Chosen) -> None:
        lane: Lane = event.item
        for stop in lane.group.stopped if lane.group is not None else ():
            if _stream_of(stop.position) == lane.stream:
                self.dashboard.open_flow(stop.position, at=stop.position)
                return
        self.dashboard.open_live(self._query(lane))

    @staticmethod
    def _query(lane: Lane) -> str:
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
        streams = list(dict.fromkeys(one.stream for one in self._lanes))
        at = max(0, min(len(streams) - 1, streams.index(lane.stream) + by))
        self.rows.select(f"{streams[at]} 0")


def _joint(row: int, top: int, last: int, middle: int, *, opens_left: bool) -> str:
    """The piece of the brace between the lines of one side and the stream's box, two cells."""
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


def _stream_of(position: str) -> str:
    """The stream in a position such as `kafka://orders/0/4711`."""
    kind, _, rest = position.partition("://")
    parts = rest.split("/")
    return "/".join(parts[:-2] if kind == "kafka" else parts[:-1])
