"""The place of the dashboard that a link names."""

from __future__ import annotations

from sidecar.api.models.links import DashboardLink
from tui.navigation import Navigator

_SCREENS = {
    "flows": "flows",
    "map": "map",
    "schemas": "schemas",
    "status": "status",
    "sagas": "sagas",
    "lint": "lint",
}
"""Screens by the name that links give them."""


def open_link(navigator: Navigator, link: DashboardLink) -> None:
    """Show the place that a link names."""
    match link.place:
        case "events":
            navigator.open_live(link.id)
        case "flow" | "event":
            navigator.open_flow(link.id, at=link.id if link.place == "event" else None)
        case "aggregate":
            navigator.open_aggregate(link.id)
        case "dead-letters":
            navigator.open_letters(link.id)
        case "dead-letter":
            escaped = link.id.replace("\\", "\\\\").replace('"', '\\"')
            navigator.open_letters(f'"{escaped}"')
        case "schema":
            navigator.open_schema(link.id)
        case place:
            navigator.go(_SCREENS[place])
