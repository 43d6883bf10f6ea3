"""The sagas screen: sagas by state, and the steps of the selected one."""

from __future__ import annotations

from collections.abc import Iterable

from rich.text import Text
from textual import on
from textual.binding import Binding
from textual.containers import Container
from textual.widget import Widget

from sidecar.api import models
from sidecar.api.client.client import ClientError, NotFound
from tui.background import begin
from tui.query_completion import term
from tui.screens.base_screen import BaseScreen
from tui.text import time_format
from tui.text.columns import titles
from tui.text.saga_lines import (
    COLUMNS,
    STATE_MARKS,
    STATE_ORDER,
    SagaLine,
    describe_saga,
    draw_saga,
    draw_saga_line,
    state_style,
)
from tui.widgets.virtual_list import VirtualList

MAX_SHOWN_SAGAS = 1_000


class SagasScreen(BaseScreen):
    """List of sagas, stuck and failed ones first; for the selected one its steps and the reason why it is stuck."""

    PLACE = "sagas"
    REFRESH_INTERVAL_S = 2.0
    QUERYING = "state:stuck saga:order since:1h"
    ABOUT = (
        "Sagas that the configuration declares (`sagas`), stuck ones first. The right side shows the steps of the "
        "one under the cursor: ✓ seen, ✗ missing, ↩ undone. Enter leads into the steps, and from a step to its event "
        "or dead letter; f shows the whole flow."
    )
    BINDINGS = [Binding("f", "flow", "Its flow"), Binding("d", "letters", "Its dead letters")]

    def __init__(self) -> None:
        super().__init__()
        self._states: dict[str, int] = {}
        self._shown: str | None = None

    def body(self) -> Iterable[Widget]:
        left: VirtualList[models.SagaModel] = VirtualList(
            lambda saga, width, colors: draw_saga(saga, width, colors, time_format.now()),
            lambda saga: saga.id,
            title=lambda width, colors: titles(COLUMNS, width, colors),
            empty="No sagas\nDeclare sagas under `sagas` in the configuration.\n"
            "tracecar sagas learn proposes declarations from the flows that were seen.",
            id="sagas",
        )
        left.add_class("first")
        right: VirtualList[SagaLine] = VirtualList(
            draw_saga_line, lambda piece: piece.key, empty="The saga under the cursor", id="steps"
        )
        right.add_class("second")
        yield Container(left, right, classes="split even")

    @property
    def rows(self) -> VirtualList[models.SagaModel]:
        return self.query_one("#sagas", VirtualList)

    @property
    def steps(self) -> VirtualList[SagaLine]:
        return self.query_one("#steps", VirtualList)

    @property
    def enter_hint(self) -> str:
        if self.rows.has_focus:
            return "Its steps" if self.rows.item is not None else ""
        piece = self.steps.item
        if piece is None:
            return ""
        return "Its dead letter" if piece.letter else "Its event" if piece.position else ""

    @property
    def up_hint(self) -> str:
        return "Processes" if self.steps.has_focus else ""

    def go_up(self) -> None:
        self.rows.focus()

    def offers(self, action: str) -> bool:
        return self.rows.item is not None or action not in ("flow", "letters")

    async def judge(self, query: str) -> str | None:
        await self.client.sagas(query, limit=1)
        return None

    async def look(self) -> None:
        try:
            page = await self.client.sagas(self.asked, limit=MAX_SHOWN_SAGAS)
        except NotFound:  # none are declared
            self._states = {}
            self.rows.show([])
            self.steps.show([])
            return
        self._states = page.states
        self.rows.show(sorted(page.items, key=lambda saga: STATE_ORDER.index(saga.state)))
        self._show_saga()

    def summary(self) -> Text:
        colors = self.theme_styles
        text = Text(" ", no_wrap=True, overflow="ellipsis")
        for state in STATE_ORDER:
            count = self._states.get(state, 0)
            style = state_style(state, colors) if count else colors.dim
            text.append(f"{STATE_MARKS[state]} {count:,} {state}   ", style)
        total = sum(self._states.values())
        if total > len(self.rows.items) > 0:
            text.append(f"   the first {len(self.rows.items):,} of {total:,}", colors.warn)
        return text

    @on(VirtualList.Moved, "#sagas")
    def _show_saga(self) -> None:
        saga = self.rows.item
        if saga is None:
            self.steps.show([])
            return
        if saga.id != self._shown:
            self._shown = saga.id
            self.steps.show(describe_saga(saga))
        begin(self, self._fetch, saga, group="saga", exclusive=True)

    async def _fetch(self, saga: models.SagaModel) -> None:
        try:
            whole = await self.client.saga(saga.id)
        except NotFound:
            return
        except ClientError as error:
            self.dashboard.report_failure(error)
            return
        if self._shown == saga.id:
            self.steps.show(describe_saga(whole))

    @on(VirtualList.Chosen, "#sagas")
    def _choose_saga(self) -> None:
        self.steps.focus()

    @on(VirtualList.Chosen, "#steps")
    def _choose_step(self) -> None:
        piece = self.steps.item
        saga = self.rows.item
        if piece is None or saga is None:
            return
        if piece.letter is not None:
            self.dashboard.open_letters(f'"{piece.letter}"')
        elif piece.position is not None:
            self.dashboard.open_flow(piece.position, at=piece.position)
        else:
            self.dashboard.notify("No event belongs to this line: f shows the flow of the saga.", timeout=4)

    def action_flow(self) -> None:
        """Show the flow of the selected saga, at the event after which it stopped."""
        if (saga := self.rows.item) is not None:
            first = next((step.event for step in saga.steps if step.event is not None), saga.trace_id)
            before = saga.obstacle.before if saga.obstacle is not None else None
            self.dashboard.open_flow(first, at=before)

    def action_letters(self) -> None:
        """Show the dead letters of the selected saga."""
        if (saga := self.rows.item) is not None:
            self.dashboard.open_letters(term("trace", saga.trace_id))
