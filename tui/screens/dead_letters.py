"""The dead-letters screen: failure causes, then letters, then one letter beside its schema."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from msgspec import UNSET
from rich.text import Text
from textual import on
from textual.binding import Binding
from textual.widget import Widget

from sidecar.api import models
from sidecar.api.client.client import ClientError, NotFound, ServerFailed
from sidecar.api.models.replays import ReplayRequestModel
from tui.background import begin
from tui.letter_cache import LetterCache
from tui.query_completion import term, toggle_term
from tui.screens.dead_letter_actions import DeadLetterActionsScreen
from tui.text.dead_letter_lines import open_letters
from tui.text.dead_letter_summary import describe_cause, format_letters, summarize_causes, summarize_letters
from tui.widgets.cause_note import CauseNote
from tui.widgets.dead_letter_panes import NO_LETTERS, DeadLetterPanes
from tui.widgets.detail_list import DetailList
from tui.widgets.virtual_list import VirtualList

MAX_LISTED_LETTERS = 500
"""Most letters in a list."""
MAX_LISTED_CAUSES = 200
MAX_LETTERS_PER_REQUEST = 10_000
"""Most letters named in one request."""

NO_CAUSES = "No dead letters\nRejected events appear here, grouped by cause."
NO_MATCH = "No dead letter matches the query\nEsc clears it, / changes it."
SELECT_FIRST = "Select a letter first: Enter shows the letters of a cause"


class DeadLettersScreen(DeadLetterActionsScreen):
    """The causes of dead letters, then the letters of a cause, then one letter beside its schema."""

    PLACE = "letters"
    REFRESH_INTERVAL_S = 2.0
    QUERYING = "state:open code:schema.mismatch stream:shipping"
    ABOUT = (
        "Why events failed, and how to replay them. The causes come first. Enter shows the letters of a cause; Enter "
        "again shows one letter beside its schema. r replays the marked letters, or the one under the cursor, after a "
        "dry run and a confirmation. e edits the body of a letter before its replay. No letter is ever deleted here."
    )
    BINDINGS = [
        Binding("e", "edit", "Edit"),
        Binding("r", "replay", "Replay"),
        Binding("space", "mark", "Mark"),
        Binding("u", "restore", "Restore"),
        Binding("x", "discard", "Discard"),
        Binding("w", "flow", "Flow"),
        Binding("v", "aggregate", "Aggregate"),
        Binding("f", "only_open", "Only open"),
        Binding("p", "replays", "Replays"),
        Binding("H", "history", "Audit log"),
        Binding("a", "mark_all", "Mark all"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._causes: models.CausePage | None = None
        self._letters: list[models.DeadLetterModel] = []
        self._more = False
        self._cause: models.CauseModel | None = None
        self._level = "causes"
        self._direct = False
        """True if the letters come from a query, without causes above them."""
        self._cache = LetterCache()
        self._jobs = ""
        self._edit_next = False

    def body(self) -> Iterable[Widget]:
        yield DeadLetterPanes(self.names)

    @property
    def enter_hint(self) -> str:
        match self._level:
            case "causes":
                return "Show letters" if self.causes.item is not None else ""
            case "letters" if self.letters.has_focus:
                return "Open letter" if self.letter is not None else ""
        focused = self.focused
        return focused.enter_hint if isinstance(focused, DetailList) else ""

    @property
    def escape_clears(self) -> bool:
        return bool(self.asked) and not self._direct  # letters of a link are a place of their own: Escape leaves it

    @property
    def up_hint(self) -> str:
        if self._level == "causes":
            return ""
        if self._level == "full" or self.panes.facts.has_focus:
            return "Letters"
        return "" if self._direct and self.dashboard.came_from else "Causes"

    def go_up(self) -> None:
        if self._level == "full":
            self._to("letters")
        elif self.panes.facts.has_focus:
            self.letters.focus()
        elif self._direct:
            self.ask("")
        else:
            self._to("causes")
            self.look_now()

    def clear_filter(self) -> None:
        if self._direct:
            self.ask("")
        else:
            self.asked = ""
            self.say()
            self.look_now()

    def show_whole(self) -> None:
        if self.asked or self._level != "causes":
            self.ask("")

    def offers(self, action: str) -> bool:
        match action:
            case "edit" | "flow" | "aggregate":
                return self.letter is not None
            case "mark" | "mark_all":
                return self._level == "letters" and self.letter is not None
            case "replay" | "discard":
                return self.selected_letters() is not None
            case "restore":
                return self.letter is not None and self.letter.state == "discarded"
            case "only_open":
                return self._level == "causes"
        return True

    @property
    def panes(self) -> DeadLetterPanes:
        return self.query_one(DeadLetterPanes)

    @property
    def causes(self) -> VirtualList[models.CauseModel]:
        return self.panes.causes

    @property
    def letters(self) -> VirtualList[models.DeadLetterModel]:
        return self.panes.letters

    @property
    def letter(self) -> models.DeadLetterModel | None:
        """The letter under the cursor."""
        return None if self._level == "causes" else self.letters.item

    # --- data

    def _query(self) -> str:
        """Return what the listed letters have in common."""
        if self._direct or self._cause is None:
            return self.asked
        return f"{self.asked} {term('cause', self._cause.cause)}".strip()

    async def look(self) -> None:
        if self._level == "causes":
            page = await self.client.causes(self.asked, limit=MAX_LISTED_CAUSES)
            page.items.sort(key=lambda cause: (-open_letters(cause), -cause.count, cause.cause))
            self._causes = page
            self.names.learn_letters(page.items)
            self.causes.empty = NO_MATCH if self.asked else NO_CAUSES
            self.causes.show(page.items)
            self.query_one(CauseNote).show(self.causes.item)
        else:
            letters = await self.client.dead_letters(self._query(), limit=MAX_LISTED_LETTERS)
            self.names.learn_letters(letters.items)
            self._letters, self._more = letters.items, letters.cursor is not None
            self.letters.marked &= {letter.id for letter in letters.items}
            self.letters.empty = NO_LETTERS
            self._edit_next &= bool(letters.items)
            self.letters.show(self._letters)
            self._show_letter()
        jobs = await self.client.replays(limit=5)
        running = [job for job in jobs if job.state in ("running", "paused")]
        self._jobs = ", ".join(f"{job.state} {job.published}/{job.selected}" for job in running)

    @property
    def place_id(self) -> str:
        return self.letter.id if self._level == "full" and self.letter is not None else self._query()

    async def judge(self, query: str) -> str | None:
        page = await self.client.dead_letters(query, limit=1)
        return None if page.items else page.did_you_mean

    def ask(self, query: str) -> None:
        self._direct = False
        self._to("causes")
        super().ask(query)

    def open(self, query: str) -> None:
        """Show the letters that match, without their causes."""
        self.asked, self._direct, self._cause = query, True, None
        self._reload()
        self._to("letters")
        self.look_now()

    def _reload(self) -> None:
        """Clear the list, so that no old letter is taken for one of the new list."""
        self._letters, self._more = [], False
        self.letters.marked.clear()
        self.letters.chosen_key = None
        self.letters.empty = "Reading the letters …\n"
        self.letters.show([])
        self._show_letter()

    def memento(self) -> object:
        return (self._level, self.asked, self._direct, self._cause, self.letters.chosen_key)

    def recall(self, memento: object) -> None:
        if isinstance(memento, tuple):
            level, self.asked, self._direct, self._cause, key = memento
            self.letters.chosen_key = key
            self._to(level)
            self.look_now()

    def _to(self, level: str) -> None:
        self._level, self._edit_next = level, False
        self.panes.show_pane("by-cause" if level == "causes" else level)
        self.say()

    def summary(self) -> Text:
        colors = self.theme_styles
        if self._level == "causes":
            text = summarize_causes(self._causes, colors)
        else:
            text = summarize_letters(
                len(self._letters),
                colors,
                more=self._more,
                marked=len(self.letters.marked),
                cause=None if self._direct else self._cause,
                letter=self.letter if self._level == "full" else None,
                names=self.names,
            )
        if self._jobs:
            text.append(f"   » replay {self._jobs} (p)", colors.info)
        return text

    @on(VirtualList.Moved, "#causes")
    def _cause_moved(self) -> None:
        self.query_one(CauseNote).show(self.causes.item)

    # --- one letter

    @on(VirtualList.Moved, "#list")
    def _show_letter(self) -> None:
        letter = self.letters.item
        if letter is None:
            self.panes.show_no_letter()
            return
        self.panes.show_letter(self._cache.full(letter) or letter, self._cache.schema(letter))
        if not self._cache.is_current(letter):
            begin(self, self._fetch, letter, group="letter", exclusive=True)

    async def _fetch(self, letter: models.DeadLetterModel) -> None:
        try:
            full = await self._cache.read_letter(self.dashboard, letter.id)
            self._fill_if_selected(full)  # the schema may take longer, or fail
            with suppress(ServerFailed):  # the registry is unreachable: the next refresh asks again
                await self._cache.read_schema(self.dashboard, full)
        except NotFound:
            self._edit_next = False
            return
        except ClientError as error:
            self._edit_next = False
            self.dashboard.report_failure(error)
            return
        if self._fill_if_selected(full) and self._edit_next and self.is_active:
            self._edit_next = False
            self.action_edit()

    def _fill_if_selected(self, letter: models.DeadLetterModel) -> bool:
        selected = self.letters.item
        if selected is None or selected.id != letter.id:
            return False
        self.panes.show_letter(letter, self._cache.schema(letter))
        return True

    # --- deeper and back

    @on(VirtualList.Chosen, "#causes")
    def _cause_chosen(self, event: VirtualList.Chosen) -> None:
        self._cause, self._direct = event.item, False
        self._reload()
        self._to("letters")
        self.look_now()

    @on(VirtualList.Chosen, "#list")
    def _letter_chosen(self) -> None:
        self._to("full")

    @on(DetailList.Led)
    def _on_link(self, event: DetailList.Led) -> None:
        kind, _, id = event.to.partition(":")
        match kind:
            case "flow":
                self.dashboard.open_flow(id)
            case "aggregate":
                self.action_aggregate()
            case "letters":
                self.open(id)
            case "letter":
                self.open(term("position", id.partition("@")[2]))
            case "schema":
                self.dashboard.open_schema(id)

    def action_flow(self) -> None:
        letter = self.letter
        id = letter.origin or letter.trace_id or letter.aggregate_id if letter is not None else None
        if id is None:
            self.app.notify(SELECT_FIRST, timeout=2)
        else:
            self.dashboard.open_flow(id, at=letter.origin if letter is not None else None)

    def action_aggregate(self) -> None:
        letter = self.letter
        if letter is None or letter.aggregate_id is None:
            self.app.notify(SELECT_FIRST if letter is None else "This letter has no aggregate id", timeout=2)
        else:
            self.dashboard.open_aggregate(letter.aggregate_id, at=letter.origin)

    def action_only_open(self) -> None:
        self.ask(toggle_term(self.asked, "state:open"))

    # --- selection and replay

    def action_mark(self) -> None:
        rows = self.letters
        if self._level != "letters" or (letter := rows.item) is None:
            self.app.notify(SELECT_FIRST if self._level == "causes" else "Marks are set in the list: Esc", timeout=3)
            return
        rows.marked ^= {letter.id}
        rows.redraw()
        rows.action_move(1)
        self.say()

    def action_mark_all(self) -> None:
        if self._level == "letters":
            every = {letter.id for letter in self._letters}
            self.letters.marked = set() if self.letters.marked == every else every
            self.letters.redraw()
            self.say()
        else:
            self.app.notify(SELECT_FIRST if self._level == "causes" else "Marks are set in the list: Esc", timeout=3)

    def selected_letters(self) -> tuple[ReplayRequestModel, str] | None:
        marked = self._marked_ids()
        if self._level == "causes":
            cause = self.causes.item
            if cause is None:
                return None
            query = f"{self.asked} {term('cause', cause.cause)}".strip()
            return ReplayRequestModel(query=query), describe_cause(cause)
        if marked and self._level == "letters":
            return ReplayRequestModel(ids=marked[:MAX_LETTERS_PER_REQUEST]), format_letters(len(marked), "marked ")
        letter = self.letter
        if letter is None:
            return None
        return ReplayRequestModel(ids=[letter.id]), f"the letter of {letter.type or letter.id}"

    def _marked_ids(self) -> list[str]:
        return [letter.id for letter in self._letters if letter.id in self.letters.marked]

    def chosen(self) -> list[str]:
        return self._marked_ids() or ([self.letter.id] if self.letter is not None else [])

    def refresh_after_action(self) -> None:
        self.letters.marked.clear()
        self._cache.forget_letters()
        self.look_now()

    def action_edit(self) -> None:
        letter = self.letter
        if self._level == "causes":
            self.app.notify(SELECT_FIRST, timeout=2)
            return
        full = self._cache.full(letter) if letter is not None else None
        if full is None:
            self._edit_next = True  # as soon as it is read
            return
        if full.body is UNSET or full.body is None:
            self.app.notify("This letter has no body to edit", timeout=3)
            return
        self.edit(full)
