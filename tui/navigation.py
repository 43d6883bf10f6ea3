"""Protocol of the app for its screens, dialogs and widgets: navigation, and the sidecar to ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from textual.notifications import SeverityLevel

from sidecar.api import models
from sidecar.api.client.client import Client, ClientError
from tui.text.names import NameBook
from tui.widgets.header import ConnectionState


class Navigator(Protocol):
    """Interface of the app that its screens use (`tui.app.Dashboard`)."""

    history: list[str]
    """Queries that were entered, oldest first."""

    @property
    def client(self) -> Client: ...

    @property
    def names(self) -> NameBook:
        """Names that were displayed, for shortening them."""

    @property
    def link(self) -> ConnectionState: ...

    @property
    def seen(self) -> Mapping[str, Sequence[str]]:
        """Values of query fields that were displayed, for completion."""

    @property
    def trace_url(self) -> str | None:
        """URL of a trace in an external tool, with `{trace_id}` in it."""

    @property
    def came_from(self) -> bool:
        """True if `back` has somewhere to go."""

    def go(self, place: str, *, remember: bool = True) -> None:
        """Show a screen. `back` returns from it if `remember` is set."""

    def visit(self, place: str) -> None:
        """Show a screen whole, as its number key does: a filter that it had is cleared."""

    def back(self) -> None:
        """Show the screen that was shown before this one, as it was."""

    def enter_query(self) -> None:
        """Open the query bar of the live screen, and come back if nothing is entered."""

    def open_flow(self, id: str, *, at: str | None = None) -> None:
        """Show the flow of any id, with the cursor on the event at the position `at`."""

    def open_aggregate(self, id: str, *, at: str | None = None) -> None:
        """Show an aggregate over time, with the cursor on the event at the position `at`."""

    def open_letters(self, query: str) -> None:
        """Show the dead letters that match."""

    def open_schema(self, subject: str) -> None:
        """Show a schema subject."""

    def open_live(self, query: str) -> None:
        """Show the events that match."""

    async def find_schema(self, subject: str, version: int | None) -> models.SubjectModel | None:
        """Return a subject with the text of a version, or None if the sidecar has none. Raises ClientError."""

    def report_reached(self) -> None:
        """Record that the sidecar answered."""

    def report_unreachable(self, reason: str) -> None:
        """Record that the sidecar did not answer."""

    def report_failure(self, error: ClientError) -> None:
        """Record that a request failed."""

    def learn_status(self, status: models.ServiceStatus) -> None:
        """Record what the sidecar says of itself."""

    def learn_event(self, event: models.EventModel) -> None:
        """Remember the values of an event for completion."""

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: SeverityLevel = "information",
        timeout: float | None = None,
        markup: bool = False,
    ) -> None:
        """Show a short message."""
