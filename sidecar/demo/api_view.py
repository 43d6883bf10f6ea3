"""What the sidecar says of the shop, asked over its API like any client would."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from sidecar.api.client.client import Client

PAGE = 1000

T = TypeVar("T")


class _ListPage(Protocol[T]):
    """Part of a list."""

    items: list[T]
    cursor: str | None


@dataclass(slots=True)
class SidecarCounts:
    """The sidecar's own counts, complete."""

    events: int
    flows: int
    rejections: Counter[str]
    """By code."""
    dead_letters: int
    duplicates: int
    replayed: int


async def counts(client: Client) -> SidecarCounts:
    """Everything counted from the sidecar's lists, page by page."""
    status = await client.status()
    rejected = await _all(lambda cursor: client.events("status:rejected", limit=PAGE, cursor=cursor))
    duplicates = await _all(lambda cursor: client.events("status:duplicate", limit=PAGE, cursor=cursor))
    flows = await _all(lambda cursor: client.flows(limit=PAGE, cursor=cursor))
    letters = await _all(lambda cursor: client.dead_letters(limit=PAGE, cursor=cursor))
    return SidecarCounts(
        events=status.index.events + status.index.evicted,
        flows=len({flow.trace_id for flow in flows}),
        rejections=Counter(event.rejection.code for event in rejected if event.rejection is not None),
        dead_letters=len({letter.id for letter in letters}),
        duplicates=len({event.position for event in duplicates}),
        replayed=await replayed(client),
    )


async def replayed(client: Client) -> int:
    """How many events are replays."""
    found = await _all(lambda cursor: client.events("status:replayed", limit=PAGE, cursor=cursor))
    return len({event.position for event in found})


async def committed(client: Client) -> bool:
    """The sidecar has nothing left to commit."""
    status = await client.status()
    return not status.filling and all(not stream.lag and not stream.pending for stream in status.streams)


async def _all(page: Callable[[str | None], Awaitable[_ListPage[T]]]) -> list[T]:
    found: list[T] = []
    cursor: str | None = None
    while True:
        answer = await page(cursor)
        found += answer.items
        cursor = answer.cursor
        if cursor is None:
            return found
