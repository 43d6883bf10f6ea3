"""Large records: work on their values is done in a thread, so that the event loop gets its turns.

Python lets another thread run every 5 ms; the work of a megabyte can take a second.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from sidecar.domain.model import Headers, Record

LARGE_RECORD_BYTES = 32 << 10
"""Size above which work on a record is done in a thread: up to about 10 ms are done in the event loop."""


class NeedsThread(Exception):
    """Work on a record takes longer than a step of the event loop, though the record is small: do it in a thread."""


def refuse_on_event_loop() -> None:
    """Raise NeedsThread in a thread that runs an event loop."""
    with contextlib.suppress(RuntimeError):
        asyncio.get_running_loop()
        raise NeedsThread


P = ParamSpec("P")
T = TypeVar("T")


def count_value_bytes(record: Record) -> int:
    """Return the bytes of a record's value; for an entry that is a flat map, of all its fields."""
    return len(record.value) if record.value is not None else _count_header_bytes(record.headers)


def _count_header_bytes(headers: Headers) -> int:
    return sum([len(value) for _, value in headers if value is not None])


async def run_for_record(record: Record | None, work: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
    """Do plain work on a record: in a thread if the record is large. Nothing else may use the work's objects then."""
    if record is None or count_value_bytes(record) <= LARGE_RECORD_BYTES:
        return work(*args, **options)
    return await asyncio.to_thread(work, *args, **options)
