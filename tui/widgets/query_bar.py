"""The query bar: completion, history, and error messages below the input."""

from __future__ import annotations

from collections.abc import Callable

from rich.text import Text
from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.message import Message
from textual.reactive import reactive
from textual.widgets import Input, Static
from textual.widgets.input import Selection

from tui import query_completion
from tui.text.sanitize import clean
from tui.theme import palette
from tui.widgets.checked_input import CheckedInput

MAX_QUERY_CHARS = 2_000
MAX_HISTORY_ENTRIES = 100


class _QueryInput(CheckedInput):
    """The input. Up, Down and Tab are handled by the bar around it."""

    BINDINGS = [
        Binding("up", "bar('older')", "Older query", show=False),
        Binding("down", "bar('newer')", "Newer query", show=False),
        Binding("tab", "bar('complete')", "Complete", show=False),
        Binding("ctrl+n", "bar('other')", "Another completion", show=False),
        Binding("escape", "bar('close')", "Close", show=False),
    ]

    def validate_value(self, value: str) -> str:
        """Pasted text may carry control sequences; they are removed."""
        return value if value.isprintable() else "".join(c for c in value if c.isprintable())

    def action_bar(self, what: str) -> None:
        bar = self.parent
        assert isinstance(bar, QueryBar)
        getattr(bar, what)()


class QueryBar(Vertical):
    """Hidden until it is opened. `seen` returns recent values by field, or None if nothing is completed."""

    DEFAULT_CSS = """
    QueryBar { height: auto; background: $surface; padding: 0 1; }
    QueryBar _QueryInput { border: none; height: 1; padding: 0; background: $surface; }
    QueryBar _QueryInput:focus { border: none; background-tint: transparent; }
    QueryBar Static { height: auto; }
    """

    error: reactive[str] = reactive("")

    class Asked(Message):
        """A query was entered."""

        def __init__(self, query: str) -> None:
            self.query = query
            super().__init__()

    class Closed(Message):
        """The bar was closed; the previous query stays."""

    def __init__(
        self, seen: Callable[[], query_completion.Seen | None], history: list[str], *, example: str, id: str
    ) -> None:
        super().__init__(id=id)
        self.display = False
        self._seen, self._history, self._example = seen, history, example
        self._back = 0
        self._offered: tuple[int, list[str]] = (0, [])
        self._at = 0
        self._opened_with = ""
        self._suggestion = ""
        self._fruitless = ""

    def compose(self) -> ComposeResult:
        yield _QueryInput(
            placeholder=f"query, for example  {self._example}", max_length=MAX_QUERY_CHARS, select_on_focus=False
        )
        yield Static(id="under-query")

    @property
    def line(self) -> Input:
        return self.query_one(_QueryInput)

    def open(self, query: str) -> None:
        self.display = True
        self._opened_with, self._fruitless = query, ""
        self.line.value = query
        self.line.selection = Selection(
            0, len(query)
        )  # typing starts a new completion, an arrow key edits the entered query
        self._back, self.error = 0, ""
        self.screen.set_focus(self.line)  # at once: the next key already belongs to the query
        self._show()

    def close(self) -> None:
        """Close the bar. A query that was typed and not run is kept in the history."""
        draft = self.line.value.strip()
        if draft and draft != self._opened_with and draft not in self._history[-1:]:
            self._history.append(draft)
        self.display = False
        self.post_message(self.Closed())

    @property
    def is_open(self) -> bool:
        return self.display

    def wrong(self, message: str, at: int | None, did_you_mean: str | None = None) -> None:
        """Show what is wrong with the query, and where; and the query that was probably meant, which Tab takes."""
        caret = "" if at is None else " " * Text(self.line.value[:at]).cell_len + "▲ "
        self._suggestion = did_you_mean or ""
        self.error = f"{caret}{clean(message)}" + (
            f"\ndid you mean  {clean(did_you_mean)}  (tab takes it)" if did_you_mean else ""
        )

    def suggest(self, did_you_mean: str) -> None:
        """Show that nothing matches, and the query that was probably meant. Enter runs the typed one all the same."""
        self._fruitless = self.line.value.strip()
        self.wrong("Nothing matches; enter runs it all the same", None, did_you_mean)

    def is_confirmed(self, query: str) -> bool:
        """Return True if this query was entered again although nothing matched it."""
        return bool(query) and query == self._fruitless

    def watch_error(self) -> None:
        if self.is_mounted:
            self._show()

    @on(Input.Changed)
    def _offer_completions(self, event: Input.Changed) -> None:
        event.stop()
        self.error, self._at, self._suggestion = "", 0, ""
        self._offered = self._find_completions()
        self._show()

    @on(Input.Submitted)
    def _submit(self, event: Input.Submitted) -> None:
        event.stop()
        query = event.value.strip()
        if query and (not self._history or self._history[-1] != query):
            self._history.append(query)
            del self._history[:-MAX_HISTORY_ENTRIES]
        self.post_message(self.Asked(query))

    def _show(self) -> None:
        colors = palette(self.app.theme)
        if self.error:
            self.query_one("#under-query", Static).update(Text(self.error, colors.bad))
            return
        offered = self._offered[1]
        text = Text(no_wrap=True, overflow="ellipsis")
        if offered:
            for index, word in enumerate(offered):
                text.append(f" {clean(word, 40)} ", "reverse" if index == self._at else colors.info)
                text.append(" ")
            text.append("tab accepts, ctrl+n: next" if len(offered) > 1 else "tab accepts", colors.dim)
        else:
            completes = self._seen() is not None
            hint = query_completion.about(self.line.value, self.line.cursor_position) if completes else ""
            text.append(f"{hint}   " if hint else "", colors.info)
            keys = "enter runs · tab completes · ↑ history · esc closes" if completes else "enter searches · esc closes"
            text.append(keys, colors.dim)
        self.query_one("#under-query", Static).update(text)

    def _find_completions(self) -> tuple[int, list[str]]:
        at, seen = self.line.cursor_position, self._seen()
        return (at, []) if seen is None else query_completion.complete(self.line.value, at, seen)

    def complete(self) -> None:
        if self._suggestion:
            self.line.value = self._suggestion
            self.line.cursor_position = len(self.line.value)
            return
        start, words = self._offered
        if not words:
            start, words = self._find_completions()
            if not words:
                return
        word, at = words[self._at % len(words)], self.line.cursor_position
        value = self.line.value
        space = "" if word.endswith((":", ".")) or value[at:].startswith(" ") else " "
        self.line.value = value[:start] + word + space + value[at:]
        self.line.cursor_position = start + len(word) + len(space)

    def other(self) -> None:
        if self._offered[1]:
            self._at = (self._at + 1) % len(self._offered[1])
            self._show()

    def older(self) -> None:
        self._recall(self._back + 1)

    def newer(self) -> None:
        self._recall(self._back - 1)

    def _recall(self, back: int) -> None:
        if 0 <= back <= len(self._history):
            self._back = back
            self.line.value = self._history[-back] if back else ""
            self.line.cursor_position = len(self.line.value)

    def on_descendant_blur(self, event: events.DescendantBlur) -> None:
        if self.is_open and not self.error:
            self.call_after_refresh(self._close_if_left)

    def _close_if_left(self) -> None:
        if self.is_open and not self.line.has_focus and self.app.screen is self.screen:
            self.close()
