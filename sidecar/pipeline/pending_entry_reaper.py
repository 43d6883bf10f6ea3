"""Reaper that dead-letters exhausted entries of Redis Streams groups.

An entry that was delivered too often, or is pending for too long, becomes a dead letter (`delivery.exhausted`) and is
acknowledged for its group.

Redis stores neither the time of an entry's first delivery nor whether a consumer is processing it, only the number of
deliveries and the time of the last one. Therefore an entry that was delivered too often must also have been idle for a
while: a consumer may be processing it right now.
"""

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

POLL_INTERVAL_S = 5.0


class PendingEntry(Protocol):
    """An entry that was delivered to a group and is not acknowledged."""

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
    """A broker whose groups have pending lists. Methods raise Outage and Refused."""

    async def read(self, position: Position) -> Record | None: ...

    async def stuck(self, group: str, idle_ms: int) -> list[PendingEntry]:
        """Return the oldest pending entries of a group that have been idle for this long."""

    async def dead_letter_and_ack(self, entry: PendingEntry, letter: Outgoing) -> bool:
        """Write the dead letter and acknowledge the entry atomically. Returns False if it was acknowledged before."""


class PendingEntryReaper:
    """Polls the pending lists of some groups and dead-letters exhausted entries."""

    def __init__(
        self,
        groups: PendingEntryBroker,
        limits: Mapping[str, ExhaustedConfig],
        payloads: RecordDecoder,
        writer: DeadLetterWriter,
        on_dead_letter: DeadLetterCallback = ignore_dead_letter,
    ) -> None:
        """Create a reaper.

        Args:
            groups: The broker.
            limits: Limits of each group.
            payloads: Decodes entries.
            writer: Writes dead letters.
            on_dead_letter: Called with every durable dead letter.
        """
        self._on_dead_letter = on_dead_letter
        self._groups, self._limits, self._payloads, self._writer = groups, dict(limits), payloads, writer
        self._task: asyncio.Task[None] | None = None
        self.trouble: str | None = None
        """Reason of the last failed poll; None after a successful one."""
        self.taken = 0

    def start(self) -> None:
        """Poll until `close`."""
        if self._limits:
            self._task = asyncio.create_task(self._run(), name="pending entry reaper")

    async def close(self) -> None:
        """Stop polling."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                await self.poll()
                self.trouble = None
            except TracecarError as error:
                if self.trouble is None:
                    log.warning("cannot poll pending entries", reason=str(error))
                self.trouble = str(error)
            except Exception as error:  # an unexpected error must not end the polling
                log.exception("cannot poll pending entries")
                self.trouble = repr(error)
            await asyncio.sleep(POLL_INTERVAL_S)

    def sentences(self) -> list[str]:
        """Return the reasons why exhausted entries cannot be dead-lettered now, as sentences; none if they can be."""
        if self.trouble is None:
            return []
        return [f"exhausted entries (sources.redis.exhausted) are not dead-lettered: {self.trouble}"]

    async def poll(self) -> int:
        """Dead-letter the entries that are exhausted now. Returns their number. Raises Outage and Refused."""
        before, failed = self.taken, None
        for group, limit in self._limits.items():
            least = float(limit.idle) if limit.pending is None else min(limit.idle, limit.pending)
            for entry in await self._groups.stuck(group, max(1, round(least * 1000))):
                if not is_exhausted(entry, limit):
                    continue
                try:
                    await self._take(entry)
                except Refused as error:
                    failed = failed or error  # of one stream: continue with the others
        if failed is not None:
            raise failed
        return self.taken - before

    async def _take(self, entry: PendingEntry) -> None:
        """Dead-letter one entry. Raises Outage and Refused."""
        letter: Outgoing | None
        event, letter = await self._letter(entry)
        while letter is not None:
            try:
                if await self._groups.dead_letter_and_ack(entry, letter):
                    self.taken += 1
                    self._on_dead_letter(event, entry.group, f"{entry.group}@{entry.position}")
                    log.info(
                        "entry.exhausted", position=str(entry.position), group=entry.group, deliveries=entry.deliveries
                    )
                return
            except TooLarge:
                letter = shrink_dead_letter(letter)
        raise Refused(
            f"{entry.position}: the broker refuses its dead letter, even without its fields; raise the server's limit"
        )

    async def _letter(self, entry: PendingEntry) -> tuple[Event, Outgoing]:
        record = await self._groups.read(entry.position)
        omitted: Headers = ()
        if record is None:
            omitted = ((tracecar.OMITTED_HEADER, b"body,headers"),)
            record = Record(entry.position, None, None, (), entry.position.offset >> 64)
        (decoded,) = await self._payloads.open([record])
        decoded.event.rejection = Rejection("delivery.exhausted", describe_entry(entry, exists=not omitted))
        letter = self._writer.report(decoded, entry.group, entry.deliveries, None, None)
        return decoded.event, replace(letter, headers=letter.headers + omitted)


def is_exhausted(entry: PendingEntry, limit: ExhaustedConfig) -> bool:
    """Check whether a pending entry exceeds its group's limits."""
    if limit.pending is not None and entry.idle_ms >= limit.pending * 1000:
        return True
    return entry.deliveries >= limit.deliveries and entry.idle_ms >= limit.idle * 1000


def describe_entry(entry: PendingEntry, *, exists: bool) -> str:
    """Describe an exhausted entry in one sentence. `exists`: it can still be read."""
    times = "once" if entry.deliveries == 1 else f"{entry.deliveries} times"
    message = (
        f"delivered {times} to the group {entry.group} and not acknowledged: last {entry.idle_ms // 1000} s ago to its "
        f"consumer {entry.consumer}"
    )
    return message if exists else f"{message}; the entry itself was trimmed"
