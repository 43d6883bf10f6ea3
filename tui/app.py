"""The dashboard app: which screen is shown, and how the connection to the sidecar is.

Imports the API client and nothing else of the product.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from textual._styles_cache import StylesCache
from textual.app import App, SystemCommand
from textual.await_complete import AwaitComplete
from textual.binding import Binding
from textual.driver import Driver
from textual.notifications import SeverityLevel
from textual.reactive import reactive
from textual.screen import Screen

from sidecar.api import models
from sidecar.api.client.client import Client, ClientError, NotFound, Unauthorized, Unreachable
from sidecar.api.models.links import DashboardLink
from tui.flow_export import list_export_commands
from tui.link_target import open_link
from tui.screens.aggregate import AggregateScreen
from tui.screens.base_screen import BaseScreen
from tui.screens.dead_letters import DeadLettersScreen
from tui.screens.flow import FlowScreen
from tui.screens.flows import FlowsScreen
from tui.screens.lint import LintScreen
from tui.screens.live import LiveScreen
from tui.screens.sagas import SagasScreen
from tui.screens.schemas import SchemasScreen
from tui.screens.status import StatusScreen
from tui.screens.topology import TopologyScreen
from tui.text.names import NameBook
from tui.text.sanitize import clean
from tui.theme import DARK, THEMES
from tui.widgets.header import PLACES, ConnectionState

Connect = Callable[[str | None], Client]
"""Creates a client with this token, or with the known token if None."""
_TEXTUALS = frozenset({"escape", "backspace", "tab", "shift+tab", "ctrl+c", "super+c"})
"""Keys of screens that are left out of the command palette."""
FAILURE_REPEAT_S = 60.0
"""Time after which the same failure is shown again."""
MAX_SEEN_VALUES = 60
"""Values per field that are kept for completion."""


class Dashboard(App[None]):
    """The dashboard.

    Args:
        connect: Creates the API client.
        ask_token: If True, a token is required before anything is shown.
        trace_url: URL of a trace in an external tool, with `{trace_id}` in it.
        link: The place to show first.
    """

    TITLE = "Tracecar"
    CSS_PATH = Path(__file__).with_name("app.tcss")
    ENABLE_COMMAND_PALETTE = True
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-wide")]
    VERTICAL_BREAKPOINTS = [(0, "-low"), (30, "-high")]
    BINDINGS = [
        *(Binding(str(n), f"go('{place}')", name, show=False) for n, (place, name) in enumerate(PLACES, 1)),
        Binding("question_mark", "help", "Help", key_display="?"),
        Binding("ctrl+p", "command_palette", "Commands", show=False, priority=True),
        Binding("ctrl+t", "next_theme", "Theme", show=False),
        Binding("q", "quit", "Quit"),
        Binding("ctrl+c", "quit", "Quit", show=False),
    ]
    COMMAND_PALETTE_BINDING = "ctrl+p"

    link: reactive[ConnectionState] = reactive(ConnectionState(), init=False)

    def pop_screen(self) -> AwaitComplete:
        """Close the top dialog and free its memory.

        Textual caches the colors of the last thousand painted widgets, and with them all their lines: some hundred
        kilobytes for each dialog that was ever open.
        """
        popping = super().pop_screen()
        StylesCache.get_inner_outer.cache_clear()
        return popping

    def get_driver_class(self) -> type[Driver]:
        """Return the product's own terminal driver; browsers and tests use others."""
        driver = super().get_driver_class()
        if driver.__module__ != "textual.drivers.linux_driver":
            return driver
        from tui.terminal_driver import PromptDriver  # Windows has no such terminal

        return PromptDriver

    def __init__(
        self,
        connect: Connect,
        *,
        ask_token: bool = False,
        trace_url: str | None = None,
        link: DashboardLink | None = None,
    ) -> None:
        super().__init__()
        self._start_link = link
        self._connect, self._ask_token, self.trace_url = connect, ask_token, trace_url
        self.client: Client = connect(None)
        self.history: list[str] = []
        self.seen: dict[str, list[str]] = {}
        self.names = NameBook()
        self._pages: dict[str, BaseScreen] = {}
        self._here: BaseScreen | None = None
        self._trail: list[tuple[str, object]] = []
        self._asking = False
        self._statement = ""
        """SQL statement as it was left."""
        self._failures_said: dict[str, float] = {}
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = DARK

    # --- screens

    async def on_mount(self) -> None:
        pages = (
            LiveScreen(),
            FlowsScreen(),
            FlowScreen(),
            DeadLettersScreen(),
            TopologyScreen(),
            SchemasScreen(),
            StatusScreen(),
            SagasScreen(),
            LintScreen(),
            AggregateScreen(),
        )
        self._pages = {page.PLACE: page for page in pages}
        for place, page in self._pages.items():
            self.install_screen(page, place)
        self._here = self._pages["live"]
        await self.push_screen("live")
        if self._start_link is not None:
            open_link(self, self._start_link)
        if self._ask_token:
            self.ask_token("This dashboard requires a token.")

    def page(self, place: str) -> BaseScreen:
        return self._pages[place]

    @property
    def came_from(self) -> bool:
        """True if `back` has somewhere to go."""
        return bool(self._trail)

    def go(self, place: str, *, remember: bool = True) -> None:
        """Show a screen. `back` returns from it if `remember` is set."""
        assert self._here is not None
        if len(self.screen_stack) > 2:  # a dialog is open and must be answered first
            return
        if place == self._here.PLACE:
            return
        if remember:
            self._trail.append((self._here.PLACE, self._here.memento()))
            del self._trail[:-50]
        self._here = self._pages[place]
        self.switch_screen(place)

    def visit(self, place: str) -> None:
        """Show a screen whole, as its number key does: a filter that it had is cleared."""
        if len(self.screen_stack) > 2:  # a dialog is open and must be answered first
            return
        self.go(place)
        self._pages[place].when_ready(self._pages[place].show_whole)

    def action_go(self, place: str) -> None:
        self.visit(place)

    def back(self) -> None:
        """Show the screen that was shown before this one, as it was."""
        if not self._trail or self._here is None:
            return
        place, memento = self._trail.pop()
        page = self._pages[place]
        if place != self._here.PLACE:
            self.go(place, remember=False)
        page.when_ready(lambda: page.recall(memento))

    def open_flow(self, id: str, *, at: str | None = None) -> None:
        """Show the flow of any id, with the cursor on the event at the position `at`."""
        page = self._pages["flow"]
        assert isinstance(page, FlowScreen)
        if self._here is page:
            self._trail.append(("flow", page.memento()))
        else:
            self.go("flow")
        page.when_ready(lambda: page.open(id, at))

    def open_aggregate(self, id: str, *, at: str | None = None) -> None:
        """Show an aggregate over time, with the cursor on the event at the position `at`."""
        page = self._pages["aggregate"]
        assert isinstance(page, AggregateScreen)
        self.go("aggregate")
        page.when_ready(lambda: page.open(id, at))

    def look_up_aggregate(self) -> None:
        """Ask for the id of an aggregate and show it."""
        page = self._pages["aggregate"]
        self.go("aggregate")
        page.when_ready(page.action_query)

    def open_sql(self) -> None:
        """Open the dialog for SQL over the history."""
        from tui.dialogs.sql import SqlDialog

        def on_close(statement: str | None) -> None:
            self._statement = statement or ""

        self.push_screen(SqlDialog(self.client, self._statement), on_close)

    def open_letters(self, query: str) -> None:
        """Show the dead letters that match."""
        page = self._pages["letters"]
        assert isinstance(page, DeadLettersScreen)
        self.go("letters")
        page.when_ready(lambda: page.open(query))

    def open_schema(self, subject: str) -> None:
        """Show a schema subject."""
        page = self._pages["schemas"]
        assert isinstance(page, SchemasScreen)
        self.go("schemas")
        page.when_ready(lambda: page.open(subject))

    async def find_schema(self, subject: str, version: int | None) -> models.SubjectModel | None:
        """Return a subject with the text of a version, or None if the sidecar has none. Raises ClientError."""
        try:
            page = await self.client.schemas(subject, version)
        except NotFound:
            return None
        return next((item for item in page.items if isinstance(item.text, str)), None)

    def enter_query(self) -> None:
        """Open the query bar of the live screen, and come back if nothing is entered."""
        self.go("live")
        self._pages["live"].lend_query()

    def open_live(self, query: str) -> None:
        """Show the events that match."""
        self.go("live")
        self._pages["live"].ask(query)

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: SeverityLevel = "information",
        timeout: float | None = None,
        markup: bool = False,
    ) -> None:
        """Show a short message. The text may quote data from outside, so it is never parsed as markup."""
        lines = "\n".join(clean(line, 1_000) for line in message.split("\n")[:12])
        super().notify(lines, title=clean(title, 200), severity=severity, timeout=timeout, markup=False)

    # --- the sidecar

    def report_reached(self) -> None:
        """Record that the sidecar answered."""
        if self.link.state != "connected":
            if self.link.state == "lost":
                self.notify("Connected to the sidecar again.", timeout=3)
            self.link = ConnectionState("connected", service=self.link.service, alert=self.link.alert)

    def report_unreachable(self, reason: str) -> None:
        """Record that the sidecar did not answer. Screens keep polling."""
        if self.link.state != "refused":
            self.link = ConnectionState("lost", reason, self.link.service)

    def report_failure(self, error: ClientError) -> None:
        """Record that a request failed."""
        if isinstance(error, Unauthorized):
            self.link = ConnectionState("refused", str(error), self.link.service)
            self.ask_token(str(error))
        elif isinstance(error, Unreachable):
            self.report_unreachable(str(error))
        else:  # the sidecar answered: something behind it failed, such as the registry
            self.report_reached()
            self._say_failure(str(error))

    def _say_failure(self, words: str) -> None:
        """Show what failed, and not again with each refresh."""
        now = time.monotonic()
        if now - self._failures_said.get(words, -FAILURE_REPEAT_S) >= FAILURE_REPEAT_S:
            self._failures_said = {words: now}
            self.notify(words, title="The sidecar could not answer", severity="warning", timeout=6)

    def learn_status(self, status: models.ServiceStatus) -> None:
        """Record what the sidecar says of itself."""
        held = sum(1 for stream in status.streams if stream.held)
        alert = f"holds {held} stream{'s' if held > 1 else ''}" if held else "has problems" if status.trouble else ""
        self.link = ConnectionState("connected", service=status.service, alert=alert)
        for stream in status.streams:
            self._met("stream", stream.stream)
            self.names.streams.learn(stream.stream)

    def learn_event(self, event: models.EventModel) -> None:
        """Remember the values of an event for query completion."""
        self.names.learn_events((event,))
        self._met("type", event.type)
        self._met("producer", event.producer)
        self._met("stream", event.stream)
        if event.schema is not None:
            self._met("schema", event.schema.subject)

    def _met(self, field: str, value: str | None) -> None:
        if value:
            known = self.seen.setdefault(field, [])
            if value not in known and len(known) < MAX_SEEN_VALUES:
                known.append(value)

    def ask_token(self, why: str) -> None:
        from tui.dialogs.token import TokenDialog

        if self._asking:
            return
        self._asking = True
        self.push_screen(TokenDialog(why, self.client.url), self._token_given)

    async def _token_given(self, token: str | None) -> None:
        self._asking = False
        if not token:
            self.exit(message="No token was entered.")
            return
        old, self.client = self.client, self._connect(token)
        await old.close()
        self.link = ConnectionState()
        live = self._pages["live"]
        assert isinstance(live, LiveScreen)
        live.listen()
        if self._here is not None:
            self._here.look_now()

    async def on_unmount(self) -> None:
        await self.client.close()

    # --- everything by name

    def action_help(self) -> None:
        from tui.dialogs.help import HelpDialog

        if isinstance(self.screen, BaseScreen):
            self.push_screen(HelpDialog(self.screen, self.screen.ABOUT))

    def action_next_theme(self) -> None:
        names = [theme.name for theme in THEMES]
        at = names.index(self.theme) if self.theme in names else -1
        self.theme = names[(at + 1) % len(names)]

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        for number, (place, name) in enumerate(PLACES, 1):
            yield SystemCommand(f"Go to {name}", f"key {number}", lambda place=place: self.visit(place))
        if isinstance(screen, BaseScreen):
            for binding in screen.active_bindings.values():
                about = binding.binding
                if binding.node is screen and about.description and about.key not in _TEXTUALS:
                    action = about.action
                    yield SystemCommand(
                        about.description,
                        f"key {about.key_display or about.key}",
                        lambda action=action: self.call_later(screen.run_action, action),
                    )
        if isinstance(screen, FlowScreen) and screen.flow is not None:
            yield from list_export_commands(self, self.client, screen.flow.trace_id)
        yield SystemCommand("Go to an aggregate", "by its id", self.look_up_aggregate)
        yield SystemCommand("SQL", "over the history", self.open_sql)
        for theme in THEMES:
            name = theme.name.removeprefix("tracecar-")
            yield SystemCommand(f"Theme: {name}", "ctrl+t: next theme", lambda n=theme.name: self._use(n))
        yield SystemCommand("Help for this screen", "key ?", self.action_help)
        yield SystemCommand("Quit", "key q", self.exit)

    def _use(self, theme: str) -> None:
        self.theme = theme
