"""The audit log, newest first: replays, discards, restores, imports."""

from __future__ import annotations

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from sidecar.api.client.client import Client, ClientError
from sidecar.api.models.replays import AuditEntryModel
from tui.background import begin
from tui.text.columns import cut
from tui.text.sanitize import clean
from tui.text.time_format import clock, count
from tui.theme import Palette, palette
from tui.widgets.virtual_list import VirtualList


def _draw(act: AuditEntryModel, width: int, colors: Palette) -> Text:
    day = (act.at or "")[:10]
    text = Text.assemble(
        (f" {day} {clock(act.at)[:8]}  ", colors.dim),
        (f"{cut(clean(act.act.removeprefix('dead_letters.').replace('.', ' '), 40), 17):<17} ", colors.info),
        (f"{cut(clean(act.by, 40), 14):<14} ", colors.text),
        (f"{count(act.letters) if act.letters else '':>7}  ", colors.text),
    )
    more = [
        act.why or "",
        act.query or "",
        f"to {act.to}" if act.to else "",
        "edited" if act.edit else "",
        *act.ids[:1],
    ]
    rest = "  ".join(piece for piece in more if piece)
    text.append(cut(clean(rest, 300), max(1, width - text.cell_len - 1)), colors.dim)
    return text


def _key(act: AuditEntryModel) -> str:
    return f"{act.at} {act.act} {act.replay} {act.ids[:1]}"


class AuditLogDialog(ModalScreen[None]):
    """Shows the sidecar's audit log."""

    BINDINGS = [Binding("escape,q,H", "dismiss", "Close")]

    def __init__(self, client: Client) -> None:
        super().__init__()
        self._client = client

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static("Audit log: who did what, and to how many letters", classes="title")
            yield VirtualList(_draw, _key, empty="Reading …\n", id="acts")
            yield Static(id="acts-note")

    def on_mount(self) -> None:
        begin(self, self._look, group="acts")

    async def _look(self) -> None:
        note, colors = self.query_one("#acts-note", Static), palette(self.app.theme)
        try:
            page = await self._client.audit(200)
        except ClientError as error:
            note.update(Text(clean(error, 400), colors.bad))
            return
        rows = self.query_one("#acts", VirtualList)
        rows.empty = "No actions yet\nr replays letters, x discards them."
        rows.show(page.items)
        note.update(Text(clean(page.note or "", 300), colors.warn))
