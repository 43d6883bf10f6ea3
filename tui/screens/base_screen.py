"""The base of all screens: header, query bar, key hints and periodic refresh."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ClassVar, cast

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import Screen
from textual.widget import Widget

from sidecar.api.client.client import BadRequest, Client, ClientError, NotFound, ServerFailed
from tui.background import begin
from tui.navigation import Navigator
from tui.text.names import NameBook
from tui.text.sanitize import clean
from tui.theme import Palette, palette
from tui.widgets.detail_list import DetailList
from tui.widgets.header import TopBar
from tui.widgets.key_hints import KeyHints
from tui.widgets.query_bar import QueryBar
from tui.widgets.summary_line import SummaryLine
from tui.widgets.virtual_list import VirtualList

WIDE_SPLIT_CELLS = 110
"""Width from which on panes are beside one another, as in `app.tcss`."""
MAX_SPLIT_STEPS = 12
MIN_LIST_LINES = 4
ASKING = "Asking the sidecar …\n"
SILENT = "The sidecar does not answer\nRetrying. Check that it is running and that the address is right."


class BaseScreen(Screen[None]):
    """One of the numbered screens. It keeps its state while others are shown."""

    PLACE: ClassVar[str]
    REFRESH_INTERVAL_S: ClassVar[float] = 1.0
    """Refresh interval in seconds."""
    QUERYING: ClassVar[str | None] = None
    """Example of a query, if the screen takes one."""
    COMPLETES: ClassVar[bool] = True
    """False if a query is a part of a name, without fields."""
    ABOUT: ClassVar[str] = ""
    """Text for the help dialog."""
    AUTO_FOCUS = "VirtualList"
    BINDINGS = [
        Binding("slash", "query", "Query", key_display="/"),
        Binding("escape,backspace", "back", "Back", show=False),
        Binding("Y", "copy_place", "Copy link or command", show=False),
        Binding("less_than_sign", "resize_split(-1)", "Smaller list", key_display="<", show=False),
        Binding("greater_than_sign", "resize_split(1)", "Larger list", key_display=">", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.asked = ""
        """The query whose answer is shown."""
        self._looking = False
        self._answered = False
        self._failure = ""
        """The sidecar's last answer, if it was that it failed."""
        self._split = 0
        """Share of the list in steps, if it was set by hand."""
        self._lent = False
        """True if the query bar was opened from a screen that has none."""
        self._ready = False
        self._waiting_acts: list[Callable[[], None]] = []

    def when_ready(self, act: Callable[[], None]) -> None:
        """Call `act` now, or as soon as the screen has its widgets."""
        if self._ready:
            act()
        else:
            self._waiting_acts.append(act)

    @property
    def dashboard(self) -> Navigator:
        return cast("Navigator", self.app)

    @property
    def client(self) -> Client:
        return self.dashboard.client

    @property
    def names(self) -> NameBook:
        return self.dashboard.names

    @property
    def theme_styles(self) -> Palette:
        return palette(self.app.theme)

    # --- what a screen is

    def body(self) -> Iterable[Widget]:
        """Yield the screen's widgets."""
        return ()

    async def look(self) -> None:
        """Ask the sidecar and show its answer. Raises ClientError."""

    def summary(self) -> Text:
        """Return the line below the header."""
        return Text()

    async def judge(self, query: str) -> str | None:
        """Validate a query. Raises BadRequest if it is wrong.

        Returns the query that was probably meant, if nothing matches and a better one is known.
        """
        page = await self.client.events(query, limit=1)
        return None if page.items else page.did_you_mean

    def ask(self, query: str) -> None:
        """Show what matches this query from now on."""
        self.asked = query
        self.say()
        self.look_now()

    @property
    def enter_hint(self) -> str:
        """Name of what Enter does with the current focus; empty if nothing."""
        return ""

    @property
    def escape_hint(self) -> str:
        """Name of what Escape does; empty if nothing."""
        if self.escape_clears:
            return "Clear filter"
        return self.up_hint or ("Back" if self.dashboard.came_from else "")

    @property
    def up_hint(self) -> str:
        """Name of the part of the screen that `go_up` shows; empty if there is none above."""
        return ""

    def go_up(self) -> None:
        """Return from a part of the screen to the one above it, such as from details to their list."""

    @property
    def filter_text(self) -> str:
        """The filter that hides a part of what the screen shows otherwise; empty if all is shown."""
        return self.asked if self.QUERYING is not None else ""

    @property
    def escape_clears(self) -> bool:
        """True if Escape clears the filter, before it goes up or back."""
        return bool(self.filter_text)

    def clear_filter(self) -> None:
        """Show all again."""
        self.ask("")

    def show_whole(self) -> None:
        """Show the screen as its number key does: without a filter."""
        if self.filter_text:
            self.clear_filter()

    def offers(self, action: str) -> bool:
        """Return True if the key of this action has something to act on here."""
        return True

    def memento(self) -> object:
        """Return what is needed to restore the screen; the query by default."""
        return self.asked

    def recall(self, memento: object) -> None:
        """Restore the screen from `memento`."""
        if isinstance(memento, str) and memento != self.asked:
            self.ask(memento)

    # --- how it goes

    def compose(self) -> ComposeResult:
        yield TopBar(self.PLACE)
        yield SummaryLine(id="summary")
        with Vertical(id="body"):
            yield from self.body()
        if self.QUERYING is not None:
            yield QueryBar(
                lambda: self.dashboard.seen if self.COMPLETES else None,
                self.dashboard.history if self.COMPLETES else [],
                example=self.QUERYING,
                id="query",
            )
        yield KeyHints()

    def on_mount(self) -> None:
        self.set_interval(self.REFRESH_INTERVAL_S, self._tick)
        self.watch(self.app, "link", self._link_changed)
        self.watch(self.app, "theme", self._theme_changed, init=False)
        self._ready = True
        acts, self._waiting_acts = self._waiting_acts, []
        for act in acts:
            act()

    def _link_changed(self) -> None:
        for top in self.query(TopBar):  # there is none while the screen is being removed
            top.show(self.dashboard.link)
            self.say()

    def _theme_changed(self) -> None:
        self.say()
        self.query(TopBar).refresh()

    def on_screen_resume(self) -> None:
        self._link_changed()
        self.look_now()

    def on_resize(self) -> None:
        self.say()

    def _tick(self) -> None:
        if self.is_active:
            self.look_now()

    def look_now(self) -> None:
        if self._ready and not self._looking:
            self._looking = True
            begin(self, self._look, group="look")

    async def _look(self) -> None:
        try:
            await self.look()
        except BadRequest as error:
            self.dashboard.notify(str(error), title="Invalid query", severity="warning", markup=False)
        except (ServerFailed, NotFound) as error:  # the sidecar answered
            self._failure = str(error)
            self.dashboard.report_reached()
            self.say()
        except ClientError as error:
            self.dashboard.report_failure(error)
        else:
            self._answered, self._failure = True, ""
            self.dashboard.report_reached()
            self.say()
        finally:
            self._looking = False

    def action_copy_place(self) -> None:
        """Copy what is shown as a `tracecar` command or as a link."""
        from tui.dialogs.copy_text import CopyDialog, place_choices

        if choices := place_choices(self.PLACE, self.place_id, self.client.url):
            self.app.push_screen(CopyDialog(choices))

    @property
    def place_id(self) -> str:
        """The query or the id that the screen shows; empty if it shows all."""
        return self.asked

    def action_resize_split(self, by: int) -> None:
        """Give the list more or less of the space that it shares with the pane beside or below it."""
        if not self.query(".split"):
            self.app.notify("This screen has one pane", timeout=2)
            return
        self._split = max(1, min(MAX_SPLIT_STEPS - 1, (self._split or MAX_SPLIT_STEPS // 2) + by))
        self._arrange_split()

    def _arrange_split(self) -> None:
        """Size the panes: as they were set by hand; below one another, a list takes no more lines than it has."""
        is_wide = self.size.width >= WIDE_SPLIT_CELLS
        for split in self.query(".split"):
            first, second = split.query_one(".first"), split.query_one(".second")
            shares = (self._split, MAX_SPLIT_STEPS - self._split) if self._split else (0, 0)
            for pane, share in zip((first, second), shares, strict=True):
                if share:
                    setattr(pane.styles, "width" if is_wide else "height", f"{share}fr")
            fits = (
                second.display and isinstance(first, VirtualList) and not isinstance(first, DetailList) and not is_wide
            )
            pane_lines = max(MIN_LIST_LINES, first.full_height) if fits and isinstance(first, VirtualList) else None
            first.styles.max_height = pane_lines

    def say(self) -> None:
        """Redraw the summary line, the lists' placeholders and the key hints."""
        if self._ready:
            self._arrange_split()
            lost = self.dashboard.link.state == "lost"
            summary = self._disconnected_text() if lost else self._failed_text() if self._failure else self.summary()
            self.query_one(SummaryLine).show(self.filter_text, summary)
            for rows in self.query(VirtualList):
                rows.wait("" if self._answered else SILENT if lost else ASKING)
            self.query_one(KeyHints).refresh()

    def _failed_text(self) -> Text:
        """Return the line shown in place of the summary while the sidecar cannot answer, such as in an outage."""
        text = Text(" ", no_wrap=True, overflow="ellipsis")
        text.append("✗ The sidecar could not answer, retrying: ", f"bold {self.theme_styles.bad}")
        return text.append(clean(self._failure, 400), self.theme_styles.text)

    def _disconnected_text(self) -> Text:
        """Return the line shown in place of the summary while the sidecar does not answer."""
        text = Text(" ", no_wrap=True, overflow="ellipsis")
        text.append("✗ Disconnected, retrying; the data shown is old. ", f"bold {self.theme_styles.bad}")
        return text.append(clean(self.dashboard.link.reason, 300), self.theme_styles.dim)

    # --- queries

    def lend_query(self) -> None:
        """Open the query bar for another screen, which is shown again if nothing is entered."""
        self.action_query()
        self._lent = True

    def action_query(self) -> None:
        if self.QUERYING is None:
            self.dashboard.enter_query()
        else:
            self.query_one(QueryBar).open(self.asked)

    @on(QueryBar.Asked)
    def _query_asked(self, event: QueryBar.Asked) -> None:
        begin(self, self._ask, event.query, group="ask", exclusive=True)

    async def _ask(self, query: str) -> None:
        bar = self.query_one(QueryBar)
        try:
            suggestion = await self.judge(query) if query else None
        except BadRequest as error:
            bar.wrong(str(error), error.at, error.did_you_mean)
        except ClientError as error:
            bar.wrong(str(error), None)
        else:
            if suggestion and not bar.is_confirmed(query):
                bar.suggest(suggestion)
                return
            self._lent = False
            bar.close()
            self.ask(query)

    @on(QueryBar.Closed)
    def _query_closed(self) -> None:
        self.refocus()
        if self._lent:  # nothing was entered: return to the screen that asked
            self._lent = False
            self.dashboard.back()

    def refocus(self) -> None:
        """Focus the list."""
        for rows in self.query("VirtualList"):
            if rows.display:
                rows.focus()
                return

    def action_back(self) -> None:
        """Clear the filter, else go up within the screen, else return to the screen before."""
        if self.escape_clears:
            self.clear_filter()
        elif self.up_hint:
            self.go_up()
        else:
            self.dashboard.back()

    @on(SummaryLine.FilterCleared)
    def _filter_cleared(self) -> None:
        self.clear_filter()

    @on(SummaryLine.FilterOpened)
    def _filter_opened(self) -> None:
        self.action_query()

    @on(TopBar.Wanted)
    def _place_wanted(self, event: TopBar.Wanted) -> None:
        self.dashboard.visit(event.place)
