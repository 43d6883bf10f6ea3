"""A wrong query as a person sees it: the query, a caret under the character that does not fit, and why."""

from __future__ import annotations

import unicodedata

from sidecar.domain.errors import QueryError

_AROUND = 60


def render(error: QueryError) -> str:
    """Three lines. Of a long query only what is around the mistake is shown; control characters are shown as `·`."""
    start = max(0, error.at - _AROUND)
    before = ("…" if start else "") + _harmless(error.query[start : error.at])
    after = _harmless(error.query[error.at : error.at + _AROUND]) + (
        "…" if len(error.query) > error.at + _AROUND else ""
    )
    return f"{before}{after}\n{' ' * _cells(before)}^\n{error}"


def _harmless(text: str) -> str:
    return "".join(character if character.isprintable() else "·" for character in text)


def _cells(text: str) -> int:
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
