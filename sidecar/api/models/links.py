"""Links to places of the dashboard: `#/flow/4711`, alone or behind the address of a dashboard in a browser."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

MAX_LINK_CHARS = 8_000
LINK_PLACES = {
    "events": False,
    "event": True,
    "flows": False,
    "flow": True,
    "aggregate": True,
    "dead-letters": False,
    "dead-letter": True,
    "map": False,
    "schemas": False,
    "schema": True,
    "status": False,
    "sagas": False,
    "lint": False,
}
"""Places of the dashboard, and whether a link to one needs an id. `events` and `dead-letters` may have a query."""
LINK_EXAMPLE = "https://tracecar.example/#/flow/4711"
_WITH_QUERY = frozenset({"events", "dead-letters"})
_API_PATH = re.compile(r"/v1/(events|flows|aggregates|dead-letters|schemas)/(.+)\Z", re.DOTALL)
_API_PLACES = {
    "events": "event",
    "flows": "flow",
    "aggregates": "aggregate",
    "dead-letters": "dead-letter",
    "schemas": "schema",
}


class DashboardLink(NamedTuple):
    """A place of the dashboard, and the id or the query that it shows."""

    place: str
    id: str = ""

    def __str__(self) -> str:
        """Return the fragment of an address."""
        return f"#/{self.place}" + (f"/{quote(self.id, safe='', errors='surrogateescape')}" if self.id else "")


def parse_link(text: str) -> DashboardLink:
    """Parse a link, or the address of an event, flow, aggregate, dead letter or schema in the API.

    The host is ignored: a link names a place, and not a sidecar to which a token could be sent. Raises ValueError.
    """
    if len(text) > MAX_LINK_CHARS:
        raise ValueError(f"expected a link of at most {MAX_LINK_CHARS} characters, found {len(text)}")
    address, hash_mark, fragment = text.strip().partition("#")
    if not hash_mark:
        return _parse_api_address(address, text)
    place, _, id = fragment.removeprefix("/").partition("/")
    id = unquote(id, errors="surrogateescape")
    if place not in LINK_PLACES:
        raise ValueError(f"expected a link to {', '.join(LINK_PLACES)}, such as {LINK_EXAMPLE}, found {text[:200]!r}")
    if LINK_PLACES[place] and not id:
        raise ValueError(f"expected an id after #/{place}/, as in {LINK_EXAMPLE}, found {text[:200]!r}")
    return DashboardLink(place, id if LINK_PLACES[place] or place in _WITH_QUERY else "")


def _parse_api_address(address: str, text: str) -> DashboardLink:
    try:
        path = urlsplit(address).path
    except ValueError:
        path = ""
    match = _API_PATH.search(path)
    if match is None:
        raise ValueError(f"expected a link such as {LINK_EXAMPLE}, found {text[:200]!r}")
    return DashboardLink(_API_PLACES[match[1]], unquote(match[2], errors="surrogateescape"))


def link_letters(ids: list[str], query: str | None = None) -> DashboardLink | None:
    """Return the link to dead letters: to one, to several, or to those that match a query. None without any."""
    if query:
        return DashboardLink("dead-letters", query)
    if len(ids) <= 1:
        return DashboardLink("dead-letter", ids[0]) if ids else None
    quoted = ('"' + id.replace("\\", "\\\\").replace('"', '\\"') + '"' for id in ids)
    return DashboardLink("dead-letters", " OR ".join(quoted))
