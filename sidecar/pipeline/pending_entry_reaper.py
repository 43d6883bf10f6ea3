"""The dead-letter queue that Redis Streams never had: what a configured group was given too often, or has left pending
for too long, becomes a dead letter (`delivery.exhausted`) and is acknowledged for that group.

When an entry was given first, Redis does not know: it tells how often it was given, and how long ago the last time was.
So "too often" also waits until the entry was left alone for a while, for somebody may be at work on it right now."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol

import structlog
from msgspec.structs import replace

from sidecar.config.schema import ExhaustedConfig
from sidecar.dead_letters.dialects import tracecar
from sidecar.dead_letters.writer import DeadLetterCallback, DeadLetterWriter, ignore_dead_letter, shrink_dead_letter
from sidecar.domain.errors import Refused, TooLarge, TracecarError
from sidecar.domain.model import Event, Headers, Outgoing, Record, Rejection
from sidecar.domain.ports.record_decoder import RecordDecoder
from sidecar.domain.position import Position

log = structlog.get_logger()

LOOK_SECONDS = 5.0


class PendingEntry(Protocol):
    """An entry that a group was given and has not acknowledged."""

    @property
    def group(self) -> str: ...

    @property
    def position(self) -> Position: ...

    @property
    def consumer(self) -> str: ...

    @property
    def deliveries(self) -> int: ...

    @property
    def idle_ms(self) -> int: ...


class PendingEntryBroker(Protocol):
    """A broker whose groups have pending lists. Raises Outage, Refused."""

    async def read(self, position: Position) -> Record | None: ...

    async def stuck(self, group: str, idle_ms: int) -> list[PendingEntry]:
        """The oldest entries that a group has left alone for so long."""

    async def dead_letter_and_ack(self, entry: PendingEntry, letter: Outgoing) -> bool:
        """Letter it and acknowledge it for its group, as one act; False where the group has moved on since."""


class PendingEntryReaper:
    """Watches the pending lists of some groups. `writer` makes letters; `dead_lettered` hears of each that is
    durable."""

    def __init__(
        self,
        groups: PendingEntryBroker,
        limits: Mapping[str, ExhaustedConfig],
        payloads: RecordDecoder,
        writer: DeadLetterWriter,
        dead_lettered: DeadLetterCallback = ignore_dead_letter,
    ) -> None:
        self._dead_lettered = dead_lettered
        self._groups, self._limits, self._payloads, self._writer = groups, dict(limits), payloads, writer
        self._task: asyncio.Task[None] | None = None
        self.trouble: str | None = None
        """Why the lists could not be looked at."""
        self.taken = 0

    def start(self) -> None:
        if self._limits:
            self._task = asyncio.create_task(self._keep_looking(), name="exhausted entries")

    async def close(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _keep_looking(self) -> None:
        while True:
            try:
                await self.look()
                self.trouble = None
            except TracecarError as error:
                if self.trouble is None:
                    log.warning("exhausted entries cannot be looked for", reason=str(error))
                self.trouble = str(error)
            except Exception as error:  # one that nobody thought of must not end the looking
                log.exception("exhausted entries cannot be looked for")
                self.trouble = repr(error)
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> int:
        """Take what is exhausted now; returns how many entries that were. Raises Outage, Refused."""
        before, failed = self.taken, None
        for group, limit in self._limits.items():
            least = float(limit.idle) if limit.pending is None else min(limit.idle, limit.pending)
            for one in await self._groups.stuck(group, max(1, round(least * 1000))):
                if not exhausted(one, limit):
                    continue
                try:
                    await self._take(one)
                except Refused as error:
                    failed = failed or error  # of one stream; the others are looked after all the same
        if failed is not None:
            raise failed
        return self.taken - before

    async def _take(self, entry: PendingEntry) -> None:
        """Raises Outage, Refused."""
        letter: Outgoing | None
        event, letter = await self._letter(entry)
        while letter is not None:
            try:
                if await self._groups.dead_letter_and_ack(entry, letter):
                    self.taken += 1
                    self._dead_lettered(event, entry.group, f"{entry.group}@{entry.position}")
                    log.info(
                        "entry.exhausted", position=str(entry.position), group=entry.group, deliveries=entry.deliveries
                    )
                return
            except TooLarge:
                letter = shrink_dead_letter(letter)
        raise Refused(f"{entry.position}: no letter of this entry can be written, not even one without its fields")

    async def _letter(self, entry: PendingEntry) -> tuple[Event, Outgoing]:
        record = await self._groups.read(entry.position)
        gone: Headers = ()
        if record is None:
            gone = ((tracecar.OMITTED_HEADER, b"body,headers"),)
            record = Record(entry.position, None, None, (), entry.position.offset >> 64)
        (decoded,) = await self._payloads.open([record])
        decoded.event.rejection = Rejection("delivery.exhausted", describe_entry(entry, there=not gone))
        letter = self._writer.report(decoded, entry.group, entry.deliveries, None, None)
        return decoded.event, replace(letter, headers=letter.headers + gone)


def exhausted(entry: PendingEntry, limit: ExhaustedConfig) -> bool:
    """Whether a group is done with an entry that it has not acknowledged."""
    if limit.pending is not None and entry.idle_ms >= limit.pending * 1000:
        return True
    return entry.deliveries >= limit.deliveries and entry.idle_ms >= limit.idle * 1000


def describe_entry(entry: PendingEntry, *, there: bool) -> str:
    times = "once" if entry.deliveries == 1 else f"{entry.deliveries} times"
    message = (
        f"given {times} to the group {entry.group} and not acknowledged: the last time {entry.idle_ms // 1000} s ago "
        f"to its consumer {entry.consumer}"
    )
    return message if there else f"{message}; the entry itself was trimmed before"
