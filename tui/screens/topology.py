"""The map screen: producers, streams and consumer groups, with rates and lag."""

from __future__ import annotations

from collections.abc import Iterable

from rich.text import Text
from textual import on
from textual.binding import Binding
from textual.widget import Widget

from tui.query_completion import term
from tui.screens.base_screen import BaseScreen
from tui.text.sanitize import clean
from tui.text.time_format import count, newest_of, rate
from tui.text.topology_cells import draw_title, draw_topology
from tui.text.topology_lines import (
    UNKNOWN_PRODUCER,
    StreamNode,
    TopologyLine,
    common_prefixes,
    select_nodes,
    stream_nodes,
    topology_lines,
)
from tui.widgets.virtual_list import VirtualList

SAMPLE_EVENTS = 1_000
"""Newest events that the lines are computed from."""
NOTHING = (
    "Nothing to show yet\nThe map shows the events that were seen and the groups that consume them.\n"
    "Press 7 to see which streams are watched."
)
NO_MATCH = "No stream matches\nEsc shows all, / changes the search."


class TopologyScreen(BaseScreen):
    """A map of producers, streams and consumer groups."""

    PLACE = "map"
    REFRESH_INTERVAL_S = 2.0
    QUERYING = "payments   or   service:payments   or   stream:orders"
    COMPLETES = False
    ABOUT = (
        "Which producers publish to which stream, and which groups consume it; one line a stream, by name. Space "
        "opens a stream: for each producer its rate and the median time until its events are appended, for each group "
        "its lag, in events and in time. o shows only what is next to the stream or service under the cursor. c "
        "collapses streams with the same beginning. Enter shows the events of the line, or the event at which a group "
        "stopped. / searches by a part of a name. Rejected events (✗) are those of the newest thousand events."
    )
    BINDINGS = [
        Binding("space", "expand", "Expand"),
        Binding("o", "outward", "Around it"),
        Binding("c", "collapse", "Collapse"),
        Binding("f", "failing", "Rejected events"),
        Binding("left_square_bracket", "stream(-1)", "Previous stream", key_display="[", show=False),
        Binding("right_square_bracket", "stream(1)", "Next stream", key_display="]", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._streams: list[StreamNode] = []
        self._listed: list[StreamNode] = []
        self._opened: set[str] = set()
        self._prefixes: list[str] = []
        self._note: str | None = None
        self._sampled = ""

    def body(self) -> Iterable[Widget]:
        yield VirtualList(
            lambda line, width, colors: draw_topology(line, width, colors, self.names),
            lambda line: line.key,
            title=lambda width, colors: draw_title(width, colors, self.names),
            empty=NOTHING,
            id="lanes",
        )

    @property
    def enter_hint(self) -> str:
        line = self.rows.item
        if line is None:
            return ""
        if line.prefix:
            return "Expand"
        return "Open event" if _stop(line) is not None else "Show events"

    def offers(self, action: str) -> bool:
        return action != "collapse" or bool(self._prefixes or common_prefixes(node.stream for node in self._streams))

    @property
    def rows(self) -> VirtualList[TopologyLine]:
        return self.query_one("#lanes", VirtualList)

    async def judge(self, query: str) -> str | None:
        """Accept any words: they are parts of names."""
        return None

    async def look(self) -> None:
        status = await self.client.status()
        self.dashboard.learn_status(status)
        groups = await self.client.groups()
        events = await self.client.events(limit=SAMPLE_EVENTS)
        self.names.learn_events(events.items)
        for group in groups.items:
            self.names.groups.learn(group.group)
        self._streams, self._note = stream_nodes(status, groups, events.items), groups.note
        self._sampled = newest_of(len(events.items), events.coverage.events, "events")
        self._show()

    def _show(self, at: str | None = None) -> None:
        self._listed = select_nodes(self._streams, self.asked) if self.asked else self._streams
        self.rows.empty = NO_MATCH if self.asked and self._streams else NOTHING
        self.rows.show(topology_lines(self._listed, self._opened, self._prefixes), at=at)
        self.say()

    def ask(self, query: str) -> None:
        self.asked = query
        self._show()

    def summary(self) -> Text:
        colors, nodes = self.theme_styles, self._listed
        readers = [reader for node in nodes for reader in node.readers]
        stopped = {reader.group.group for reader in readers if reader.stop is not None}
        text = Text(" ", no_wrap=True, overflow="ellipsis")
        of = f" of {len(self._streams)}" if len(nodes) < len(self._streams) else ""
        text.append(f"{len(nodes)}{of} streams", colors.strong)
        text.append(f"   {rate(sum(node.status.rate for node in nodes))}", colors.text)
        if stopped:
            text.append(f"   ✗ stopped: {clean(', '.join(sorted(stopped)), 100)}", f"bold {colors.bad}")
        bad = sum(node.rejected for node in nodes)
        sample = f"the {self._sampled}" if self._sampled.startswith("newest") else self._sampled
        text.append(f"   ✗ {count(bad)} rejected of {sample}", colors.bad if bad else colors.dim)
        if self._note:
            text.append(f"   {clean(self._note, 200)}", colors.warn)
        return text

    # --- what people do

    @on(VirtualList.Chosen)
    def _chosen(self, event: VirtualList.Chosen) -> None:
        line: TopologyLine = event.item
        if line.prefix:
            self.action_expand()
        elif (position := _stop(line)) is not None:
            self.dashboard.open_flow(position, at=position)
        else:
            self.dashboard.open_live(_query(line))

    def action_expand(self) -> None:
        """Show or hide the lines of a stream's producers and groups, or of the streams of a prefix."""
        if (line := self.rows.item) is not None:
            name = line.prefix or line.stream
            self._opened ^= {name}
            self._show(at=line.key if line.prefix else f"stream {line.stream}")

    def action_collapse(self) -> None:
        self._prefixes = [] if self._prefixes else common_prefixes(node.stream for node in self._streams)
        if not self._prefixes:
            self._opened = {name for name in self._opened if not name.endswith(".")}
        self._show()

    def action_outward(self) -> None:
        """Show only what is next to the service or stream under the cursor."""
        line = self.rows.item
        if line is None or line.prefix:
            self.app.notify("Select a stream, a producer or a group first: Space opens this line", timeout=3)
        elif line.producer is not None:
            self.ask(f"service:{line.producer.producer}")
        elif line.reader is not None:
            self.ask(f"service:{line.reader.group.group}")
        else:
            self.ask(f"stream:{line.stream}")

    def action_failing(self) -> None:
        if (line := self.rows.item) is not None:
            self.dashboard.open_live(_query(line) + " status:rejected")

    def action_stream(self, by: int) -> None:
        line = self.rows.item
        if line is None:
            return
        keys = [other.key for other in self.rows.items if other.producer is None and other.reader is None]
        here = f"prefix {line.prefix}" if line.prefix else f"stream {line.stream}"
        self.rows.select(keys[max(0, min(len(keys) - 1, keys.index(here) + by))])


def _stop(line: TopologyLine) -> str | None:
    """Return the position at which the line's group has stopped, or any group of the line's stream."""
    if line.producer is not None or line.prefix:
        return None
    readers = (line.reader,) if line.reader is not None else line.nodes[0].readers
    return next((reader.stop.position for reader in readers if reader.stop is not None), None)


def _query(line: TopologyLine) -> str:
    if line.prefix:
        return f"stream:{line.prefix}*"
    query = term("stream", line.stream)
    if line.producer is not None and line.producer.producer != UNKNOWN_PRODUCER:
        query += " " + term("producer", line.producer.producer)
    return query
