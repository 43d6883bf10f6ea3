"""Builder of the record that is sent again, from a dead letter.

The record is unchanged; headers that link it to its dead letter follow its own.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from msgspec import Struct
from msgspec.structs import replace

from sidecar.dead_letters.dialects import tracecar
from sidecar.domain.errors import Refused, TracecarError
from sidecar.domain.model import DeadLetter, Outgoing, Record
from sidecar.domain.ports.broker import Broker, Retention
from sidecar.domain.position import Position
from sidecar.replay.models import UnsendableLetter

MAX_KNOWN_STREAMS = 1_000
"""Streams to remember, because letters may name any stream."""
TRACECAR = "tracecar"
KEPT_ONLY = "the origin no longer has the record, and the dead letter lacks its timestamp: the current time is used"
DIFFERENT_RECORD = "the origin has another record now: the content of the dead letter is sent"
SERIALIZED_AGAIN = "of the dead letter was serialized again by the framework: the origin's record is sent"
InSight = Callable[[str, str], Awaitable[bool]]
"""Function that returns whether a stream (system, name) is watched."""


class RestoredRecord(Struct, frozen=True):
    """The record that failed, as it will be sent."""

    record: Record
    warning: str | None = None
    """Reason why it may differ from what a reader of the dead letter expects."""


class RecordBuilder:
    """Builds the records of one replay. `to`: target instead of the origin; `group`: for one group only."""

    def __init__(self, broker: Broker, in_sight: InSight, replay: str, to: str | None, group: str | None) -> None:
        self._broker, self._ask = broker, in_sight
        self._sights: dict[tuple[str, str], bool] = {}
        self._replay, self._to, self._group = replay, to, group
        self._retention: dict[str, Retention] = {}

    async def _in_sight(self, system: str, stream: str) -> bool:
        """Asked once for each stream: there are many letters of one."""
        is_watched = self._sights.get((system, stream))
        if is_watched is None:
            if len(self._sights) >= MAX_KNOWN_STREAMS:
                self._sights.clear()
            is_watched = self._sights[system, stream] = await self._ask(system, stream)
        return is_watched

    async def target(self, letter: DeadLetter) -> str:
        """Return the target stream of a letter.

        Raises UnsendableLetter if it is unknown or not watched: anyone who can write to a dead-letter stream can claim
        any origin. Raises Outage, Refused.
        """
        if self._to is not None:
            return self._to
        if letter.origin is None and letter.stream == letter.position.stream:
            raise UnsendableLetter("the letter does not name its origin: choose a target (--to STREAM)")
        if not await self._in_sight(letter.position.system, letter.stream):
            raise UnsendableLetter(
                f"the letter names the origin {letter.stream}, which is not a watched stream: to send it there, add "
                "--to STREAM"
            )
        return letter.stream

    async def restore(self, letter: DeadLetter) -> RestoredRecord:
        """Restore the record that failed.

        Parts that the dead letter omits are read from the origin. If a framework may have serialized the record again,
        or does not keep its time, the origin's record is used, provided that it still exists and is the same one.

        Raises:
            UnsendableLetter: An omitted part cannot be read.
            Outage: The broker cannot be reached.
            Refused: The broker refuses.
        """
        if letter.record is None or letter.omitted:
            return RestoredRecord(await self._read_omitted(letter))
        is_exact = letter.origin_timestamp is not None and not letter.reserialized
        if is_exact or letter.origin is None or letter.dialect == TRACECAR:
            return RestoredRecord(letter.record)
        return await self._read_origin(letter, letter.record, letter.origin)

    async def _read_origin(self, letter: DeadLetter, kept: Record, origin: Position) -> RestoredRecord:
        """Compare a foreign dead letter with the record at its origin; the origin's is used where it is the same one.

        The timestamp identifies it. Without one, equal key and value do: another record may be there, because a stream
        that was deleted and created again has the same positions.
        """
        if not await self._in_sight(origin.system, origin.stream):
            return RestoredRecord(kept)
        try:
            stored = await self._broker.read(origin)
        except Refused:
            stored = None
        if stored is None or stored.defect is not None:
            return RestoredRecord(kept, KEPT_ONLY if letter.origin_timestamp is None else None)
        differing = [
            name
            for name, differs in (("key", stored.key != kept.key), ("value", stored.value != kept.value))
            if differs
        ]
        if letter.origin_timestamp is None:
            if differing or stored.timestamp > letter.appended_at:
                return RestoredRecord(kept, DIFFERENT_RECORD)
            return RestoredRecord(replace(kept, timestamp=stored.timestamp))
        if letter.origin_timestamp != stored.timestamp:
            return RestoredRecord(kept, DIFFERENT_RECORD)
        if not differing:
            return RestoredRecord(kept)
        return RestoredRecord(stored, f"the {' and the '.join(differing)} {SERIALIZED_AGAIN}")

    async def _read_omitted(self, letter: DeadLetter) -> Record:
        missing = " and the ".join(letter.omitted) or "record"
        if letter.origin is None:
            raise UnsendableLetter(f"the letter lacks the {missing}, and does not name its origin")
        if not await self._in_sight(letter.origin.system, letter.origin.stream):
            raise UnsendableLetter(f"the letter lacks the {missing}, and {letter.origin} is not on a watched stream")
        stored = await self._broker.read(letter.origin)
        if stored is None:
            raise UnsendableLetter(
                f"the letter lacks the {missing}, and the record at {letter.origin} no longer exists"
            )
        if letter.origin_timestamp not in (None, stored.timestamp):
            raise UnsendableLetter(
                f"the letter lacks the {missing}, and {letter.origin} has another record now: the stream was "
                "created again"
            )
        if stored.defect is not None:
            raise UnsendableLetter(
                f"the letter lacks the {missing}, and {letter.origin} cannot be read: {stored.defect.message}"
            )
        return stored

    async def outgoing(self, letter: DeadLetter, record: Record) -> Outgoing:
        """Build the record to send. Raises UnsendableLetter, Outage, Refused."""
        target = await self.target(letter)
        own = tracecar.own_headers(record.headers)
        to_origin = self._to is None
        keeps_partition = letter.origin is not None and (to_origin or record.key is None)
        return Outgoing(
            stream=target,
            key=record.key,
            value=record.value,
            headers=own + tracecar.build_replay_headers(self._replay, letter.id, letter.replays + 1, self._group),
            partition=letter.origin.partition if keeps_partition and letter.origin is not None else None,
            timestamp=await self._timestamp(target, record),
            value_at=record.value_at,
        )

    async def _timestamp(self, target: str, record: Record) -> int | None:
        retention = self._retention.get(target)
        if retention is None:
            try:
                retention = await self._broker.retention(target)
            except TracecarError:
                retention = Retention(None, False)
            self._retention[target] = retention
        return choose_timestamp(retention, record.timestamp)


def choose_timestamp(retention: Retention, timestamp: int, now: int | None = None) -> int | None:
    """Return the timestamp (milliseconds) with which to send a record; None for the current time.

    The original timestamp is kept if the stream keeps creation times, and if the timestamp is younger than half the
    retention, so that the record is not deleted at once, and younger than half of the age that the stream accepts,
    because clocks differ.
    """
    now = time.time_ns() // 1_000_000 if now is None else now
    if not retention.own_times or timestamp < 0 or timestamp > now:
        return None
    for most in (retention.keeps_ms, retention.takes_ms):
        if most is not None and now - timestamp > most // 2:
            return None
    return timestamp
