"""Progress of a replay: pause, cancel, and the outcome."""

from __future__ import annotations

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from sidecar.api import models
from sidecar.api.client.client import Client, ClientError, NotFound
from sidecar.api.models.replays import ReplayModel
from tui.background import begin
from tui.text.sanitize import clean
from tui.text.time_format import clock, count
from tui.theme import mark, palette, tone

POLL_INTERVAL_S = 0.3
ENDED = ("done", "cancelled", "failed")


class ReplayProgressDialog(ModalScreen[str | None]):
    """Returns the id of a flow to open next, or None. The replay continues whether or not this dialog is open."""

    BINDINGS = [
        Binding("escape,q", "leave", "Run in background"),
        Binding("p", "pause", "Pause or resume"),
        Binding("c", "cancel", "Cancel"),
        Binding("enter,w", "flow", "Open flow"),
    ]
    AUTO_FOCUS = ""

    def __init__(self, client: Client, job: str, ids: list[str]) -> None:
        super().__init__()
        self._client, self._job_id, self._ids = client, job, ids
        self.job: ReplayModel | None = None
        self.letter: models.DeadLetterModel | None = None
        self.again: models.EventModel | None = None
        """The replayed event, if exactly one letter was replayed and its event has been seen."""
        self._busy = False

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static("Replay", classes="title", id="progress-title")
            yield Static(id="progress")
            with Horizontal(classes="buttons"):
                yield Button("Pause (p)", id="pause")
                yield Button("Cancel replay (c)", id="cancel")
                yield Button("Close (esc)", id="leave", variant="primary")

    def on_mount(self) -> None:
        self.set_interval(POLL_INTERVAL_S, self._tick)
        self._tick()

    def _tick(self) -> None:
        if not self._busy:
            self._busy = True
            begin(self, self._look, group="progress")

    async def _look(self) -> None:
        try:
            self.job = await self._client.replay_job(self._job_id)
            if self.job.state in ENDED and len(self._ids) == 1:
                await self._follow(self._ids[0])
        except ClientError as error:
            self.query_one("#progress", Static).update(Text(clean(error, 400), palette(self.app.theme).warn))
            return
        finally:
            self._busy = False
        self._show(self.job)

    async def _follow(self, id: str) -> None:
        """Read the outcome of a single letter: its state and the replayed event."""
        try:
            self.letter = await self._client.dead_letter(id)
        except NotFound:
            return
        if self.again is None:
            query = f"stream:{self._quote_stream(self.letter.stream)} since:15m"
            for event in (await self._client.events(query, limit=1_000)).items:
                if event.replay_of == id:
                    self.again = event
                    return

    @staticmethod
    def _quote_stream(stream: str) -> str:
        from tui.query_completion import term

        return term("stream", stream).partition(":")[2]

    def _show(self, job: ReplayModel) -> None:
        colors = palette(self.app.theme)
        title = Text.assemble((f"{mark(job.state)} Replay {job.state}", tone(job.state, colors)))
        self.query_one("#progress-title", Static).update(title)
        text = Text()
        done = job.published + job.skipped + job.failed
        full = 1.0 if job.selected == 0 else min(1.0, done / job.selected)
        cells = 46
        filled = round(cells * full)
        text.append("━" * filled, colors.good if not job.failed else colors.warn)
        text.append("─" * (cells - filled), colors.line)
        text.append(f" {full:4.0%}  {count(done)} of {count(job.selected)}\n\n", colors.strong)

        def row(label: str, value: str, style: str = colors.text) -> None:
            text.append(f"{label:<12}", colors.dim)
            text.append(f"{value}\n", style)

        row("sent", count(job.published), colors.good if job.published else colors.text)
        if job.skipped:
            why = "; ".join(f"{number} {reason}" for reason, number in list(job.reasons.items())[:3])
            row("skipped", f"{count(job.skipped)}  {clean(why, 200)}", colors.warn)
        if job.failed:
            row("failed", count(job.failed), colors.bad)
            for failure in job.failures[:3]:
                row("", clean(failure.why, 240), colors.bad)
        if job.returned:
            row("returned", f"✗ {count(job.returned)} failed again", colors.bad)
        elif job.published and job.state in ENDED:
            row("returned", "none so far", colors.good)
        if self.again is not None:
            event = self.again
            passed = event.rejection is None
            what = f"{clean(event.type or 'the event', 60)} at {clock(event.appended_at)}, {event.status}"
            style = f"bold {colors.good if passed else colors.bad}"
            row("accepted" if passed else "rejected", f"{'✓' if passed else '✗'} {what}", style)
            row("", "Enter shows it in its flow", colors.dim)
        if self.letter is not None:
            row("letter", f"{mark(self.letter.state)} {self.letter.state}", tone(self.letter.state, colors))
        for warning in job.warnings[:3]:
            row("! note", clean(warning, 300), colors.warn)
        if job.note:
            row("! note", clean(job.note, 400), colors.warn)
        row("by", clean(job.by, 60) + (f", {clock(job.started_at)}" if job.started_at else ""), colors.dim)
        text.rstrip()
        self.query_one("#progress", Static).update(text)
        ended = job.state in ENDED
        self.query_one("#pause", Button).display = not ended
        self.query_one("#cancel", Button).display = not ended
        self.query_one("#pause", Button).label = "Resume (p)" if job.state == "paused" else "Pause (p)"

    @on(Button.Pressed)
    def _on_button(self, event: Button.Pressed) -> None:
        match event.button.id:
            case "pause":
                self.action_pause()
            case "cancel":
                self.action_cancel()
            case _:
                self.action_leave()

    def action_pause(self) -> None:
        if self.job is not None and self.job.state in ("running", "paused"):
            begin(self, self._act, "resume" if self.job.state == "paused" else "pause", group="act")
        else:
            self._say_ended()

    def action_cancel(self) -> None:
        if self.job is not None and self.job.state in ("running", "paused"):
            begin(self, self._act, "cancel", group="act")
        else:
            self._say_ended()

    def _say_ended(self) -> None:
        words = "The replay is not read yet" if self.job is None else f"The replay has ended: it is {self.job.state}"
        self.app.notify(words, timeout=3)

    async def _act(self, what: str) -> None:
        acts = {
            "pause": self._client.pause_replay,
            "resume": self._client.resume_replay,
            "cancel": self._client.cancel_replay,
        }
        try:
            self.job = await acts[what](self._job_id)
        except ClientError as error:
            self.app.notify(str(error), severity="warning", markup=False)
            return
        self._show(self.job)

    def action_flow(self) -> None:
        if self.again is not None:
            self.dismiss(self.again.position)
        elif self.job is not None and self.job.state in ENDED:
            self.dismiss(None)
        else:
            self.app.notify("Its event is not seen yet", timeout=2)

    def action_leave(self) -> None:
        self.dismiss(None)
