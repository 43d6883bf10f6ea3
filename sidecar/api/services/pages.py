"""Sizes of pages."""

from __future__ import annotations

MAX_ITEMS_PER_PAGE = 1_000


def page_size(limit: int) -> int:
    """Return how many items a page holds at most; a `limit` of 0 asks for a full page."""
    return min(limit, MAX_ITEMS_PER_PAGE) if limit > 0 else MAX_ITEMS_PER_PAGE
