"""The dry run of a replay, and its confirmation."""

from __future__ import annotations

import msgspec
from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from sidecar.api.client.client import Client, ClientError
from sidecar.api.models.replays import PlanModel, ReceiverModel, ReplayRequestModel
from tui.background import begin
from tui.text.columns import wrap
from tui.text.history_lines import format_change
from tui.text.sanitize import clean
from tui.text.time_format import count
from tui.theme import palette

MAX_SHOWN_ROWS = 6
LABEL_CELLS = 12
"""Width of the labels, in cells."""


class ReplayDialog(ModalScreen[ReplayRequestModel | None]):
    """Returns the confirmed request, or None."""

    BINDINGS = [
        Binding("escape,n", "leave", "Cancel"),
        Binding("y", "begin", "Replay"),
        Binding("g", "growth", "Growing batches"),
        Binding("a", "again", "Again"),
        Binding("f", "force", "Force"),
        Binding("o", "group", "For one group"),
    ]
    AUTO_FOCUS = "#leave"

    def __init__(self, client: Client, request: ReplayRequestModel, what: str) -> None:
        super().__init__()
        self._client, self._request, self._what = client, request, what
        self.plan: PlanModel | None = None

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Text(f"Replay {clean(self._what, 200)}"), classes="title")
            with VerticalScroll(id="plan-scroll"):
                yield Static("Dry run, nothing is sent …", id="plan")
            yield Static(id="options")
            with Horizontal(classes="buttons"):
                yield Button("Cancel (esc)", id="leave")
                yield Button("Replay (y)", id="begin", variant="primary", disabled=True)

    def on_mount(self) -> None:
        self._try()

    def on_resize(self) -> None:
        if self.plan is not None:
            self.query_one("#plan", Static).update(self._text(self.plan))

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
        self.query_one("#plan", Static).update(self._text(self.plan))
        self.query_one("#begin", Button).disabled = self.plan.sendable == 0
        self._show_options()

    def _text(self, plan: PlanModel) -> Text:
        colors = palette(self.app.theme)
        text = Text()
        width = max(20, self.query_one("#plan", Static).size.width - LABEL_CELLS)

        def row(label: str, value: str, style: str = colors.text) -> None:
            for piece in wrap(value, width):
                text.append(f"{label:<{LABEL_CELLS}}", colors.dim)
                text.append(f"{piece}\n", style)
                label = ""

        kept = f", {count(plan.kept_back)} kept back" if plan.kept_back else ""
        row("letters", f"{count(plan.sendable)} of {count(plan.selected)} would be sent{kept}", colors.strong)
        for why, number in list(plan.skipped.items())[:MAX_SHOWN_ROWS]:
            row("", f"{count(number)} skipped: {_keys(clean(why, 240))}", colors.warn)
        for target in plan.targets[:MAX_SHOWN_ROWS]:
            missing = "" if target.exists else "  ✗ does not exist"
            row(
                "to",
                f"{clean(target.stream, 100)}  ({count(target.count)}){missing}",
                colors.bad if missing else colors.text,
            )
        if not plan.receivers:
            row("received by", "no other group consumes this stream")
        label = "received by" if plan.sendable else "consumed by"
        for names, how, receiver in _alike(plan):
            row(label, f"{names} on {clean(receiver.stream, 60)}{how}",
                colors.warn if receiver.passed or receiver.kept_back else colors.text)  # fmt: skip
            label = ""
        good = plan.passes == plan.looked_at
        if plan.looked_at:
            row("valid now",
                f"{'✓' if good else '✗'} {count(plan.passes)} of {count(plan.looked_at)} checked",
                colors.good if good else colors.bad)  # fmt: skip
        for check in plan.fails[:MAX_SHOWN_ROWS]:
            where = f"{check.path}: " if check.path and check.path not in check.message else ""
            row("", f"✗ {count(check.count)} {clean(check.code, 60)}  {clean(where + check.message, 240)}", colors.bad)
        for change in plan.changes[:MAX_SHOWN_ROWS]:
            row("change", format_change(change), colors.info)
        for warning in plan.warnings[:MAX_SHOWN_ROWS]:
            row("! note", _keys(clean(warning, 400)), colors.warn)
        text.rstrip()
        return text

    def _show_options(self) -> None:
        colors, request = palette(self.app.theme), self._request
        text = Text("\n")
        kept = self.plan.kept_back if self.plan is not None else 0
        them = (
            f"the {count(kept)} kept back, although groups have consumed them"
            if kept
            else "letters that groups have consumed"
        )
        options = (
            ("g", request.batch_growth, "in batches of 1, 2, 5, 10, 20, …; stop when a cause recurs"),
            ("a", request.again, f"also {them}"),
            ("f", request.force, "also replayed, discarded and parked letters"),
        )
        for key, is_on, about in options:
            text.append(f" {key} ", f"bold {colors.accent}")
            text.append(f"[{'x' if is_on else ' '}] {about}\n", colors.text if is_on else colors.dim)
        if self.plan is not None and self.plan.receivers:
            text.append(" o ", f"bold {colors.accent}")
            group = request.group
            about = f"only for {clean(group, 60)} (other groups can skip it)" if group else "only for one group"
            about += ", those kept back too" if kept else ""
            text.append(f"[{'x' if group else ' '}] {about}\n", colors.text if group else colors.dim)
        if self.plan is not None and not self.plan.sendable:
            text.append("\n Nothing would be sent. Use the keys above to change the options.\n", colors.warn)
        text.rstrip()
        self.query_one("#options", Static).update(text)

    def action_growth(self) -> None:
        self._with(batch_growth=not self._request.batch_growth)

    def action_again(self) -> None:
        self._with(again=not self._request.again)

    def action_force(self) -> None:
        self._with(force=not self._request.force)

    def action_group(self) -> None:
        """Select the next receiving group; after the last one, all groups."""
        if self.plan is not None:
            names: list[str | None] = [None, *dict.fromkeys(receiver.group for receiver in self.plan.receivers)]
            at = names.index(self._request.group) if self._request.group in names else 0
            self._with(group=names[(at + 1) % len(names)])

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
        if self.plan is not None and self.plan.sendable:
            self.dismiss(self._request)

    def action_leave(self) -> None:
        self.dismiss(None)


def _alike(plan: PlanModel) -> list[tuple[str, str, ReceiverModel]]:
    """Group the receiving consumer groups by their state: their names, the state, and one example."""
    groups: dict[tuple[str, str], list[ReceiverModel]] = {}
    for receiver in plan.receivers:
        again = (
            ""
            if not receiver.passed
            else ", again"
            if plan.sendable == 1
            else f", {count(receiver.passed)} of them again"
        )
        lag = f"  lag {count(receiver.lag)}" if receiver.lag else ""
        groups.setdefault((receiver.stream, f"{again}{_has(receiver.kept_back, plan.selected)}{lag}"), []).append(
            receiver
        )
    lines = []
    for (_, how), alike in list(groups.items())[: 2 * MAX_SHOWN_ROWS]:
        names = ", ".join(clean(member.group, 60) for member in alike[: 2 * MAX_SHOWN_ROWS])
        more = f" and {len(alike) - 2 * MAX_SHOWN_ROWS} more groups" if len(alike) > 2 * MAX_SHOWN_ROWS else ""
        lines.append((names + more, how, alike[0]))
    return lines


def _has(kept_back: int, selected: int) -> str:
    if not kept_back:
        return ""
    return ", consumed it" if selected == 1 else f", consumed {count(kept_back)} of those kept back"


def _keys(sentence: str) -> str:
    """Return the hint for a key.

    The sidecar names command-line options; here each one is a key, and an option without a key is not offered.
    """
    for option, key in (("--again", "a"), ("--force", "f"), ("--group G", "o"), ("--batch-growth", "g")):
        sentence = sentence.replace(option, f"key {key}")
    return sentence.replace(", --to S elsewhere", "").replace(", key o or --to S", " or key o")
