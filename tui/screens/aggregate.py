"""The aggregate screen: one entity over time.

Its events in order on the left; on the right the changes of the event under the cursor, and the state after it.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import UNSET
from rich.text import Text
from textual import on
from textual.binding import Binding
from textual.containers import Container
from textual.widget import Widget

from sidecar.api import models
from sidecar.api.client.client import NotFound
from sidecar.domain.json_safe import encode_json
from tui.query_completion import term
from tui.screens.base_screen import BaseScreen
from tui.text.aggregate_history import AggregateStep, steps
from tui.text.aggregate_step_lines import step_facts
from tui.text.columns import Column, cut, fit, line, titles
from tui.text.sanitize import clean
from tui.text.time_format import clock, count, micros, span
from tui.theme import Palette, hue, mark, short, tone
from tui.widgets.detail_list import DetailList
from tui.widgets.virtual_list import VirtualList

MAX_LISTED_EVENTS = 300
"""Most events shown of an aggregate, the latest."""
MAX_SINGLE_READS = 8
"""Up to this number, bodies are read one by one; more are read as a page."""
BODIES_PER_PAGE = 50
MAX_BODY_BYTES = 16 << 20
"""Bytes of bodies that are kept, the latest first."""

COLUMNS = (
    Column("time", "time", 12, 12),
    Column("mark", " ", 1, 1),
    Column("type", "type", 14, 18),
    Column("stream", "stream", 8, 12, rank=2),
    Column("after", "after", 8, 8, rank=3, right=True),
    Column("what", "changes", 16, 400, rank=1),
)


def draw(step: AggregateStep, width: int, colors: Palette) -> Text:
    event, widths = step.event, fit(COLUMNS, width - 2)
    style = tone(event.status, colors)
    cells = {
        "time": Text(clock(event.occurred_at or event.appended_at), colors.dim),
        "mark": Text(mark(event.status), style),
        "type": Text(clean(short(event.type), 80), hue(event.type, colors.hues) if event.type else colors.dim),
        "stream": Text(clean(event.stream, 60), colors.text),
        "after": Text("" if step.gap is None else f"+{span(step.gap)}", colors.dim),
        "what": Text(cut(what(step), max(1, widths.get("what", 1))), _style(step, colors)),
    }
    return line(COLUMNS, cells, widths)


def what(step: AggregateStep) -> str:
    """Return a one-line summary of a step."""
    if step.event.rejection is not None:
        return clean(f"rejected: {step.event.rejection.code}", 200)
    if step.note:
        return clean(step.note, 200)
    if step.first:
        return "first known event"
    if not step.changes:
        return "no changes"
    names = [change.path or "everything" for change in step.changes]
    return clean(", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else ""), 400)


def _style(step: AggregateStep, colors: Palette) -> str:
    if step.event.rejection is not None:
        return colors.bad
    return colors.dim if step.note or step.first or not step.changes else colors.text


class AggregateScreen(BaseScreen):
    """The events of one aggregate, with the changes and the state after the selected event."""

    PLACE = "aggregate"
    REFRESH_INTERVAL_S = 2.0
    QUERYING = "order-4711"
    ABOUT = (
        "One aggregate over time. Each event shows its changes. The state after an event is merged from all events up "
        "to it; the latest value of each field counts. Rejected events are shown and do not change the state. Enter "
        "shows the event in its flow; / looks up another aggregate by its id."
    )
    BINDINGS = [
        Binding("w", "flow", "Flow", show=False),
        Binding("n", "failure", "Next rejected"),
        Binding("s", "live", "Live events", show=False),
        Binding("y", "copy", "Copy"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.aggregate: models.AggregateModel | None = None
        self._events: dict[str, models.EventModel] = {}
        self._bytes: dict[str, int] = {}
        self._at: str | None = None
        self._gone = ""

    def body(self) -> Iterable[Widget]:
        rows: VirtualList[AggregateStep] = VirtualList(
            draw,
            lambda step: step.event.position,
            title=lambda width, colors: titles(COLUMNS, width, colors),
            empty="No aggregate is open\nPress v on an event (1), in a flow (3) or on a dead letter (4),\n"
            "or / and type an aggregate's id.",
            id="steps",
        )
        rows.add_class("first")
        rows.keeps_up = True
        facts = DetailList(empty="The changes of the event under the cursor", id="step")
        facts.add_class("second")
        yield Container(rows, facts, classes="split")

    @property
    def rows(self) -> VirtualList[AggregateStep]:
        return self.query_one("#steps", VirtualList)

    @property
    def facts(self) -> DetailList:
        return self.query_one("#step", DetailList)

    @property
    def enter_hint(self) -> str:
        if self.facts.has_focus:
            return self.facts.enter_hint
        return "Open flow" if self.rows.item is not None else ""

    @property
    def escape_hint(self) -> str:
        return "Events" if self.facts.has_focus else super().escape_hint

    def offers(self, action: str) -> bool:
        if action == "failure":
            return any(step.event.status == "rejected" for step in self.rows.items)
        return self.rows.item is not None or action == "query"

    # --- which aggregate

    def open(self, id: str, at: str | None = None) -> None:
        """Show the aggregate, with the cursor on the event at a position, else on the latest."""
        self.asked, self._at, self._gone = id, at, ""
        self.aggregate = None
        self._events.clear()
        self._bytes.clear()
        self.rows.empty = "Searching for the aggregate …\n"
        self.rows.chosen_key = None
        self.rows.follow = at is None
        self.rows.show([])
        self.facts.fill("", None)
        self.rows.focus()
        self.say()
        self.look_now()

    def ask(self, query: str) -> None:
        if query:
            self.open(query)

    async def judge(self, query: str) -> None:
        await self.client.aggregate(query, limit=1)

    def memento(self) -> object:
        step = self.rows.item
        return (self.asked, step.event.position if step is not None else None)

    def recall(self, memento: object) -> None:
        if isinstance(memento, tuple) and memento[0] and memento[0] != self.asked:
            self.open(*memento)

    # --- looking

    async def look(self) -> None:
        asked = self.asked
        if not asked:
            return
        try:
            aggregate = await self.client.aggregate(asked, limit=MAX_LISTED_EVENTS)
        except NotFound as error:
            self._gone = str(error)
            if self.aggregate is None:
                self.rows.empty = (
                    f"There is no aggregate {clean(asked, 60)}\nIts events may be older than the index: "
                    "tracecar events --scan searches the broker.\nEsc goes back."
                )
                self.rows.refresh()
            return
        if asked != self.asked:
            self.call_later(self.look_now)
            return
        self.aggregate, self._gone = aggregate, ""
        self._show()
        await self._read(asked, aggregate)

    async def _read(self, asked: str, aggregate: models.AggregateModel) -> None:
        """Read the bodies that are missing."""
        missing = {event.position for event in aggregate.events} - self._events.keys()
        if not missing:
            return
        if len(missing) <= MAX_SINGLE_READS:
            for event in aggregate.events:
                if event.position in missing:
                    self._keep(asked, await self._one(event))
        else:
            cursor = None
            while missing:
                page = await self.client.events(
                    term("aggregate", asked), limit=BODIES_PER_PAGE, cursor=cursor, full=True
                )
                for event in page.items:
                    self._keep(asked, event)
                    missing.discard(event.position)
                if (cursor := page.cursor) is None:
                    break
        held = {event.position for event in aggregate.events}
        if asked == self.asked:
            for gone in self._events.keys() - held:
                del self._events[gone]
                self._bytes.pop(gone, None)
            self._show()

    async def _one(self, event: models.EventModel) -> models.EventModel:
        try:
            return await self.client.event(event.position)
        except NotFound:
            event.body, event.payload_note = None, "the broker no longer has it"
            return event

    def _keep(self, asked: str, event: models.EventModel) -> None:
        if asked != self.asked:
            return
        size = 0 if event.body is UNSET else len(encode_json(event.body))
        if size + sum(self._bytes.values()) <= MAX_BODY_BYTES:
            self._bytes[event.position] = size
        else:
            event.body, event.payload_note = UNSET, "the body was not read, because bodies of later events are large"
        self._events[event.position] = event

    def _show(self) -> None:
        if self.aggregate is None:
            return
        made = steps([self._with_body(event) for event in self.aggregate.events])
        at, self._at = self._at, None
        self.rows.show(made, at=at)
        self._show_step()
        self.say()

    def _with_body(self, event: models.EventModel) -> models.EventModel:
        """Update the events: their status may have changed since their bodies were read."""
        full = self._events.get(event.position)
        if full is not None:
            event.body, event.headers, event.payload_note = full.body, full.headers, full.payload_note
        return event

    def summary(self) -> Text:
        colors, aggregate = self.theme_styles, self.aggregate
        text = Text(" ", no_wrap=True, overflow="ellipsis")
        if aggregate is None:
            return text.append(clean(self.asked, 100), colors.dim)
        text.append("aggregate ", colors.dim)
        text.append(clean(aggregate.aggregate_id, 80), colors.strong)
        if aggregate.aggregate_type:
            text.append(f"  {clean(aggregate.aggregate_type, 40)}", colors.info)
        events = aggregate.events
        number = len(events)
        more = " or more" if number >= MAX_LISTED_EVENTS else ""
        text.append(f"  {count(number)}{more} event{'' if number == 1 else 's'}", colors.text)
        begun, ended = micros(events[0].occurred_at), micros(events[-1].occurred_at)
        if begun and ended and number > 1:
            text.append(f" in {span((ended - begun) / 1000)}", colors.text)
        if bad := sum(event.status == "rejected" for event in events):
            text.append(f"  ✗ {count(bad)} rejected", colors.bad)
        flows = len({event.trace_id for event in events})
        text.append(f"  in {count(flows)} flow{'' if flows == 1 else 's'}", colors.dim)
        if aggregate.coverage.evicted:
            text.append("  older events may have left the index", colors.warn)
        if self._gone:
            text.append("  ! no longer in the index", colors.warn)
        return text

    # --- what people do

    @on(VirtualList.Moved, "#steps")
    def _show_step(self) -> None:
        step = self.rows.item
        if step is None:
            self.facts.fill("", None)
        else:
            self.facts.fill(step.event.position, lambda folds, width: step_facts(step, folds, width))

    @on(VirtualList.Chosen, "#steps")
    def _chosen(self, event: VirtualList.Chosen) -> None:
        position = event.item.event.position
        self.dashboard.open_flow(position, at=position)

    @on(DetailList.Led)
    def _on_link(self, event: DetailList.Led) -> None:
        kind, _, id = event.to.partition(":")
        if kind == "flow":
            self.dashboard.open_flow(id, at=id)
        elif kind == "schema":
            self.dashboard.open_schema(id)

    def action_back(self) -> None:
        if self.facts.has_focus:
            self.rows.focus()
        else:
            self.dashboard.back()

    def action_failure(self) -> None:
        bad = [n for n, step in enumerate(self.rows.items) if step.event.status == "rejected"]
        if not bad:
            self.app.notify("No event of this aggregate was rejected", timeout=2)
            return
        after = next((n for n in bad if n > self.rows.cursor), bad[0])
        self.rows.select(self.rows.items[after].event.position)

    def action_live(self) -> None:
        if self.asked:
            self.dashboard.open_live(term("aggregate", self.asked))

    def action_copy(self) -> None:
        from tui.dialogs.copy_text import CopyDialog

        if (step := self.rows.item) is not None:
            self.app.push_screen(CopyDialog(step.event))
