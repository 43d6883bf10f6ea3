"""What we know and hold of one partition while its lease is ours."""

from __future__ import annotations

import asyncio
from collections import deque

from aiokafka.structs import TopicPartition

from sidecar.adapters.brokers.kafka.idempotent_producer import ProducerIdentity
from sidecar.adapters.brokers.kafka.record_decoder import FetchedChunk
from sidecar.domain.ports.broker import Gap, Lease
from sidecar.domain.position import Partition


class KafkaLease(Lease):
    """A lease with its reading and its committing. It is `taken` once the partition was fenced and its committed offset
    read; before that nothing of it is delivered."""

    __slots__ = (
        *(
            "announced",
            "chunks",
            "buffered",
            "fetch_at",
            "fetch_in_flight",
            "gap",
            "held",
            "not_before",
            "position",
            "acquired",
        ),
        *("identity", "lock", "committed", "tp", "generation", "outcome_unknown"),
    )

    def __init__(self, tp: TopicPartition) -> None:
        super().__init__(Partition("kafka", tp.topic, tp.partition), -1)
        self.tp = tp
        self.acquired = False
        self.announced = False
        self.held = False
        # reading
        self.position = -1
        """The next offset to deliver."""
        self.fetch_at = -1
        """The next offset to fetch: `position`, and beyond what waits in `chunks`."""
        self.chunks: deque[FetchedChunk] = deque()
        self.buffered = 0
        """Bytes in `chunks`."""
        self.fetch_in_flight = False
        """A fetch of it is under way."""
        self.generation = 0
        """Counts jumps, so that what was fetched before one is recognized and dropped."""
        self.not_before = 0.0
        """Monotonic time before which it is not fetched: it failed."""
        self.gap: Gap | None = None
        """To be delivered with the next batch."""
        # committing
        self.lock = asyncio.Lock()
        self.committed = -1
        """The committed offset, as far as this lease knows."""
        self.outcome_unknown = False
        """A transaction's outcome is not known: fence and read the committed offset before anything else."""
        self.identity: ProducerIdentity | None = None
        """What fenced the partition; None where we may not write transactions."""

    def acquire(self, offset: int) -> None:
        """Fenced and read: deliver from here."""
        self.start = self.committed = offset
        self.jump(offset)
        self.acquired = True

    def jump(self, offset: int) -> None:
        """Deliver from this offset next, and forget what was fetched."""
        self.position = offset
        self.gap = None
        self.drop()

    def drop(self) -> None:
        """Forget what was fetched and not delivered: it is fetched again when its time comes."""
        self.fetch_at = self.position
        self.chunks.clear()
        self.buffered = 0
        self.generation += 1

    def lose(self) -> None:
        self.lost = True
        self.chunks.clear()
        self.buffered = 0
