"""The aggregate screen: one entity over time.

Its events in order on the left; on the right the changes of the event under the cursor, and the state after it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from rich.text import Text
from textual import on
from textual.binding import Binding
from textual.containers import Container
from textual.widget import Widget

from sidecar.api import models
from sidecar.api.client.client import BadRequest, NotFound, ServerFailed, Unreachable
from tui.background import begin
from tui.query_completion import term
from tui.screens.base_screen import BaseScreen
from tui.text.aggregate_history import AggregateStep, build_steps
from tui.text.aggregate_step_lines import step_facts
from tui.text.columns import Column, Needs, cut, fit, line, titles
from tui.text.name_cells import type_cell
from tui.text.names import NameBook
from tui.text.sanitize import clean
from tui.text.time_format import clock, count, micros, span
from tui.theme import Palette, mark, tone
from tui.widgets.detail_list import DetailList
from tui.widgets.virtual_list import VirtualList

MAX_LISTED_EVENTS = 300
"""Most events shown of an aggregate, the latest."""
MAX_KEPT_STATES = 50
"""States that are kept while the cursor moves."""

COLUMNS = (
    Column("time", "time", 12, 12),
    Column("mark", " ", 1, 1),
    Column("type", "type", 14, 18),
    Column("stream", "stream", 8, 12, rank=2),
    Column("after", "after", 8, 8, rank=3, right=True),
    Column("what", "changes", 16, 400, rank=1),
)


def needs(names: NameBook) -> Needs:
    return names.needs(type=names.types, stream=names.streams)


def draw(step: AggregateStep, width: int, colors: Palette, names: NameBook) -> Text:
    event, widths = step.event, fit(COLUMNS, width - 2, needs(names))
    style = tone(event.status, colors)
    cells = {
        "time": Text(clock(event.occurred_at or event.appended_at), colors.dim),
        "mark": Text(mark(event.status), style),
        "type": type_cell(event.type, widths, colors, names),
        "stream": names.streams.cell(event.stream, widths.get("stream", 0), colors.text, colors),
        "after": Text("" if step.gap is None else f"+{span(step.gap)}", colors.dim),
        "what": Text(cut(what(step), max(1, widths.get("what", 1))), _style(step, colors)),
    }
    return line(COLUMNS, cells, widths)


def what(step: AggregateStep) -> str:
    """Return a one-line summary of a step."""
    if step.event.rejection is not None:
        return clean(f"rejected: {step.event.rejection.code}", 200)
    if not step.applied:
        return clean(step.note, 200)
    if step.first:
        return "first event"
    if not step.changes:
        return "no changes"
    names = [change.path or "everything" for change in step.changes]
    more = max(0, len(names) - 6) + step.omitted
    return clean(", ".join(names[:6]) + (f" and {more} more" if more else ""), 400)


def _style(step: AggregateStep, colors: Palette) -> str:
    if step.event.rejection is not None:
        return colors.bad
    if step.applied and step.note:
        return colors.warn
    return colors.text if step.applied and step.changes and not step.first else colors.dim


class AggregateScreen(BaseScreen):
    """The events of one aggregate, with the changes and the state after the selected event."""

    PLACE = "aggregate"
    REFRESH_INTERVAL_S = 2.0
    QUERYING = "order-4711"
    ABOUT = (
        "One aggregate over time. Each event shows its changes, and the state after it, which the sidecar rebuilds "
        "from all events up to it. Rejected events and duplicates are shown and do not change the state. [ and ] step "
        "through time, @ goes to a moment. Enter shows the event in its flow; / looks up another aggregate by its id."
    )
    BINDINGS = [
        Binding("left_square_bracket", "step(-1)", "Earlier"),
        Binding("right_square_bracket", "step(1)", "Later"),
        Binding("at", "moment", "Time", key_display="@"),
        Binding("w", "flow", "Flow", show=False),
        Binding("n", "failure", "Next rejected"),
        Binding("s", "live", "Live events", show=False),
        Binding("y", "copy", "Copy"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.aggregate: models.AggregateModel | None = None
        self._listed: list[tuple[str, str]] = []
        """Position and status of the events with the steps that are shown."""
        self._states: dict[str, models.AggregateModel] = {}
        """States by the position of the event that they follow."""
        self._trouble = ""
        self._at: str | None = None
        self._gone = ""

    def body(self) -> Iterable[Widget]:
        rows: VirtualList[AggregateStep] = VirtualList(
            lambda step, width, colors: draw(step, width, colors, self.names),
            lambda step: step.event.position,
            title=lambda width, colors: titles(COLUMNS, width, colors, needs(self.names)),
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
    def filter_text(self) -> str:
        return ""  # what was asked for is the aggregate, and hides nothing

    @property
    def up_hint(self) -> str:
        return "Events" if self.facts.has_focus else ""

    def go_up(self) -> None:
        self.rows.focus()

    def offers(self, action: str) -> bool:
        if action == "failure":
            return any(step.event.status == "rejected" for step in self.rows.items)
        return self.rows.item is not None or action == "query"

    # --- which aggregate

    def open(self, id: str, at: str | None = None) -> None:
        """Show the aggregate, with the cursor on the event at a position, else on the latest."""
        self.asked, self._at, self._gone = id, at, ""
        self.aggregate = None
        self._listed.clear()
        self._states.clear()
        self._trouble = ""
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

    async def judge(self, query: str) -> str | None:
        await self.client.aggregate(query, limit=1)
        return None

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
        self._gone = ""
        listed = [(event.position, event.status) for event in aggregate.events]
        if listed != self._listed or self.aggregate is None:
            self._show(await self._explain(asked, aggregate))
            self._listed = listed

    async def _explain(self, asked: str, aggregate: models.AggregateModel) -> models.AggregateModel:
        """Return the aggregate with its steps; as it is, if the sidecar cannot build its states."""
        try:
            explained = await self.client.aggregate(asked, limit=MAX_LISTED_EVENTS, at="now", steps=True)
        except (ServerFailed, BadRequest) as error:
            self._trouble = str(error)
            return aggregate
        self._trouble = ""
        self._states.clear()
        return explained

    def _show(self, aggregate: models.AggregateModel) -> None:
        self.aggregate = aggregate
        self.names.learn_events(aggregate.events)
        at, self._at = self._at, None
        self.rows.show(build_steps(aggregate), at=at)
        self._show_step()
        self.say()

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
        latest = "latest " if number >= MAX_LISTED_EVENTS else ""
        text.append(f"  {latest}{count(number)} event{'' if number == 1 else 's'}", colors.text)
        begun, ended = micros(events[0].occurred_at), micros(events[-1].occurred_at)
        if begun and ended and number > 1:
            text.append(f" in {span((ended - begun) / 1000)}", colors.text)
        if bad := sum(event.status == "rejected" for event in events):
            text.append(f"  ✗ {count(bad)} rejected", colors.bad)
        flows = len({event.trace_id for event in events})
        text.append(f"  in {count(flows)} flow{'' if flows == 1 else 's'}", colors.dim)
        if aggregate.coverage.evicted and aggregate.coverage.history is None:
            text.append("  older events may have left the index", colors.warn)
        if self._trouble:
            text.append(f"  ! {clean(self._trouble, 200)}", colors.bad)
        if self._gone:
            text.append("  ! no longer in the index", colors.warn)
        return text

    # --- what people do

    @on(VirtualList.Moved, "#steps")
    def _show_step(self) -> None:
        step = self.rows.item
        if step is None:
            self.facts.fill("", None)
            return
        position = step.event.position
        state = self._states.get(position)
        self.facts.fill(position, lambda folds, width: step_facts(step, state, folds, width))
        if state is None and not self._trouble:
            begin(self, self._read_state, self.asked, position, group="state", exclusive=True)

    async def _read_state(self, asked: str, position: str) -> None:
        """Read the state after the event at a position, and show it if the cursor is still there."""
        try:
            state = await self.client.aggregate(asked, limit=1, at=position)
        except (NotFound, ServerFailed, BadRequest, Unreachable):
            return  # the next look says what is wrong
        self._keep(asked, position, state)

    def _keep(self, asked: str, position: str, state: models.AggregateModel) -> None:
        if asked != self.asked:
            return
        self._states[position] = state
        if len(self._states) > MAX_KEPT_STATES:
            del self._states[next(iter(self._states))]
        if self.rows.item is not None and self.rows.item.event.position == position:
            self._show_step()

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

    def action_step(self, by: int) -> None:
        self.rows.action_move(by)

    def action_moment(self) -> None:
        from tui.dialogs.moment import MomentDialog

        if self.asked:
            self.app.push_screen(MomentDialog(), self._go_to)

    def _go_to(self, moment: str | None) -> None:
        if moment:
            begin(self, self._find_moment, self.asked, moment, group="moment", exclusive=True)

    async def _find_moment(self, asked: str, moment: str) -> None:
        """Put the cursor on the last event at a moment."""
        try:
            answer = await self.client.aggregate(asked, limit=1, at=moment)
        except (NotFound, ServerFailed, BadRequest) as error:
            self.app.notify(str(error), severity="warning")
            return
        if not answer.events:
            self.app.notify("No event of this aggregate had occurred by then", timeout=3)
            return
        position = answer.events[-1].position
        self.rows.follow = False
        if not any(step.event.position == position for step in self.rows.items):
            self.app.notify(f"That was before the {MAX_LISTED_EVENTS} events that are listed", timeout=3)
            return
        self.rows.select(position)

    def action_copy(self) -> None:
        if (step := self.rows.item) is not None:
            begin(self, self._copy, step.event, group="copy", exclusive=True)

    async def _copy(self, event: models.EventModel) -> None:
        from tui.dialogs.copy_text import CopyDialog, event_choices

        with contextlib.suppress(NotFound):
            event = await self.client.event(event.position)
        self.app.push_screen(CopyDialog(event_choices(event, self.client.url)))
