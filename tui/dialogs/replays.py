"""Replays of all sidecars, newest first."""

from __future__ import annotations

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from sidecar.api.client.client import Client, ClientError
from sidecar.api.models.replays import ReplayModel
from tui.background import begin
from tui.text.columns import cut
from tui.text.sanitize import clean
from tui.text.time_format import clock, count
from tui.theme import Palette, mark, tone
from tui.widgets.virtual_list import VirtualList


def _draw(job: ReplayModel, width: int, colors: Palette) -> Text:
    what = job.query or (f"{job.ids} letters by id" if job.ids else "a range" if job.range else "all open")
    text = Text.assemble(
        (f" {mark(job.state)} {job.state:<9} ", tone(job.state, colors)),
        (f"{clock(job.started_at)[:8]}  ", colors.dim),
        (f"{count(job.published):>7} of {count(job.selected):<7}", colors.text),
        (f"{'✗ ' + count(job.returned) + ' returned' if job.returned else '':<16}", colors.bad),
    )
    text.append(cut(clean(f"{what}  by {job.by}", 200), max(1, width - text.cell_len - 1)), colors.dim)
    return text


class ReplaysDialog(ModalScreen[str | None]):
    """Returns the id of the replay to open."""

    BINDINGS = [Binding("escape,q,p", "leave", "Close")]

    def __init__(self, client: Client) -> None:
        super().__init__()
        self._client = client

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static("Replays", classes="title")
            yield VirtualList(_draw, lambda job: job.id, empty="No replays yet\nr replays letters.", id="jobs")

    def on_mount(self) -> None:
        self.set_interval(1.0, self._tick)
        self._tick()

    def _tick(self) -> None:
        begin(self, self._look, group="jobs", exclusive=True)

    async def _look(self) -> None:
        try:
            self.query_one("#jobs", VirtualList).show(await self._client.replays(limit=100))
        except ClientError as error:
            self.app.notify(str(error), severity="warning", markup=False)

    @on(VirtualList.Chosen)
    def _chosen(self, event: VirtualList.Chosen) -> None:
        self.dismiss(event.item.id)

    def action_leave(self) -> None:
        self.dismiss(None)
