"""The panes of the dead-letters screen: causes, letters with details, one letter beside its schema."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Container, Vertical
from textual.widgets import ContentSwitcher

from sidecar.api import models
from tui.text.columns import titles
from tui.text.dead_letter_lines import (
    CAUSE_COLUMNS,
    LETTER_COLUMNS,
    SchemaField,
    cause_needs,
    draw_cause,
    draw_field,
    draw_letter,
    fields,
    letter_needs,
)
from tui.text.event_details import letter_details
from tui.text.names import NameBook
from tui.text.schema_changes import outline_of
from tui.widgets.cause_note import CauseNote
from tui.widgets.detail_list import DetailList
from tui.widgets.virtual_list import VirtualList

NO_LETTERS = "No letters match\nEsc goes back, / changes the query."
_FOCUS = {"by-cause": "#causes", "letters": "#list", "full": "#one"}
"""The list of each pane that takes the keys."""


class DeadLetterPanes(ContentSwitcher):
    """Shows one of three panes: `by-cause`, `letters` or `full`."""

    def __init__(self, names: NameBook) -> None:
        super().__init__(initial="by-cause", id="panes")
        self._names = names

    def compose(self) -> ComposeResult:
        causes: VirtualList[models.CauseModel] = VirtualList(
            lambda cause, width, colors: draw_cause(cause, width, colors, self._names),
            lambda cause: cause.cause,
            title=lambda width, colors: titles(CAUSE_COLUMNS, width, colors, cause_needs(self._names)),
            empty="Reading the dead letters …\n",
            id="causes",
        )
        letters: VirtualList[models.DeadLetterModel] = VirtualList(
            lambda letter, width, colors: draw_letter(letter, width, colors, self._names),
            lambda letter: letter.id,
            title=lambda width, colors: titles(LETTER_COLUMNS, width, colors, letter_needs(self._names)),
            empty=NO_LETTERS,
            id="list",
            classes="first",
        )
        facts = DetailList(empty="The letter under the cursor", id="letter", classes="second")
        details = DetailList(empty="", id="one", classes="first")
        schema: VirtualList[SchemaField] = VirtualList(
            draw_field,
            lambda field: str(field.number),
            empty="No schema\nThe letter names none, or the registry did not return it.",
            id="schema",
            classes="second",
        )
        yield Vertical(causes, CauseNote(), id="by-cause")
        yield Container(letters, facts, classes="split", id="letters")
        yield Container(details, schema, classes="split even", id="full")

    @property
    def causes(self) -> VirtualList[models.CauseModel]:
        return self.query_one("#causes", VirtualList)

    @property
    def letters(self) -> VirtualList[models.DeadLetterModel]:
        return self.query_one("#list", VirtualList)

    @property
    def facts(self) -> DetailList:
        """The details beside the list of letters."""
        return self.query_one("#letter", DetailList)

    def show_pane(self, pane: str) -> None:
        """Show a pane and give it the keys."""
        self.current = pane
        self.query_one(_FOCUS[pane]).focus()

    def show_letter(self, letter: models.DeadLetterModel, schema: models.SubjectModel | None) -> None:
        """Show the details of a letter, and its schema with the failing field marked."""
        for name in ("#letter", "#one"):
            self.query_one(name, DetailList).fill(letter.id, lambda folds, width: letter_details(letter, folds, width))
        outlined = fields(outline_of(schema), letter.path) if schema is not None else []
        at = next((str(field.number) for field in outlined if field.here), None)
        self.query_one("#schema", VirtualList).show(outlined, at=at)

    def show_no_letter(self) -> None:
        """Clear the details and the schema."""
        for name in ("#letter", "#one"):
            self.query_one(name, DetailList).fill("", None)
        self.query_one("#schema", VirtualList).show([])
