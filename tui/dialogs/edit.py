"""An editor for the body of a dead letter, with live validation."""

from __future__ import annotations

import json
import re

import msgspec
from rich.text import Text
from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.timer import Timer
from textual.widgets import Button, Static, TextArea
from textual.widgets.text_area import Selection

from sidecar.api import models
from sidecar.api.client.body_diff import difference
from sidecar.api.client.client import Client, ClientError
from sidecar.api.models.replays import EditRequest, ReplayRequestModel
from sidecar.domain.json_path import InvalidPath, JsonPath, Step
from sidecar.domain.json_safe import encode_json
from tui.background import begin
from tui.dialogs.confirm import ConfirmDialog
from tui.text.body_lines import as_text
from tui.text.history_lines import format_change
from tui.text.sanitize import clean, in_json, mask_control_chars
from tui.theme import palette
from tui.widgets.checked_input import describe_refused_paste

VALIDATION_DELAY_S = 0.35
"""Pause after the last key before the text is validated."""
MAX_BODY_CHARS = 300_000
"""Maximum size of a body that can be edited here, in characters. `tracecar dlq replay --edit` has no such limit."""


class _SafeTextArea(TextArea):
    """Text area that shows pasted control characters as text."""

    def on_paste(self, event: events.Paste) -> None:
        kept = len(self.text) - len(self.selected_text)
        if reason := describe_refused_paste(event.text, kept, MAX_BODY_CHARS, max_lines=0):
            event.prevent_default()
            event.stop()
            self.app.notify(reason, title="Not pasted", severity="warning", timeout=5)

    def get_line(self, line_index: int) -> Text:
        return Text(mask_control_chars(self.document.get_line(line_index)), end="", no_wrap=True)


class EditDialog(ModalScreen[EditRequest | None]):
    """Returns the changed paths only, so that masked values stay as they are. Returns None if nothing changed."""

    BINDINGS = [
        Binding("escape", "leave", "Cancel"),
        Binding("ctrl+s", "done", "Continue to replay", priority=True),
    ]

    def __init__(self, client: Client, letter: models.DeadLetterModel) -> None:
        super().__init__()
        self._client, self._letter = client, letter
        self._text = _editable(letter.body)
        self._shown = ""
        """The text as the editor showed it first."""
        self._timer: Timer | None = None
        self.verdict = ""
        """`same`, `wrong`, `checking`, `passes` or `fails`."""
        self.edit: EditRequest | None = None
        """The change that was validated last."""

    def compose(self) -> ComposeResult:
        letter = self._letter
        why = f"{letter.path}: " if letter.path and letter.path not in letter.message else ""
        with Vertical(classes="dialog"):
            yield Static(
                Text(f"Edit {clean(letter.type or letter.id, 80)} of {clean(letter.stream, 60)}"), classes="title"
            )
            yield Static(
                Text(f"✗ {clean(letter.code, 60)}  {clean(why + letter.message, 400)}", palette(self.app.theme).bad)
            )
            area = _SafeTextArea.code_editor(
                self._text[:MAX_BODY_CHARS], language=None, theme="css", tab_behavior="focus", id="body"
            )
            self._shown = area.text
            area.read_only = len(self._text) > MAX_BODY_CHARS
            yield area
            yield Static(id="verdict")
            with Horizontal(classes="buttons"):
                yield Button("Cancel (esc)", id="leave")
                yield Button("Continue to replay (ctrl+s)", id="done", variant="primary", disabled=True)

    def on_mount(self) -> None:
        area = self.query_one(TextArea)
        area.focus()
        if (row := _line_of(self._text, self._letter.path)) is not None:
            line = area.document.get_line(row)
            begin, end = _value_of(line)
            area.selection = Selection((row, begin), (row, end))  # typing replaces the selection
            area.scroll_cursor_visible(center=True, animate=False)
        self._show_verdict(
            "same", Text("Type the new value. It is validated as you type.", palette(self.app.theme).dim)
        )

    @on(TextArea.Changed)
    def _schedule_check(self) -> None:
        if self._timer is not None:
            self._timer.stop()
        self.verdict, self.query_one("#done", Button).disabled = "checking", True
        self._timer = self.set_timer(VALIDATION_DELAY_S, self._check)

    def _edit(self) -> EditRequest | None:
        """Return what differs from the displayed body, or None if nothing does.

        Raises msgspec.DecodeError for invalid JSON, and ValueError if a mask would be written in place of the value
        that it hides.
        """
        text = self.query_one(TextArea).text
        try:
            body: object = msgspec.json.decode(text.encode())
        except msgspec.DecodeError:
            if not isinstance(self._letter.body, str):
                raise
            body = text
        return difference(self._letter.body, body)

    def _check(self) -> None:
        colors = palette(self.app.theme)
        try:
            self.edit = None if self.query_one(TextArea).text == self._text else self._edit()
        except (msgspec.DecodeError, RecursionError) as error:
            fault = _fault(self.query_one(TextArea).text) or str(error)
            self._show_verdict("wrong", Text(f"✗ not valid JSON yet: {clean(fault, 200)}", colors.warn))
            return
        except ValueError as error:
            self._show_verdict("wrong", Text(f"✗ {clean(error, 400)}", colors.warn))
            return
        if self.edit is None:
            self._show_verdict("same", Text("No changes yet.", colors.dim))
            return
        self._show_verdict("checking", Text("… validating", colors.dim))
        begin(self, self._ask, self.edit, exclusive=True, group="check")

    async def _ask(self, edit: EditRequest) -> None:
        colors = palette(self.app.theme)
        request = ReplayRequestModel(ids=[self._letter.id], edit=edit, force=True, again=True)
        try:
            plan = await self._client.plan(request)
        except ClientError as error:
            self._show_verdict("fails", Text(f"✗ {clean(error, 600)}", colors.bad))
            return
        text = Text()
        good = not plan.fails and plan.looked_at > 0 and plan.passes == plan.looked_at
        if good:
            text.append("✓ valid\n", f"bold {colors.good}")
        for check in plan.fails[:2]:
            where = f"{check.path}: " if check.path and check.path not in check.message else ""
            text.append(f"✗ {clean(check.code, 60)}  {clean(where + check.message, 400)}\n", colors.bad)
        for why in list(plan.skipped)[:2]:
            text.append(f"✗ {clean(why, 300)}\n", colors.warn)
        for change in plan.changes[:4]:
            text.append(f"  {format_change(change)}\n", colors.info)
        if len(plan.changes) > 4:
            text.append(f"  and {len(plan.changes) - 4} more changes\n", colors.dim)
        text.rstrip()
        self._show_verdict("passes" if good else "fails", text)

    def _show_verdict(self, verdict: str, text: Text) -> None:
        self.verdict = verdict
        self.query_one("#verdict", Static).update(text)
        self.query_one("#done", Button).disabled = verdict != "passes"

    @on(Button.Pressed)
    def _on_button(self, event: Button.Pressed) -> None:
        if event.button.id == "done":
            self.action_done()
        else:
            self.action_leave()

    def action_done(self) -> None:
        """Accept only a change that passes. Text typed since the last validation is validated first."""
        if self.verdict == "passes":
            self.dismiss(self.edit)
        else:
            self._check()

    def action_leave(self) -> None:
        """Leave, after a question if the text was changed."""
        if self.query_one(TextArea).text == self._shown:
            self.dismiss(None)
            return

        def on_answer(yes: bool | None) -> None:
            if yes:
                self.dismiss(None)

        self.app.push_screen(ConfirmDialog("Leave the editor? Your changes are lost.", yes="Leave"), on_answer)


def _editable(body: object) -> str:
    """Return the body as editable text. A text with invisible characters becomes a JSON string."""
    text = as_text(body)
    if isinstance(body, str) and not text.replace("\n", "").isprintable():
        text = encode_json(body).decode()
    return in_json(text)


_VALUE = re.compile(r'\s*(?:"(?:[^"\\]|\\.)*":\s*)?(.*?),?')


def _value_of(line: str) -> tuple[int, int]:
    """Return where the value of a line of indented JSON begins and ends.

    For an object or array that opens there, its end.
    """
    match = _VALUE.fullmatch(line)
    if match is None or match[1][:1] in ("", "{", "[", "}", "]"):
        return len(line), len(line)
    return match.span(1)


def _fault(text: str) -> str:
    """Return what is wrong with a JSON text and in which line; empty if the standard library finds no fault."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return f"line {error.lineno}: {error.msg}"
    except RecursionError:
        return "nested too deeply"
    return ""


def _line_of(text: str, path: str | None) -> int | None:
    """Return the line of indented JSON with the last name of a path. A guess that only places the cursor."""
    try:
        steps = JsonPath.parse(path or "").steps
    except InvalidPath:
        return None
    lines = text.split("\n")
    row, best = 0, None
    for step in steps:
        at = _item_line(lines, row, step) if isinstance(step, int) else _name_line(lines, row, step)
        if at is None:
            return best
        best = row = at
    return best


def _name_line(lines: list[str], row: int, name: Step) -> int | None:
    written = json.dumps(name, ensure_ascii=False) + ":"
    return next((n for n in range(row, len(lines)) if written in lines[n]), None)


def _item_line(lines: list[str], row: int, index: int) -> int | None:
    """Return the line of an item of the list that begins at a row; the row if the item is not there."""
    opened, indent = 0, len(lines[row]) - len(lines[row].lstrip()) + 2
    for n in range(row + 1, len(lines)):
        inner = lines[n].startswith(" " * indent) and not lines[n].startswith(" " * (indent + 1))
        if not inner or lines[n].lstrip()[:1] in ("]", "}"):
            continue
        if opened == index:
            return n
        opened += 1
    return row
