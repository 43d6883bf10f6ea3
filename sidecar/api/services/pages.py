"""Sizes of pages, and the suggestion for an empty one."""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.query import suggest_query

MAX_ITEMS_PER_PAGE = 1_000


def page_size(limit: int) -> int:
    """Return the number of items on a page. A `limit` of 0 requests a full page."""
    return min(limit, MAX_ITEMS_PER_PAGE) if limit > 0 else MAX_ITEMS_PER_PAGE


def suggest_if_empty(items: Sequence[object], query: str) -> str | None:
    """Return the query that was probably meant if a page of a list is empty."""
    return None if items else suggest_query(query)
