"""Watcher of sent records: whether their readers have consumed them, and which of them failed again.

Letters that failed again are found by position, after the ends that the dead-letter streams had when the replay
started, not by clocks.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from sidecar.dead_letters.dialects import read
from sidecar.dead_letters.reader import LetterSource, dead_letter_streams
from sidecar.domain.model import DeadLetter
from sidecar.domain.position import Partition, Position

OWN_SIDECARS = "the sidecars (tracecar groups and tracecar check say more)"
MAX_RETURNED_LETTERS = 100_000
"""Letters of one replay to remember, so that each counts once."""


async def list_end_positions(source: LetterSource) -> list[str]:
    """List the end position of every partition of the dead-letter streams. Raises Outage, Refused."""
    positions: list[str] = []
    for stream in await dead_letter_streams(source):
        for partition in await source.broker.partitions(stream):
            _, end = await source.broker.bounds(partition)
            positions.append(str(partition.at(end)))
    return positions


class OutcomeWatcher:
    """Finds letters of one replay that failed again. Raises Outage, Refused."""

    def __init__(self, source: LetterSource, replay: str, marks: Sequence[str]) -> None:
        self._source, self._replay = source, replay
        self._next: dict[Partition, int] = {}
        for mark in marks:
            at = Position.parse(mark)
            self._next[at.log] = at.offset
        self._returned: set[str] = set()

    @property
    def returned(self) -> int:
        """Number of letters that failed again so far."""
        return len(self._returned)

    async def look(self) -> list[DeadLetter]:
        """Return the letters that failed again since the last call, each once, without their records."""
        letters: list[DeadLetter] = []
        broker, naming = self._source.broker, self._source.naming
        for stream in await dead_letter_streams(self._source):
            for partition in await broker.partitions(stream):
                first, end = await broker.bounds(partition)
                start = max(first, self._next.get(partition, first))
                if start >= end:
                    continue
                async for page in broker.scan(partition, start=start, until=end):
                    for record in page:
                        letter = read(record, naming)
                        if letter.replay_id == self._replay and self._new(letter):
                            letter.lighten()
                            letters.append(letter)
                self._next[partition] = end
        return letters

    def _new(self, letter: DeadLetter) -> bool:
        earlier = letter.replay_of or letter.id
        if earlier in self._returned or len(self._returned) >= MAX_RETURNED_LETTERS:
            return False
        self._returned.add(earlier)
        return True


class RecordReaders(Struct, frozen=True):
    """Known consumer groups that read some records."""

    known: bool
    """True if at least one group is known to read some of the records."""
    behind: dict[str, int]
    """Groups that have not consumed all of the records, each with a number that changes when the group makes
    progress."""


async def find_readers(source: LetterSource, positions: Sequence[Position]) -> RecordReaders:
    """Determine how far this sidecar's group and all other active groups have read. Raises Outage, Refused."""
    last: dict[Partition, int] = {}
    for position in positions:
        last[position.log] = max(position.offset, last.get(position.log, -1))
    known, behind = False, dict[str, int]()
    for status in await source.broker.status():
        offset = last.get(status.partition)
        if offset is not None:
            known = True
            if status.committed is None or status.committed <= offset:
                behind[OWN_SIDECARS] = behind.get(OWN_SIDECARS, 0) + (status.committed or 0)
    for group in await source.broker.groups():
        if group.members == 0:
            continue
        for partition in group.partitions:
            offset = last.get(partition.partition)
            if offset is not None:
                known = True
                if partition.has_consumed(offset) is False:
                    behind[group.group] = behind.get(group.group, 0) + partition.committed
    return RecordReaders(known, behind)
