"""The status screen: problems first, each with what to do."""

from __future__ import annotations

from collections.abc import Iterable

from rich.text import Text
from textual import on
from textual.binding import Binding
from textual.widget import Widget

from sidecar.api import models
from sidecar.api.client.client import ClientError
from tui.background import begin
from tui.screens.base_screen import BaseScreen
from tui.text.sanitize import clean
from tui.text.status_lines import StatusLine, entries
from tui.text.status_tables import draw_status
from tui.text.time_format import coarse, rate
from tui.widgets.problem_note import ProblemNote
from tui.widgets.virtual_list import VirtualList

REFRESHES_PER_LETTER_COUNT = 5
"""Refreshes between two counts of the open dead letters."""


class StatusScreen(BaseScreen):
    """Problems, streams, consumer groups and sidecars. Held streams can be resumed or skipped."""

    PLACE = "status"
    REFRESH_INTERVAL_S = 1.0
    ABOUT = (
        "The sidecar and the consumer groups. Problems come first, each with what to do. Enter on a stream shows its "
        "events, and on a stopped group the event at which it stopped."
    )
    BINDINGS = [
        Binding("r", "resume", "Resume held stream"),
        Binding("s", "skip", "Skip held records"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._status: models.ServiceStatus | None = None
        self._groups: models.GroupPage | None = None
        self._letters: models.CausePage | None = None
        self._looks = 0

    def body(self) -> Iterable[Widget]:
        yield VirtualList(
            lambda entry, width, colors: draw_status(entry, width, colors, self.names),
            lambda entry: entry.key,
            stops=lambda entry: entry.kind not in ("head", "names", "do"),
            empty="Asking the sidecar …",
            id="entries",
        )
        yield ProblemNote()

    @property
    def enter_hint(self) -> str:
        entry = self.rows.item
        if entry is None:
            return ""
        kind = entry.go.partition(":")[0]
        names = {"flow": "Open event", "letters": "Show dead letters"}
        return names.get(kind, "Show events" if entry.stream is not None else "")

    def offers(self, action: str) -> bool:
        held = self._status is not None and any(stream.held for stream in self._status.streams)
        return held or action not in ("resume", "skip")

    @property
    def rows(self) -> VirtualList[StatusLine]:
        return self.query_one("#entries", VirtualList)

    async def look(self) -> None:
        self._status = await self.client.status()
        self.dashboard.learn_status(self._status)
        try:
            self._groups = await self.client.groups()
            if self._looks % REFRESHES_PER_LETTER_COUNT == 0:
                self._letters = await self.client.causes("state:open")
            self._looks += 1
        finally:
            for group in self._groups.items if self._groups is not None else ():
                self.names.groups.learn(group.group)
            self.rows.show(entries(self._status, self._groups, self._letters, self.names))
            self._show_note()

    def summary(self) -> Text:
        colors, status = self.theme_styles, self._status
        text = Text(" ", no_wrap=True, overflow="ellipsis")
        if status is None:
            return text
        text.append("● ready" if status.ready else "◌ not ready yet", colors.good if status.ready else colors.warn)
        text.append(f"   {len(status.streams)} streams", colors.text)
        text.append(f"   {rate(sum(stream.rate for stream in status.streams))}", colors.strong)
        text.append(f"   up {coarse(status.uptime_s)}", colors.dim)
        text.append(f"   {clean(self.client.url, 100)}", colors.dim)
        return text

    @on(VirtualList.Moved)
    def _show_note(self) -> None:
        self.query_one(ProblemNote).show(self.rows.item)

    @on(VirtualList.Chosen)
    def _chosen(self, event: VirtualList.Chosen) -> None:
        entry: StatusLine = event.item
        kind, _, id = entry.go.partition(":")
        if kind == "flow":
            self.dashboard.open_flow(id, at=id)
        elif kind == "letters":
            self.dashboard.visit("letters")
        elif entry.stream is not None:
            from tui.query_completion import term

            self.dashboard.open_live(term("stream", entry.stream))

    def action_resume(self) -> None:
        self._act("resume")

    def action_skip(self) -> None:
        self._act("skip")

    def _act(self, what: str) -> None:
        entry = self.rows.item
        status = self._status
        held = [held_stream.stream for held_stream in status.streams if held_stream.held] if status is not None else []
        stream = entry.stream if entry is not None and entry.stream in held else held[0] if len(held) == 1 else None
        if stream is None:
            words = "Select a held stream first" if held else "No stream is held"
            self.app.notify(words, timeout=2)
            return
        from tui.dialogs.confirm import ConfirmDialog

        words = (
            f"Resume {clean(stream, 80)}?"
            if what == "resume"
            else f"Skip the records that hold {clean(stream, 80)}? Rejected records become dead letters again."
        )

        def on_answer(yes: bool | None) -> None:
            if yes:
                begin(self, self._release, what, stream, group="act")

        self.app.push_screen(ConfirmDialog(words, yes="Confirm"), on_answer)

    async def _release(self, what: str, stream: str) -> None:
        try:
            done = await (self.client.resume(stream) if what == "resume" else self.client.skip(stream))
        except ClientError as error:
            self.app.notify(str(error), severity="error", markup=False)
            return
        lost = f"; {done.lost} records are lost: neither published nor dead-lettered" if done.lost else ""
        self.app.notify(f"{clean(done.stream, 80)}: {done.partitions} partitions resumed{lost}", markup=False)
        self.look_now()
