"""The live screen: events as they arrive."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from rich.text import Text
from textual import on
from textual.binding import Binding
from textual.containers import Container
from textual.widget import Widget

from sidecar.api import models
from sidecar.api.client.client import BadRequest, ClientError, LiveConnected, LiveRetry
from tui.background import begin
from tui.live_buffer import LiveBuffer, ReceivedEvent
from tui.query_completion import term, toggle_term
from tui.screens.base_screen import ASKING, BaseScreen
from tui.text import time_format
from tui.text.columns import Column, Needs, cut, fit, line, titles
from tui.text.event_details import event_facts
from tui.text.name_cells import id_cell, type_cell
from tui.text.names import NameBook
from tui.text.sanitize import clean
from tui.text.time_format import clock_in, count, rate
from tui.theme import Palette, mark, tone
from tui.widgets.detail_list import DetailList
from tui.widgets.virtual_list import VirtualList

MAX_BACKFILLED_EVENTS = 300
"""Events shown from before the subscription."""
REDRAW_INTERVAL_S = 0.12
EVENTS_PER_TURN = 100
"""Events handled at a time, before keys are handled again."""
PREVIEW_MIN_CELLS = 120
"""Width from which on the event under the cursor is shown beside the list."""
PREVIEW_DELAY_S = 0.3
"""Time for which the cursor rests on an event before its payload is read."""
LATE_MARK = "◷"
MAX_READABLE_RATE = 300
"""Events per second above which only some are drawn."""
NOTHING = (
    "No events yet\nEvents appear here as services publish them.\n"
    "Press 7 to see which streams are watched, or / to change the query."
)
NO_MATCH = "No event matches\nMatching events will appear here. Esc clears the query, / changes it."

COLUMNS = (
    Column("time", "time", 8, 12),
    Column("mark", " ", 2, 2),
    Column("type", "type", 16, 28),
    Column("stream", "stream", 10, 20),
    Column("aggregate", "aggregate", 12, 24),
    Column("producer", "producer", 9, 18, rank=2),
    Column("note", "note", 20, 400, rank=1),
)


def needs(names: NameBook) -> Needs:
    return names.needs(type=names.types, stream=names.streams, producer=names.producers)


def draw(seen: ReceivedEvent, width: int, colors: Palette, names: NameBook) -> Text:
    """Return the line of one event."""
    event, widths = seen.event, fit(COLUMNS, width - 2, needs(names))
    style = tone(event.status, colors)
    cells = {
        "time": Text(clock_in(event.occurred_at or event.appended_at, widths.get("time", 0)), colors.dim),
        "mark": Text.assemble((mark(event.status), style), (LATE_MARK if seen.is_late else "", colors.warn)),
        "type": type_cell(event.type, widths, colors, names),
        "stream": names.streams.cell(event.stream, widths.get("stream", 0), colors.text, colors),
        "aggregate": id_cell(event.aggregate_id, widths.get("aggregate", 0), colors),
        "producer": names.producers.cell(event.producer or "·", widths.get("producer", 0), colors.dim, colors),
        "note": _note_cell(seen, widths.get("note", 0), colors, style),
    }
    return line(COLUMNS, cells, widths)


def _note_cell(seen: ReceivedEvent, cells: int, colors: Palette, style: str) -> Text:
    words = note(seen.event)
    if not words and seen.is_late:
        return Text(cut("late: younger events arrived before", max(1, cells)), colors.warn)
    return Text(cut(words, max(1, cells)), style if seen.event.status != "ok" else colors.dim)


def note(event: models.EventModel) -> str:
    """Return what is notable about an event beyond its columns."""
    if event.rejection is not None:
        where = f"{event.rejection.path}: " if event.rejection.path else ""
        message = event.rejection.message
        if where and message.startswith(where):
            where = ""
        return clean(f"{event.rejection.code}  {where}{message}", 600)
    if event.status == "duplicate":
        return "duplicate with different content" if event.changed else "duplicate"
    if event.status == "replayed":
        return clean(f"replayed from {event.replay_of or 'a dead letter'}", 300)
    if event.status == "unchecked":
        return "unchecked: no schema"
    return ""


class LiveScreen(BaseScreen):
    """Events as they arrive, with a query; the list can be frozen."""

    PLACE = "live"
    QUERYING = "type:Order* status:rejected body.data.total:>100 since:15m"
    ABOUT = (
        "Events as they arrive, the newest at the bottom. While the cursor is on the last row, the list follows; move "
        "the cursor up, and it stays on its event. Pause stops the list; events that arrive meanwhile are kept."
    )
    REFRESH_INTERVAL_S = 1.0
    BINDINGS = [
        Binding("space", "freeze", "Pause"),
        Binding("f", "failing", "Only rejected"),
        Binding("v", "aggregate", "Aggregate"),
        Binding("G,end", "newest", "Newest", show=False),
        Binding("t", "like_type", "Same type", show=False),
        Binding("s", "like_stream", "Same stream", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.feed = LiveBuffer()
        self._rate = 0.0
        self._status: models.ServiceStatus | None = None
        self._waiting = ""
        self._said_follow = True

    def body(self) -> Iterable[Widget]:
        rows: VirtualList[ReceivedEvent] = VirtualList(
            lambda seen, width, colors: draw(seen, width, colors, self.names),
            lambda seen: str(seen.number),
            title=lambda width, colors: titles(COLUMNS, width, colors, needs(self.names)),
            empty=ASKING,
            id="live",
        )
        rows.follow = rows.keeps_up = True
        rows.add_class("first")
        preview = DetailList(empty="The event under the cursor", id="preview")
        preview.add_class("second", "preview")
        yield Container(rows, preview, classes="split")

    @property
    def enter_hint(self) -> str:
        preview = self.query_one("#preview", DetailList)
        if preview.has_focus:
            return preview.enter_hint
        return "Open flow" if self.rows.item is not None else ""

    def on_resize(self) -> None:
        preview = self.query_one("#preview", DetailList)
        preview.display = self.size.width >= PREVIEW_MIN_CELLS
        super().on_resize()
        self._show_preview()

    @property
    def rows(self) -> VirtualList[ReceivedEvent]:
        return self.query_one("#live", VirtualList)

    def on_mount(self) -> None:
        super().on_mount()
        self.set_interval(REDRAW_INTERVAL_S, self._draw)
        self.listen()

    # --- listening

    def listen(self) -> None:
        """Subscribe to events that match the current query."""
        self.feed.clear()
        self.rows.empty = ASKING
        begin(self, self._listen, self.asked, group="listen", exclusive=True)

    async def _listen(self, query: str) -> None:
        received = 0
        try:
            async for item in self.client.live(query):
                received += 1
                if received % EVENTS_PER_TURN == 0:
                    await asyncio.sleep(0)
                if isinstance(item, models.EventModel):
                    self.feed.add(item)
                    self.dashboard.learn_event(item)
                elif isinstance(item, models.DroppedModel):
                    self.feed.dropped += item.count
                elif isinstance(item, LiveConnected):
                    self._waiting = ""
                    await self._before(query)
                    self.dashboard.report_reached()
                elif isinstance(item, LiveRetry):
                    self._waiting = item.reason
                    self.dashboard.report_unreachable(item.reason)
        except BadRequest as error:
            self.dashboard.notify(str(error), title="Invalid query", severity="warning", markup=False)
        except ClientError as error:
            self.dashboard.report_failure(error)

    async def _before(self, query: str) -> None:
        """Read events from before the subscription, or from while it was interrupted."""
        page = await self.client.events(query, limit=MAX_BACKFILLED_EVENTS)
        events = page.items[::-1]
        for event in events:
            self.dashboard.learn_event(event)
        self.feed.fill(events)
        self.rows.empty = NO_MATCH if query else NOTHING
        self.feed.changed = True

    def _draw(self) -> None:
        if self.feed.changed and self.app.screen_stack[-1:] == [self]:  # there is no widget while the app ends
            self.rows.show(self.feed.rows())

    async def look(self) -> None:
        self._rate = self.feed.tick()
        self._status = await self.client.status()
        self.dashboard.learn_status(self._status)

    def summary(self) -> Text:
        colors, status, feed = self.theme_styles, self._status, self.feed
        text = Text(" ", no_wrap=True, overflow="ellipsis")
        self._said_follow = not self._ready or self.rows.follow
        if feed.frozen:
            text.append(f"‖ paused, {count(feed.waiting)} arrived since", f"bold {colors.warn}")
        elif not self._said_follow:
            text.append("■ stopped", colors.info)
            text.append(" (G follows)", colors.dim)
        else:
            text.append("▶ following", colors.good)
        if self.asked:
            text.append(f"   newest {count(len(feed.rows_shown))} that match, {rate(self._rate)}", colors.strong)
        if status is not None:
            now = time_format.now()
            begun = time_format.since_micros(now - int(status.uptime_s * 1e6), now)
            rejected = sum(stream.rejected for stream in status.streams)
            text.append(f"   {rate(sum(stream.rate for stream in status.streams))}", colors.text)
            text.append(f"   ✗ {count(rejected)} rejected", colors.bad if rejected else colors.dim)
            text.append(f" of {count(sum(stream.events for stream in status.streams))} {begun}", colors.text)
            if rejected and not self.asked:
                text.append(" (4 shows why)", colors.dim)
            if lag := sum(stream.lag or 0 for stream in status.streams):
                text.append(f"   lag {count(lag)}", colors.warn)
            if status.filling:
                text.append("   backfilling the index", colors.warn)
        if self._rate > MAX_READABLE_RATE:
            text.append("   too fast to read: only the newest are shown, / filters", colors.warn)
        if feed.dropped:
            text.append(f"   {count(feed.dropped)} dropped: this client is too slow", colors.warn)
        return text

    # --- what people do

    def ask(self, query: str) -> None:
        self.asked = query
        self.rows.follow = True
        self.rows.chosen_key = None
        self.listen()
        self.say()

    @on(VirtualList.Moved, "#live")
    def _on_cursor_move(self) -> None:
        if self.rows.follow != self._said_follow:
            self.say()
        self._show_preview()

    def _show_preview(self) -> None:
        """Show the event under the cursor beside the list, where there is room; its payload once the cursor rests."""
        preview = self.query_one("#preview", DetailList)
        if not preview.display or self.size.width < PREVIEW_MIN_CELLS:
            return
        if (seen := self.rows.item) is None:
            preview.fill("", None)
            return
        event = seen.event
        preview.fill(event.position, lambda folds, width: event_facts(event, folds, width))
        if not self.rows.follow:
            begin(self, self._read_preview, event, group="preview", exclusive=True)

    async def _read_preview(self, event: models.EventModel) -> None:
        await asyncio.sleep(PREVIEW_DELAY_S)
        try:
            full = await self.client.event(event.position)
        except ClientError:
            return  # what is known of the event is shown already
        if (seen := self.rows.item) is not None and seen.event.position == event.position:
            self.query_one("#preview", DetailList).fill(
                event.position, lambda folds, width: event_facts(full, folds, width)
            )

    @property
    def up_hint(self) -> str:
        return "Events" if self.query_one("#preview", DetailList).has_focus else ""

    def go_up(self) -> None:
        self.rows.focus()

    @on(DetailList.Led)
    def _on_link(self, event: DetailList.Led) -> None:
        kind, _, id = event.to.partition(":")
        if kind == "aggregate":
            self.action_aggregate()
        elif kind == "schema":
            self.dashboard.open_schema(id)
        elif kind == "flow":
            self.dashboard.open_flow(id)

    @on(VirtualList.Chosen, "#live")
    def _chosen(self, event: VirtualList.Chosen) -> None:
        self.rows.follow = False  # restore the position after coming back
        self.dashboard.open_flow(event.item.event.position, at=event.item.event.position)

    def action_freeze(self) -> None:
        self.feed.freeze(not self.feed.frozen)
        self.rows.keeps_up = not self.feed.frozen
        self.rows.follow = not self.feed.frozen and self.rows.cursor >= len(self.rows.items) - 1
        self.rows.show(self.feed.rows())
        self.say()

    def action_newest(self) -> None:
        self.rows.action_last()
        self.rows.follow = not self.feed.frozen
        self.say()

    def action_failing(self) -> None:
        self.ask(toggle_term(self.asked, "status:rejected"))

    def action_aggregate(self) -> None:
        seen = self.rows.item
        if seen is None or seen.event.aggregate_id is None:
            self.app.notify("This event has no aggregate id", timeout=2)
        else:
            self.dashboard.open_aggregate(seen.event.aggregate_id, at=seen.event.position)

    def action_like_type(self) -> None:
        self._like("type")

    def action_like_stream(self) -> None:
        self._like("stream")

    def _like(self, field: str) -> None:
        if (seen := self.rows.item) is not None and (value := getattr(seen.event, field)):
            self.ask(term(field, value))
