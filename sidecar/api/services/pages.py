"""Sizes of pages."""

from __future__ import annotations

MAX_ITEMS_PER_PAGE = 1_000


def page_size(limit: int) -> int:
    """Return the number of items on a page. A `limit` of 0 requests a full page."""
    return min(limit, MAX_ITEMS_PER_PAGE) if limit > 0 else MAX_ITEMS_PER_PAGE
