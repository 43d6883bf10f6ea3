"""Flows: what belongs together, the recent ones."""

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
from sidecar.api.client import ClientError, NotFound
from tui import times, waterfall
from tui.looks import Palette, hue, mark, short, tone
from tui.safe import clean
from tui.screens.page import Page
from tui.times import age, clock_in, span
from tui.widgets.columns import Column, fit, line, titles
from tui.widgets.rows import Rows

PAGE = 200
"""Flows that are looked at."""
MATCHING = 1_000
"""Events that a query is matched against, newest first."""
SHAPE = 12
_AT_ONCE = 8
_KEPT = 600
ORDERS = ("newest", "failing and slow", "longest", "most events")
_BLOCKS = " ▂▃▄▅▆▇█"

COLUMNS = (
    Column("mark", " ", 1, 1),
    Column("started", "started", 8, 12),
    Column("root", "begins with", 14, 26),
    Column("aggregate", "aggregate", 11, 22),
    Column("duration", "takes", 8, 8, right=True),
    Column("events", "events", 6, 6, right=True),
    Column("shape", "shape", SHAPE, SHAPE, rank=1),
    Column("status", "status", 9, 22, rank=2),
    Column("streams", "streams that it crosses", 20, 400, rank=3),
)


@dataclass(frozen=True, slots=True)
class Shown:
    """A flow of the list, with its events once they were asked for."""

    flow: models.Flow
    whole: models.Flow | None


def draw(shown: Shown, width: int, colours: Palette) -> Text:
    flow, widths = shown.flow, fit(COLUMNS, width - 2)
    style = tone(flow.status, colours)
    root = _root(shown.whole)
    streams = Text()
    for number, stream in enumerate(flow.streams):
        streams.append(" → " if number else "", colours.line)
        streams.append(clean(stream, 40), hue(stream, colours.hues))
    slow = (flow.duration_ms or 0) >= 1_000
    cells = {
        "mark": Text(mark(flow.status), style),
        "started": Text(clock_in(flow.started_at, widths.get("started", 12)), colours.dim),
        "root": Text(clean(root, 80), hue(root, colours.hues) if shown.whole else colours.dim),
        "aggregate": Text(clean(flow.aggregates[0] if flow.aggregates else "·", 80), colours.text),
        "duration": Text(span(flow.duration_ms), colours.warn if slow else colours.text),
        "events": Text(str(flow.event_count), colours.text),
        "shape": _shape(shown.whole, colours),
        "status": Text(clean(_why(shown.whole) or flow.status, 40), style),
        "streams": streams,
    }
    return line(COLUMNS, cells, widths)


def _root(flow: models.Flow | None) -> str:
    if flow is None or not isinstance(flow.events, list) or not flow.events:
        return "…"
    return short(flow.events[0].type)


def _why(flow: models.Flow | None) -> str:
    """The code of its first rejection; empty where nothing was rejected, or it is not known."""
    events = flow.events if flow is not None and isinstance(flow.events, list) else []
    return next((event.rejection.code for event in events if event.rejection is not None), "")


def _shape(flow: models.Flow | None, colours: Palette) -> Text:
    text = Text()
    if flow is None:
        return text
    cells = waterfall.shape(flow, SHAPE)
    most = max((number for number, _ in cells), default=0) or 1
    for number, bad in cells:
        if number == 0:
            text.append("·", colours.line)
        elif bad:
            text.append("✗", f"bold {colours.bad}")
        else:
            text.append(_BLOCKS[max(1, round(number / most * 7))], colours.info)
    return text


class Flows(Page):
    PLACE = "flows"
    QUERYING = "aggregate:order-1010   or   stream:payments status:rejected"
    PERIOD = 1.5
    ABOUT = (
        "Flows are events that belong together. With a query, those with an event that matches it. The shape shows "
        "when its events came, ✗ where one was rejected. Enter opens a flow."
    )
    BINDINGS = [
        Binding("f", "failing", "Failing and slow first"),
        Binding("o", "order", "Order"),
        Binding("space", "hold", "Hold still"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._order = 0
        self._hold = False
        self._flows: list[models.Flow] = []
        self._whole: OrderedDict[str, tuple[int, models.Flow]] = OrderedDict()
        self._note = ""
        self._coverage: models.Coverage | None = None

    def body(self) -> Iterable[Widget]:
        yield Rows(
            draw,
            lambda shown: shown.flow.trace_id,
            title=lambda width, colours: titles(COLUMNS, width, colours),
            empty="No flows here\nFlows appear as events come in that share a trace, a correlation or a cause.\n"
            "With a query only flows that have a matching event are shown: / changes it, esc clears it.",
            id="flows",
        )

    @property
    def deeper(self) -> str:
        return "The flow" if self.rows.item is not None else ""

    @property
    def backwards(self) -> str:
        return super().backwards or ("All flows" if self.asked else "")

    @property
    def rows(self) -> Rows[Shown]:
        return self.query_one("#flows", Rows)

    async def look(self) -> None:
        if self._hold:
            self.dashboard.know(await self.client.status())  # whether it still answers
            return
        page = await self.client.flows(limit=PAGE)
        flows = page.items
        self._coverage, self._note = page.coverage, ""
        if self.asked:
            events = await self.client.events(self.asked, limit=MATCHING)
            wanted = dict.fromkeys(event.trace_id for event in events.items if event.trace_id)
            known = {flow.trace_id for flow in flows}
            flows = [flow for flow in flows if flow.trace_id in wanted]
            flows += await self._others([trace for trace in wanted if trace not in known][: PAGE - len(flows)])
        self._flows = self._sorted(flows)
        self._show()
        await self._fetch()

    async def _others(self, traces: list[str]) -> list[models.Flow]:
        """Flows that are older than the list is long."""
        found = []
        for trace in traces[:40]:
            try:
                found.append(await self.client.flow(trace))
            except NotFound:
                continue
        return found

    def _sorted(self, flows: list[models.Flow]) -> list[models.Flow]:
        match ORDERS[self._order]:
            case "failing and slow":
                return sorted(flows, key=lambda flow: (flow.status != "rejected", -(flow.duration_ms or 0)))
            case "longest":
                return sorted(flows, key=lambda flow: -(flow.duration_ms or 0))
            case "most events":
                return sorted(flows, key=lambda flow: -flow.event_count)
        return flows

    def _show(self) -> None:
        shown = []
        for flow in self._flows:
            known = self._whole.get(flow.trace_id)
            shown.append(Shown(flow, known[1] if known else None))
        self.rows.show(shown)

    async def _fetch(self) -> None:
        """The events of the flows on the screen, those that have changed."""
        wanted = [
            shown.flow
            for shown in self.rows.visible_items
            if shown.flow.trace_id not in self._whole or self._whole[shown.flow.trace_id][0] != shown.flow.event_count
        ]
        if not wanted:
            return
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(flow: models.Flow) -> None:
            async with gate:
                try:
                    whole = await self.client.flow(flow.trace_id)
                except (NotFound, ClientError):
                    return
            self._whole[flow.trace_id] = (flow.event_count, whole)
            while len(self._whole) > _KEPT:
                self._whole.popitem(last=False)

        await asyncio.gather(*(one(flow) for flow in wanted))
        self._show()

    def summary(self) -> Text:
        colours = self.colours
        failing = sum(1 for flow in self._flows if flow.status == "rejected")
        text = Text(" ", no_wrap=True, overflow="ellipsis")
        text.append(f"{len(self._flows)} flows", colours.strong)
        text.append(f"   ✗ {failing} failing", colours.bad if failing else colours.dim)
        text.append("   order: ", colours.dim)
        text.append(ORDERS[self._order], colours.info)
        if self._hold:
            text.append("   ‖ held still", f"bold {colours.warn}")
        if self._coverage is not None and self._coverage.since:
            text.append(f"   of the last {age(self._coverage.since, times.now())}", colours.dim)
        text.append_text(self.asked_text())
        return text

    @on(Rows.Chosen)
    def _chosen(self, event: Rows.Chosen) -> None:
        shown: Shown = event.item
        bad = None
        if shown.whole is not None and isinstance(shown.whole.events, list):
            bad = next((one.position for one in shown.whole.events if one.status == "rejected"), None)
        self.dashboard.open_flow(shown.flow.trace_id, at=bad)

    def action_failing(self) -> None:
        self._set_order(0 if self._order == 1 else 1)

    def action_order(self) -> None:
        self._set_order((self._order + 1) % len(ORDERS))

    def _set_order(self, order: int) -> None:
        self._order = order
        self._flows = self._sorted(self._flows)
        self.rows.chosen_key = None
        self._show()
        self.rows.action_first()
        self.say()
        self.look_now()

    def action_hold(self) -> None:
        self._hold = not self._hold
        self.say()
