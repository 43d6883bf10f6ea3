"""The flows screen: recent flows."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from rich.text import Text
from textual import on
from textual.binding import Binding
from textual.widget import Widget

from sidecar.api import models
from sidecar.api.client.client import ClientError, NotFound
from tui.screens.base_screen import BaseScreen
from tui.text import time_format, waterfall_layout
from tui.text.columns import Column, Needs, fit, line, titles
from tui.text.name_cells import id_cell, streams_cell, type_cell
from tui.text.names import NameBook
from tui.text.sanitize import clean
from tui.text.time_format import clock_in, count, span
from tui.theme import Palette, mark, tone
from tui.widgets.virtual_list import VirtualList

MAX_LISTED_FLOWS = 200
"""Most flows listed."""
MAX_MATCHED_EVENTS = 1_000
"""Most events that a query is matched against, newest first."""
SHAPE_CELLS = 12
_MAX_CONCURRENT_READS = 8
_MAX_CACHED_SUMMARIES = 600
ORDERS = ("newest", "rejected and slow", "longest", "most events")
_BLOCKS = " ▂▃▄▅▆▇█"

COLUMNS = (
    Column("mark", " ", 1, 1),
    Column("started", "started", 8, 12),
    Column("root", "first event", 14, 26),
    Column("aggregate", "aggregate", 11, 22),
    Column("duration", "duration", 8, 8, right=True),
    Column("events", "events", 6, 6, right=True),
    Column("shape", "shape", SHAPE_CELLS, SHAPE_CELLS, rank=1),
    Column("status", "status", 9, 22, rank=2),
    Column("streams", "streams", 20, 400, rank=3),
)


@dataclass(frozen=True, slots=True)
class FlowSummary:
    """Summary of a flow for the list. Its events are not kept, because there may be thousands."""

    root: str | None
    """Type of the first event."""
    why: str
    """Code of the first rejection; empty without one."""
    failed: str | None
    """Position of the first rejected event."""
    shape: tuple[tuple[int, bool], ...]

    @classmethod
    def of(cls, flow: models.FlowModel) -> FlowSummary:
        events = flow.events if isinstance(flow.events, list) else []
        return cls(
            root=events[0].type if events else None,
            why=next((event.rejection.code for event in events if event.rejection is not None), ""),
            failed=next((event.position for event in events if event.status == "rejected"), None),
            shape=tuple(waterfall_layout.shape(flow, SHAPE_CELLS)),
        )


@dataclass(frozen=True, slots=True)
class ListedFlow:
    """A listed flow, with its summary once it was read."""

    flow: models.FlowModel
    gist: FlowSummary | None


def needs(names: NameBook) -> Needs:
    return names.needs(root=names.types)


def draw(shown: ListedFlow, width: int, colors: Palette, names: NameBook) -> Text:
    flow, widths = shown.flow, fit(COLUMNS, width - 2, needs(names))
    style = tone(flow.status, colors)
    gist = shown.gist
    slow = (flow.duration_ms or 0) >= 1_000
    cells = {
        "mark": Text(mark(flow.status), style),
        "started": Text(clock_in(flow.started_at, widths.get("started", 12)), colors.dim),
        "root": type_cell(gist.root, widths, colors, names, "root") if gist is not None else Text("…", colors.dim),
        "aggregate": id_cell(flow.aggregates[0] if flow.aggregates else None, widths.get("aggregate", 0), colors),
        "duration": Text(span(flow.duration_ms), colors.warn if slow else colors.text),
        "events": Text(str(flow.event_count), colors.text),
        "shape": _shape(gist, colors),
        "status": Text(clean((gist.why if gist is not None else "") or flow.status, 40), style),
        "streams": streams_cell(flow.streams, widths.get("streams", 0), colors, names),
    }
    return line(COLUMNS, cells, widths)


def _shape(gist: FlowSummary | None, colors: Palette) -> Text:
    text = Text()
    if gist is None:
        return text
    most = max((number for number, _ in gist.shape), default=0) or 1
    for number, bad in gist.shape:
        if number == 0:
            text.append("·", colors.line)
        elif bad:
            text.append("✗", f"bold {colors.bad}")
        else:
            text.append(_BLOCKS[max(1, round(number / most * 7))], colors.info)
    return text


class FlowsScreen(BaseScreen):
    """The list of recent flows, with a query and a sort order."""

    PLACE = "flows"
    QUERYING = "aggregate:order-1010   or   stream:payments status:rejected"
    REFRESH_INTERVAL_S = 1.5
    ABOUT = (
        "Flows are events that belong together. A query selects the flows with a matching event. The shape shows when "
        "a flow's events occurred, with ✗ for a rejected one. Enter opens a flow."
    )
    BINDINGS = [
        Binding("f", "failing", "Rejected and slow first"),
        Binding("o", "order", "Sort order"),
        Binding("space", "hold", "Pause"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._order = 0
        self._hold = False
        self._flows: list[models.FlowModel] = []
        self._gists: OrderedDict[str, tuple[int, FlowSummary]] = OrderedDict()
        self._coverage: models.CoverageModel | None = None
        self._has_more = False

    def body(self) -> Iterable[Widget]:
        yield VirtualList(
            lambda shown, width, colors: draw(shown, width, colors, self.names),
            lambda shown: shown.flow.trace_id,
            title=lambda width, colors: titles(COLUMNS, width, colors, needs(self.names)),
            empty="No flows\nFlows appear as events arrive that share a trace, a correlation or a cause.\n"
            "With a query, only flows with a matching event are listed: / changes it, Esc clears it.",
            id="flows",
        )

    @property
    def enter_hint(self) -> str:
        return "Open flow" if self.rows.item is not None else ""

    @property
    def rows(self) -> VirtualList[ListedFlow]:
        return self.query_one("#flows", VirtualList)

    async def look(self) -> None:
        if self._hold:
            self.dashboard.learn_status(await self.client.status())  # checks that the sidecar still answers
            return
        page = await self.client.flows(limit=MAX_LISTED_FLOWS)
        flows = page.items
        self._coverage, self._has_more = page.coverage, page.cursor is not None
        if self.asked:
            events = await self.client.events(self.asked, limit=MAX_MATCHED_EVENTS)
            self._has_more = events.cursor is not None
            wanted = dict.fromkeys(event.trace_id for event in events.items if event.trace_id)
            known = {flow.trace_id for flow in flows}
            flows = [flow for flow in flows if flow.trace_id in wanted]
            flows += await self._others(
                [trace for trace in wanted if trace not in known][: MAX_LISTED_FLOWS - len(flows)]
            )
        self._flows = self._sort_flows(flows)
        self._show()
        await self._fetch()

    async def _others(self, traces: list[str]) -> list[models.FlowModel]:
        """Read flows that are older than the listed ones."""
        others = []
        for trace in traces[:40]:
            try:
                others.append(await self.client.flow(trace))
            except NotFound:
                continue
        return others

    def _sort_flows(self, flows: list[models.FlowModel]) -> list[models.FlowModel]:
        match ORDERS[self._order]:
            case "rejected and slow":
                return sorted(flows, key=lambda flow: (flow.status != "rejected", -(flow.duration_ms or 0)))
            case "longest":
                return sorted(flows, key=lambda flow: -(flow.duration_ms or 0))
            case "most events":
                return sorted(flows, key=lambda flow: -flow.event_count)
        return flows

    def _show(self) -> None:
        shown = []
        for flow in self._flows:
            known = self._gists.get(flow.trace_id)
            shown.append(ListedFlow(flow, known[1] if known else None))
        self.rows.show(shown)

    async def _fetch(self) -> None:
        """Read the events of visible flows that have changed."""
        wanted = [
            shown.flow
            for shown in self.rows.visible_items
            if shown.flow.trace_id not in self._gists or self._gists[shown.flow.trace_id][0] != shown.flow.event_count
        ]
        if not wanted:
            return
        gate = asyncio.Semaphore(_MAX_CONCURRENT_READS)

        async def fetch_summary(flow: models.FlowModel) -> None:
            async with gate:
                try:
                    whole = await self.client.flow(flow.trace_id)
                except (NotFound, ClientError):
                    return
            if isinstance(whole.events, list):
                self.names.learn_events(whole.events)
            self._gists[flow.trace_id] = (flow.event_count, FlowSummary.of(whole))
            while len(self._gists) > _MAX_CACHED_SUMMARIES:
                self._gists.popitem(last=False)

        await asyncio.gather(*(fetch_summary(flow) for flow in wanted))
        self._show()

    def summary(self) -> Text:
        colors = self.theme_styles
        rejected = sum(1 for flow in self._flows if flow.status == "rejected")
        text = Text(" ", no_wrap=True, overflow="ellipsis")
        text.append(self._describe_count(), colors.strong)
        text.append(f"   ✗ {rejected} rejected", colors.bad if rejected else colors.dim)
        repaired = sum(1 for flow in self._flows if flow.status == "repaired")
        if repaired:
            text.append(f"   ↻ {repaired} repaired", colors.info)
        text.append("   order: ", colors.dim)
        text.append(ORDERS[self._order], colors.info)
        if self._hold:
            text.append("   ‖ paused", f"bold {colors.warn}")
        return text

    def _describe_count(self) -> str:
        """Return the number of listed flows, and of what they are the number."""
        number = len(self._flows)
        words = f"{number:,} flow{'' if number == 1 else 's'}"
        if self.asked:
            words = (
                f"{words} of the newest {MAX_MATCHED_EVENTS:,} matches" if self._has_more else f"{words} with matches"
            )
        elif self._has_more:
            words = f"newest {words}"
        coverage = self._coverage
        if coverage is not None and coverage.since and not self._has_more:
            words += f" {time_format.since(coverage.since, time_format.now())}"
        elif coverage is not None:
            words += f", of {count(coverage.events)} events"
        return words

    @on(VirtualList.Chosen)
    def _chosen(self, event: VirtualList.Chosen) -> None:
        shown: ListedFlow = event.item
        self.dashboard.open_flow(shown.flow.trace_id, at=shown.gist.failed if shown.gist is not None else None)

    def action_failing(self) -> None:
        self._set_order(0 if self._order == 1 else 1)

    def action_order(self) -> None:
        self._set_order((self._order + 1) % len(ORDERS))

    def _set_order(self, order: int) -> None:
        self._order = order
        self._flows = self._sort_flows(self._flows)
        self.rows.chosen_key = None
        self._show()
        self.rows.action_first()
        self.say()
        self.look_now()

    def action_hold(self) -> None:
        self._hold = not self._hold
        self.say()
