"""A text input that says so when a paste does not fit, instead of dropping it in silence."""

from __future__ import annotations

from textual import events
from textual.widgets import Input


class CheckedInput(Input):
    """An input of one line. A paste that is too long, or of several lines, changes nothing, and a message says why."""

    def on_paste(self, event: events.Paste) -> None:
        reason = describe_refused_paste(event.text, len(self.value) - len(self.selected_text), self.max_length)
        if reason:
            event.prevent_default()
            event.stop()
            self.app.notify(reason, title="Not pasted", severity="warning", timeout=5)


def describe_refused_paste(text: str, kept_chars: int, max_chars: int | None, *, max_lines: int = 1) -> str:
    """Return why a text cannot be pasted; empty if it can.

    Args:
        text: Pasted text.
        kept_chars: Length of the text that stays.
        max_chars: Longest text that fits.
        max_lines: Most lines; 0 for any number.
    """
    if max_lines and len(text.strip("\r\n").splitlines()) > max_lines:
        return f"The text has {len(text.strip().splitlines()):,} lines; this place takes one."
    if max_chars and kept_chars + len(text) > max_chars:
        return f"The text would have {kept_chars + len(text):,} characters; at most {max_chars:,} fit here."
    return ""
