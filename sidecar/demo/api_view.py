"""Reader of the sidecar's counts over its API, as any client can read them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from sidecar.api.client.client import Client

PAGE_ITEMS = 1000

T = TypeVar("T")


class _ListPage(Protocol[T]):
    """A page of a list."""

    items: list[T]
    cursor: str | None


@dataclass(slots=True)
class SidecarCounts:
    """Counts of a sidecar."""

    events: int
    flows: int
    rejections: Counter[str]
    """Rejections by code."""
    dead_letters: int
    duplicates: int
    replayed: int


async def fetch_counts(client: Client) -> SidecarCounts:
    """Count everything in the sidecar's lists, page by page."""
    status = await client.status()
    rejected = await _fetch_all(lambda cursor: client.events("status:rejected", limit=PAGE_ITEMS, cursor=cursor))
    duplicates = await _fetch_all(lambda cursor: client.events("status:duplicate", limit=PAGE_ITEMS, cursor=cursor))
    flows = await _fetch_all(lambda cursor: client.flows(limit=PAGE_ITEMS, cursor=cursor))
    letters = await _fetch_all(lambda cursor: client.dead_letters(limit=PAGE_ITEMS, cursor=cursor))
    return SidecarCounts(
        events=status.index.events + status.index.evicted,
        flows=len({flow.trace_id for flow in flows}),
        rejections=Counter(event.rejection.code for event in rejected if event.rejection is not None),
        dead_letters=len({letter.id for letter in letters}),
        duplicates=len({event.position for event in duplicates}),
        replayed=await count_replayed(client),
    )


async def count_replayed(client: Client) -> int:
    """Count the replayed events."""
    events = await _fetch_all(lambda cursor: client.events("status:replayed", limit=PAGE_ITEMS, cursor=cursor))
    return len({event.position for event in events})


async def has_committed_all(client: Client) -> bool:
    """Check that the sidecar has committed everything."""
    status = await client.status()
    return not status.filling and all(not stream.lag and not stream.pending for stream in status.streams)


async def _fetch_all(page: Callable[[str | None], Awaitable[_ListPage[T]]]) -> list[T]:
    items: list[T] = []
    cursor: str | None = None
    while True:
        answer = await page(cursor)
        items += answer.items
        cursor = answer.cursor
        if cursor is None:
            return items
