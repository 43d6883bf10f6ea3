"""Cache of the ledger's topic. Before each use it reads up to the end of the topic."""

from __future__ import annotations

import asyncio
import json
import time

import structlog
from aiokafka import errors as kafka
from aiokafka.structs import TopicPartition

from sidecar.adapters.brokers.kafka.cluster_client import LATEST_OFFSET, UNCOMMITTED_ISOLATION_ID, KafkaCluster
from sidecar.adapters.brokers.kafka.log_reader import KafkaLogReader
from sidecar.domain.errors import Refused
from sidecar.domain.position import Partition, Position
from sidecar.domain.stream_names import LEDGER

log = structlog.get_logger(__name__)

BEGIN = "begin"
"""Key of a ledger's first entry, with its id and time."""
TP = TopicPartition(LEDGER, 0)
_PARTITION = Partition("kafka", LEDGER, 0)
_PAGE_RECORDS = 2_000
MARKER_TIMEOUT_S = 1.0
"""Longest wait of a reader for another writer's transaction. One takes some ten milliseconds. If its writer has died,
it blocks readers until it times out, although nothing in it was committed."""
IDENTITY_TTL_S = 1.0
"""Time for which the ledger counts as the same one, while no new record arrives."""


class LedgerCache:
    """The latest value of each key. It refuses more than `most` entries instead of holding only a part of them."""

    def __init__(self, cluster: KafkaCluster, log_reader: KafkaLogReader, most: int) -> None:
        self._cluster, self._log_reader, self._most = cluster, log_reader, most
        self.entries: dict[str, bytes] = {}
        self._unowned_keys: set[str] = set()
        """Keys without a space: entries that belong to no stream, and few others. They are read every few seconds,
        and a ledger may have a million others."""
        self.next = 0
        """Next offset to read."""
        self.exists = False
        """True if the topic existed at the last check."""
        self.lost: dict[str, bytes] = {}
        """Entries that the topic lost when it was deleted or created again. They must be written again."""
        self._begin_at = -1
        """Offset of the first entry."""
        self._verified_until = 0.0
        self._last = b""
        self._left_open = -1
        """End behind a transaction whose writer has died, as far as the wait for it told."""

    @property
    def complete(self) -> bool:
        """True if the topic exists, with a first entry and all entries that we know."""
        return self.exists and not self.lost and BEGIN in self.entries

    @property
    def verified(self) -> bool:
        """True if the topic was found to hold the same ledger within IDENTITY_TTL_S."""
        return time.monotonic() < self._verified_until

    async def catch_up(self, *, thoroughly: bool = False) -> None:
        """Read all committed records.

        Checks first that the topic still holds the same ledger, if there is something new to read, if the last check is
        too old, or if `thoroughly`. The check costs one more request. Raises Outage, Refused.
        """
        ends = await self._stable_ends()
        if ends is None:
            if self.exists:
                self._restart("deleted")
            self.exists = False
            return
        end, written = ends
        if self.exists and (thoroughly or end > self.next or written < self.next or not self.verified):
            if written < self.next or await self.is_another():
                self._restart("created again")
            elif BEGIN not in self.entries:
                self.next = 0  # by nothing could we tell that it is another
            self._verified_until = time.monotonic() + IDENTITY_TTL_S
        self.exists = True
        while self.next < end:
            before = self.next
            async for page in self._log_reader.scan(_PARTITION, None, self.next, end, _PAGE_RECORDS):
                for record in page:
                    self.apply(record.key, record.value, record.position.offset)
                    self.next = record.position.offset + 1
            # What is left are the ends of transactions, and what was aborted or compacted.
            self.next = max(self.next, end)
            if self.next == before:
                break
        for key in [key for key in self.lost if key in self.entries]:
            del self.lost[key]

    async def is_another(self) -> bool:
        """Check whether the topic holds another ledger: our first entry is not at its offset."""
        ours = self.entries.get(BEGIN)
        if ours is None:
            return False
        first = await self._log_reader.read(Position("kafka", LEDGER, 0, self._begin_at))
        return first is None or first.key != BEGIN.encode() or first.value != ours

    def follows(self, offset: int) -> bool:
        """Check that a record of ours, written while we had the only write access, directly follows what is cached.

        It then is at the end that we know, or one offset later, behind the marker that ended our last transaction.
        """
        return self.next <= offset <= self.next + 1

    def wrote(self, key: str, value: bytes | None, offset: int) -> None:
        """Store an entry that we wrote while we had the only write access."""
        self._store(key, value, offset)
        self.lost.pop(key, None)
        self.next = max(self.next, offset + 1)

    def apply(self, key: bytes | None, value: bytes | None, offset: int) -> None:
        """Store one record of the topic."""
        self._store((key or b"").decode("utf-8", "surrogateescape"), value, offset)
        self.check_room(0)

    def _store(self, name: str, value: bytes | None, offset: int) -> None:
        if name == BEGIN:
            self._begin_at = offset
        if value is None:
            self.entries.pop(name, None)
            self.lost.pop(name, None)
            self._unowned_keys.discard(name)
            return
        if " " not in name:
            self._unowned_keys.add(name)
        if value == self._last:
            value = self._last  # the entries of one letter are the same bytes under several keys
        self._last = value
        self.entries[name] = value

    def check_room(self, more: int) -> None:
        """Raise Refused if there is no room for `more` further entries."""
        if len(self.entries) + more > self._most:
            raise Refused(
                f"the Kafka topic {LEDGER} has more than {self._most} entries, the limit of "
                "dead_letters.ledger_entries: raise it (about 500 bytes of memory per entry), then restart the sidecar"
            )

    def get(self, key: str) -> bytes | None:
        value = self.entries.get(key)
        return self.lost.get(key) if value is None and self.lost else value

    def under(self, prefix: str) -> dict[str, bytes]:
        """Return the entries that belong to no stream and whose keys begin with `prefix`."""
        entries = {key: self.get(key) for key in self._unowned_keys if key.startswith(prefix)}
        return {key: value for key, value in entries.items() if value is not None}

    @property
    def ledger_started_at(self) -> int | None:
        """Time of the ledger's first entry, in milliseconds."""
        value = self.entries.get(BEGIN)
        try:
            return None if value is None else int(json.loads(value)["at"])
        except (ValueError, KeyError, TypeError):
            return None

    def _restart(self, what: str) -> None:
        lost = {key: value for key, value in {**self.lost, **self.entries}.items() if key != BEGIN}
        log.warning("the ledger's topic was lost; known entries are written again", what=what, entries=len(lost))
        self.entries, self.lost, self.next = {}, lost, 0

    async def _stable_ends(self) -> tuple[int, int] | None:
        """Return the committed end and the end of all written records, once they are equal or the time is up.

        They differ while a transaction is open, or while the markers of a committed one are being written. Waits at
        most MARKER_TIMEOUT_S for that.
        """
        until = time.monotonic() + MARKER_TIMEOUT_S
        while True:
            ends = await self._cluster.retry(f"asking for the end of {LEDGER}", self._ends)
            if ends is None or ends[0] >= ends[1] or ends[1] == self._left_open:
                return ends
            if time.monotonic() > until:
                self._left_open = ends[1]
                return ends
            await asyncio.sleep(0.005)

    async def _ends(self) -> tuple[int, int] | None:
        """Return the committed end and the end of all written records; None if the topic does not exist."""
        if not self.exists or self._cluster.client.cluster.leader_for_partition(TP) is None:
            if LEDGER not in await self._cluster.topics([LEDGER]):
                return None
            if self._cluster.client.cluster.leader_for_partition(TP) is None:
                await self._cluster.client.force_metadata_update()
        try:
            written = (await self._cluster.offsets([TP], LATEST_OFFSET, UNCOMMITTED_ISOLATION_ID))[TP]
            return (await self._cluster.offsets([TP], LATEST_OFFSET))[TP], written
        except kafka.UnknownTopicOrPartitionError:
            if LEDGER not in await self._cluster.topics([LEDGER]):
                return None
            raise
