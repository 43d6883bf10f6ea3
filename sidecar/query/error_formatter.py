"""Formatter of query errors: the query, a caret under the wrong character, and the reason."""

from __future__ import annotations

import unicodedata

from sidecar.domain.errors import QueryError

_CONTEXT_CHARACTERS = 60


def render(error: QueryError) -> str:
    """Format an error on three lines.

    Of a long query only the part around the mistake is shown. Control characters are shown as `·`.
    """
    start = max(0, error.at - _CONTEXT_CHARACTERS)
    before = ("…" if start else "") + _mask_control_characters(error.query[start : error.at])
    after = _mask_control_characters(error.query[error.at : error.at + _CONTEXT_CHARACTERS]) + (
        "…" if len(error.query) > error.at + _CONTEXT_CHARACTERS else ""
    )
    return f"{before}{after}\n{' ' * _count_cells(before)}^\n{error}"


def _mask_control_characters(text: str) -> str:
    return "".join(character if character.isprintable() else "·" for character in text)


def _count_cells(text: str) -> int:
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
