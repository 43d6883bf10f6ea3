"""The flow screen: the causal tree over time on the left, the event under the cursor on the right."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote

from rich.text import Text
from textual import on
from textual.binding import Binding
from textual.containers import Container
from textual.widget import Widget

from sidecar.api import models
from sidecar.api.client.client import ClientError, NotFound
from tui.background import begin
from tui.open_browser import has_browser
from tui.screens.base_screen import BaseScreen
from tui.text.event_details import event_facts
from tui.text.name_cells import streams_cell
from tui.text.sanitize import clean
from tui.text.time_format import clock, span
from tui.text.waterfall_layout import Waterfall, WaterfallLine, waterfall
from tui.text.waterfall_lines import draw, preferred_tree_width, title
from tui.theme import mark, tone
from tui.widgets.detail_list import DetailList
from tui.widgets.virtual_list import VirtualList

_MAX_CACHED_EVENTS = 64


class FlowScreen(BaseScreen):
    """One flow: its causal tree, and the details of the selected event."""

    PLACE = "flow"
    REFRESH_INTERVAL_S = 2.0
    QUERYING = None
    ABOUT = (
        "One flow. A bar runs from the cause of an event to the event, on a common time axis; a dashed bar is an "
        "inferred link. ⋯ is a long pause, such as before a replay, that is folded. Tab switches between the tree and "
        "the event. In the event, Space folds, and Enter opens what a line refers to. Y copies a link or a command."
    )
    BINDINGS = [
        Binding("d", "letter", "Dead letter"),
        Binding("n", "failure", "Next rejected"),
        Binding("c", "cause", "Cause"),
        Binding("e", "effect", "Effect"),
        Binding("v", "its_aggregate", "Aggregate"),
        Binding("left_square_bracket", "aggregate(-1)", "Same aggregate", key_display="[ ]"),
        Binding("right_square_bracket", "aggregate(1)", "Next event of the aggregate", key_display="]", show=False),
        Binding("space", "unfold", "Duplicates"),
        Binding("y", "copy", "Copy"),
        Binding("o", "elsewhere", "Open trace URL"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.id_asked: str | None = None
        self.flow: models.FlowModel | None = None
        self._fall = Waterfall([], 0)
        self._unfolded: set[str] = set()
        self._events: dict[str, models.EventModel] = {}
        self._at: str | None = None
        self._gone = ""
        self._tree_width = 30

    def body(self) -> Iterable[Widget]:
        tree: VirtualList[WaterfallLine] = VirtualList(
            lambda line, width, colors: draw(self._fall, self._tree_width, line, width, colors, self.names),
            lambda line: line.key,
            title=lambda width, colors: title(self._fall, self._tree_width, width, colors, self.names),
            empty="No flow is open\nPress enter on an event (1), a flow (2) or a dead letter (4).",
            id="tree",
        )
        tree.add_class("first")
        facts = DetailList(empty="The event under the cursor", id="facts")
        facts.add_class("second")
        yield Container(tree, facts, classes="split")

    @property
    def enter_hint(self) -> str:
        if self.facts.has_focus:
            return self.facts.enter_hint
        line = self.lines.item
        return "" if line is None else "Show dead letter" if line.why else "Show details"

    @property
    def up_hint(self) -> str:
        return "Tree" if self.facts.has_focus else ""

    def go_up(self) -> None:
        self.lines.focus()

    def offers(self, action: str) -> bool:
        line = self.lines.item
        match action:
            case "letter":
                return line is not None and line.event.rejection is not None
            case "failure":
                return self.flow is not None and self.flow.status == "rejected"
            case "unfold":
                return line is not None and bool(line.copies) and not self.facts.has_focus
            case "elsewhere":
                return self.dashboard.trace_url is not None
        return line is not None or action == "query"

    @property
    def lines(self) -> VirtualList[WaterfallLine]:
        return self.query_one("#tree", VirtualList)

    @property
    def facts(self) -> DetailList:
        return self.query_one("#facts", DetailList)

    # --- which flow

    def open(self, id: str, at: str | None = None) -> None:
        """Show the flow that has this id, with the cursor on the event at a position."""
        self.id_asked, self._at, self._gone = id, at, ""
        self.flow, self._fall = None, Waterfall([], 0)
        self._unfolded.clear()
        self._events.clear()
        self.lines.empty = "Searching for the flow …\n"
        self.lines.chosen_key = None
        self.lines.show([])
        self.facts.fill("", None)
        self.lines.focus()
        self.say()
        self.look_now()

    @property
    def place_id(self) -> str:
        return self.id_asked or ""

    def memento(self) -> object:
        item = self.lines.item
        return (self.id_asked, item.event.position if item else None)

    def recall(self, memento: object) -> None:
        if isinstance(memento, tuple) and memento[0] is not None and memento[0] != self.id_asked:
            self.open(memento[0], memento[1])

    async def look(self) -> None:
        asked = self.id_asked
        if asked is None:
            self.dashboard.learn_status(await self.client.status())  # checks that the sidecar still answers
            return
        try:
            flow = await self.client.flow(asked)
        except NotFound as error:
            self._gone = str(error)
            if self.flow is None:
                self.lines.empty = (
                    f"There is no flow of {clean(asked, 60)}\nIt may be older than the index: "
                    "tracecar events --scan searches the broker.\nEsc goes back."
                )
                self.lines.refresh()
            return
        if asked != self.id_asked:
            self.look_again()
            return
        self._gone = ""
        self._take(flow)

    def look_again(self) -> None:
        self.call_later(self.look_now)

    def _take(self, flow: models.FlowModel) -> None:
        self.flow = flow
        self._fall = waterfall(flow, self._unfolded)
        self.names.learn_events(line.event for line in self._fall.lines)
        self._tree_width = preferred_tree_width(self._fall.lines, self.names)
        at, self._at = self._at, None
        self.lines.show(self._fall.lines, at=at)
        if at is None or self.lines.chosen_key != at:
            self._show_event()
        self.say()

    # --- what is said

    def summary(self) -> Text:
        colors, flow = self.theme_styles, self.flow
        text = Text(" ", no_wrap=True, overflow="ellipsis")
        if flow is None:
            return text
        text.append(f"{mark(flow.status)} {flow.status}", f"bold {tone(flow.status, colors)}")
        text.append(
            f"  {flow.event_count} event{'' if flow.event_count == 1 else 's'} in {span(flow.duration_ms)}",
            colors.strong,
        )
        text.append(f"  {clock(flow.started_at)}  ", colors.dim)
        text.append_text(streams_cell(flow.streams, max(20, self.size.width // 2), colors, self.names))
        text.append(f"  {clean(', '.join(flow.aggregates[:4]), 120)}", colors.text)
        if flow.elsewhere:
            text.append(f"  +{flow.elsewhere} events of this id in other flows", colors.dim)
        if flow.broken_keys:
            text.append(
                f"  ! {clean(flow.broken_keys[0], 40)} is in too many events to join them, and is ignored", colors.warn
            )
        if self._gone:
            text.append("  ! no longer in the index", colors.warn)
        text.append(f"  {flow.trace_id}", colors.dim)
        return text

    # --- the event under the cursor

    @on(VirtualList.Moved, "#tree")
    def _show_event(self) -> None:
        line = self.lines.item
        if line is None:
            self.facts.fill("", None)
            return
        event = line.event
        full = self._events.get(event.position)
        if full is None:
            self.facts.fill(event.position, lambda folds, width: event_facts(event, folds, width))
        else:
            self._fill(event, full)
        begin(self, self._fetch, event, group="event", exclusive=True)

    async def _fetch(self, event: models.FlowEventModel) -> None:
        """Read the payload, and which groups have consumed the event."""
        try:
            full = await self.client.event(event.position)
        except ClientError as error:
            full = event
            if not isinstance(error, NotFound):
                self.dashboard.report_failure(error)
        if len(self._events) >= _MAX_CACHED_EVENTS:
            self._events.clear()
        self._events[event.position] = full
        line = self.lines.item
        if line is not None and line.event.position == event.position:
            self._fill(event, full)

    def _fill(self, event: models.FlowEventModel, full: models.EventModel) -> None:
        self.facts.fill(event.position, lambda folds, width: event_facts(full, folds, width))

    # --- what people do

    @on(VirtualList.Chosen, "#tree")
    def _chosen(self, event: VirtualList.Chosen) -> None:
        line: WaterfallLine = event.item
        if line.why:
            self.action_letter()
        else:
            self.facts.focus()

    @on(DetailList.Led)
    def _on_link(self, event: DetailList.Led) -> None:
        kind, _, id = event.to.partition(":")
        if kind == "aggregate":
            self.action_its_aggregate()
        elif kind == "schema":
            self.dashboard.open_schema(id)
        elif kind == "flow":
            self.dashboard.open_flow(id)

    def action_cause(self) -> None:
        line = self.lines.item
        if line is None:
            return
        if line.event.parent is None or not self.lines.select(line.event.parent):
            why = "Its cause is not in the index" if line.missing else "This event has no known cause"
            self.app.notify(why, timeout=2)

    def action_effect(self) -> None:
        line = self.lines.item
        if line is None:
            return
        for other in self._fall.lines:
            if other.event.parent == line.event.position and not other.why:
                self.lines.select(other.key)
                return
        self.app.notify("This event has no known effects", timeout=2)

    def action_failure(self) -> None:
        bad = [n for n, line in enumerate(self._fall.lines) if line.event.status == "rejected" and not line.why]
        if not bad:
            self.app.notify("No event of this flow was rejected", timeout=2)
            return
        after = next((n for n in bad if n > self.lines.cursor), bad[0])
        self.lines.select(self._fall.lines[after].key)

    def action_its_aggregate(self) -> None:
        line = self.lines.item
        if line is None or line.event.aggregate_id is None:
            self.app.notify("This event has no aggregate id", timeout=2)
        else:
            self.dashboard.open_aggregate(line.event.aggregate_id, at=line.event.position)

    def action_aggregate(self, by: int) -> None:
        begin(self, self._step, by, group="step", exclusive=True)

    async def _step(self, by: int) -> None:
        """Go to the previous or next event of the aggregate, in any flow."""
        line = self.lines.item
        if line is None or line.event.aggregate_id is None:
            self.app.notify("This event has no aggregate id", timeout=2)
            return
        id = line.event.aggregate_id
        try:
            aggregate = await self.client.aggregate(id)
        except ClientError as error:
            self.app.notify(str(error), severity="warning", markup=False)
            return
        positions = [event.position for event in aggregate.events]
        if line.event.position not in positions:
            return
        at = positions.index(line.event.position)
        if not 0 <= at + by < len(positions):
            end = "first" if by < 0 else "last"
            self.app.notify(f"This is the {end} event of {clean(id, 60)} in the index", timeout=2, markup=False)
            return
        target = positions[at + by]
        if not self.lines.select(target):
            self.dashboard.open_flow(target, at=target)
        self.app.notify(f"{clean(id, 60)}: event {at + by + 1} of {len(positions)}", timeout=2, markup=False)

    def action_letter(self) -> None:
        line = self.lines.item
        if line is None:
            return
        if line.event.rejection is None:
            self.app.notify("This event was not rejected. n goes to the next rejected event", timeout=2)
        else:
            self.dashboard.open_letters(_exactly("position", line.event.position))

    def action_unfold(self) -> None:
        line = self.lines.item
        if line is None or not line.copies or self.flow is None:
            self.app.notify("This event has no duplicates to show", timeout=2)
            return
        self._unfolded ^= {line.key}
        self._take(self.flow)

    def action_copy(self) -> None:
        from tui.dialogs.copy_text import CopyDialog, event_choices

        line = self.lines.item
        if line is not None:
            event = self._events.get(line.event.position, line.event)
            self.app.push_screen(CopyDialog(event_choices(event, self.client.url)))

    def action_elsewhere(self) -> None:
        template = self.dashboard.trace_url
        if self.flow is None:
            return
        if template is None:
            self.app.notify(
                "Start with: tracecar tui --trace-url 'http://jaeger:16686/trace/{trace_id}'",
                title="No trace URL",
                markup=False,
            )
            return
        url = template.replace("{trace_id}", quote(self.flow.trace_id, safe=""))
        opens = self.app.is_web or has_browser()
        if opens:
            self.app.open_url(url)
        else:
            self.app.copy_to_clipboard(url)
        self.app.notify(clean(url, 300), title="Opened" if opens else "Copied: no browser is available here", timeout=5)


def _exactly(field: str, value: str) -> str:
    from tui.query_completion import term

    return term(field, value)
