"""The dry run of a replay, the question where to send, and the confirmation."""

from __future__ import annotations

from typing import cast

import msgspec
from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from sidecar.api.client.client import Client, ClientError
from sidecar.api.models.replays import PlanModel, ReplayRequestModel
from tui.background import begin
from tui.dialogs.choose_group import ChooseGroupDialog
from tui.dialogs.stream_name import StreamNameDialog
from tui.navigation import Navigator
from tui.text.columns import wrap
from tui.text.replay_plan import ask_where, is_expected_to_fail, plan_rows
from tui.text.sanitize import clean
from tui.text.time_format import count
from tui.theme import palette

LABEL_CELLS = 12
"""Width of the labels, in cells."""
READING = "The dry run is not finished yet"
NOTHING_TO_SEND = "Nothing would be sent: answer with a, o or s where to send, or esc cancels"
NOTHING_LEFT = "Nothing would be sent: none of these letters is open. f includes replayed, discarded and parked ones"


class ReplayDialog(ModalScreen[ReplayRequestModel | None]):
    """Returns the confirmed request, or None.

    Where groups have consumed past the records, it asks where to send them. The texts of the options never change.
    """

    BINDINGS = [
        Binding("escape,n", "leave", "Cancel"),
        Binding("y", "begin", "Replay"),
        Binding("a", "again", "To all groups"),
        Binding("o", "group", "To one group"),
        Binding("s", "stream", "To another stream"),
        Binding("g", "growth", "Growing batches"),
        Binding("f", "force", "Also replayed ones"),
    ]
    AUTO_FOCUS = "#leave"

    def __init__(self, client: Client, request: ReplayRequestModel, what: str) -> None:
        super().__init__()
        self._client, self._request, self._what = client, request, what
        self.plan: PlanModel | None = None
        self._question = ""
        self._groups: list[str] = []

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Text(f"Replay {clean(self._what, 300)}"), classes="title")
            yield Static(id="question")
            yield Static(id="targets")
            with VerticalScroll(id="plan-scroll"):
                yield Static("Dry run, nothing is sent …", id="plan")
            yield Static(id="options")
            with Horizontal(classes="buttons"):
                yield Button("Cancel (esc)", id="leave")
                yield Button("Replay (y)", id="begin", disabled=True)

    def on_mount(self) -> None:
        self._try()

    def on_resize(self) -> None:
        if self.plan is not None:
            self._show(self.plan)

    def _try(self) -> None:
        self.plan = None
        self.query_one("#begin", Button).disabled = True
        self._show_options()
        begin(self, self._plan, exclusive=True, group="plan")

    async def _plan(self) -> None:
        try:
            self.plan = await self._client.plan(self._request)
        except ClientError as error:
            self.query_one("#plan", Static).update(Text(clean(error, 1_000), palette(self.app.theme).bad))
            return
        if self.plan.kept_back and not self._question:
            self._question = ask_where(self.plan)
        self._groups = list(dict.fromkeys([*self._groups, *(receiver.group for receiver in self.plan.receivers)]))
        self._show(self.plan)

    # --- what is shown

    def _show(self, plan: PlanModel) -> None:
        """Show the dry run. A replay that is expected to fail is not the primary button."""
        self.query_one("#plan", Static).update(self._text(plan))
        fails = is_expected_to_fail(plan)
        button = self.query_one("#begin", Button)
        letters = f"{count(plan.sendable)} letter{'' if plan.sendable == 1 else 's'}"
        button.label = f"Replay {letters}{' anyway' if fails else ''} (y)"
        button.variant = "default" if fails else "primary"
        button.disabled = plan.sendable == 0
        self._show_options()

    def _text(self, plan: PlanModel) -> Text:
        colors = palette(self.app.theme)
        text = Text()
        width = max(20, self.query_one("#plan", Static).size.width - LABEL_CELLS)
        for row in plan_rows(plan, self._request, cast("Navigator", self.app).names, width):
            label = row.label
            for piece in wrap(row.text, width):
                text.append(f"{label:<{LABEL_CELLS}}", colors.dim)
                text.append(f"{piece}\n", getattr(colors, row.tone))
                label = ""
        text.rstrip()
        return text

    def _show_options(self) -> None:
        colors, request = palette(self.app.theme), self._request
        question = self.query_one("#question", Static)
        question.display = bool(self._question)
        question.update(Text(self._question, f"bold {colors.warn}"))
        targets = self.query_one("#targets", Static)
        targets.display = bool(self._question or self._groups)
        is_all = request.again if self._question else request.group is None and request.to is None
        targets.update(
            self._choices(
                ("a", is_all and request.group is None and request.to is None, "all groups"),
                ("o", request.group is not None, "only one group …"),
                ("s", request.to is not None, "another stream …"),
            )
        )
        self.query_one("#options", Static).update(
            self._choices(
                ("g", request.batch_growth, "in batches of 1, 2, 5, 10, 20, …; stop when a cause recurs"),
                ("f", request.force, "also replayed, discarded and parked letters"),
            )
        )

    def _choices(self, *options: tuple[str, bool, str]) -> Text:
        colors, text = palette(self.app.theme), Text()
        for key, is_on, about in options:
            text.append(f" {key} ", f"bold {colors.accent}")
            text.append(f"[{'x' if is_on else ' '}] {about}\n", colors.text)
        text.rstrip()
        return text

    # --- what people do

    def action_growth(self) -> None:
        self._with(batch_growth=not self._request.batch_growth)

    def action_force(self) -> None:
        self._with(force=not self._request.force)

    def action_again(self) -> None:
        """Send to all groups, also to those that have consumed the records."""
        self._with(again=bool(self._question), group=None, to=None)

    def action_group(self) -> None:
        """Send to one of the groups that receive the stream."""
        if self.plan is None:
            self.app.notify(READING, timeout=3)
        elif not self._groups:
            self.app.notify("No other group consumes this stream, so there is none to choose", timeout=3)
        elif len(self._groups) == 1:
            self._choose_group(self._groups[0])
        else:
            self.app.push_screen(ChooseGroupDialog(self._groups), self._choose_group)

    def _choose_group(self, group: str | None) -> None:
        if group is not None:
            self._with(group=group, again=False, to=None)

    def action_stream(self) -> None:
        self.app.push_screen(StreamNameDialog(), self._choose_stream)

    def _choose_stream(self, stream: str | None) -> None:
        if stream is not None:
            self._with(to=stream, again=False, group=None)

    def _with(self, **changes: bool | str | None) -> None:
        self._request = msgspec.structs.replace(self._request, **changes)
        self._try()

    @on(Button.Pressed)
    def _on_button(self, event: Button.Pressed) -> None:
        if event.button.id == "begin":
            self.action_begin()
        else:
            self.action_leave()

    def action_begin(self) -> None:
        if self.plan is None:
            self.app.notify(READING, timeout=3)
        elif not self.plan.sendable:
            self.app.notify(NOTHING_TO_SEND if self.plan.kept_back else NOTHING_LEFT, severity="warning", timeout=5)
        else:
            self.dismiss(self._request)

    def action_leave(self) -> None:
        self.dismiss(None)
