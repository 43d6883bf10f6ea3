"""State of one partition while we hold its lease."""

from __future__ import annotations

import asyncio
from collections import deque

from aiokafka.structs import TopicPartition

from sidecar.adapters.brokers.kafka.idempotent_producer import ProducerIdentity
from sidecar.adapters.brokers.kafka.record_decoder import FetchedChunk
from sidecar.domain.ports.broker import Gap, Lease
from sidecar.domain.position import Partition


class KafkaLease(Lease):
    """A lease with its buffer and its commits.

    It is `acquired` once the partition was fenced and its committed offset was read. Nothing is delivered before that.
    """

    __slots__ = (
        *("announced", "buffered", "chunks", "fetch_at", "fetch_in_flight", "gap", "generation", "held", "not_before"),
        *(
            "acquired",
            "codec",
            "committed",
            "identity",
            "lock",
            "outcome_unknown",
            "position",
            "replica",
            "topic_id",
            "tp",
        ),
    )

    def __init__(self, tp: TopicPartition) -> None:
        super().__init__(Partition("kafka", tp.topic, tp.partition), -1)
        self.tp = tp
        self.topic_id: bytes | None = None
        """Id of the topic that the lease is for; None if the broker has no topic ids."""
        self.acquired = False
        self.announced = False
        self.held = False
        # reading
        self.position = -1
        """Offset of the next record to deliver."""
        self.fetch_at = -1
        """Next offset to fetch: `position`, plus the content of `chunks`."""
        self.chunks: deque[FetchedChunk] = deque()
        self.buffered = 0
        """Bytes in `chunks`."""
        self.fetch_in_flight = False
        self.generation = 0
        """Number of jumps so far. The reply to a fetch that was sent before a jump is dropped."""
        self.not_before = 0.0
        """Earliest monotonic time of the next fetch after a failure."""
        self.replica = -1
        """Node to fetch from, as the leader advises for our rack; -1: the leader."""
        self.gap: Gap | None = None
        """Lost records that the next batch reports."""
        # committing
        self.codec = 0
        """Codec of the latest compressed batch. Records written for its records are compressed with the same codec."""
        self.lock = asyncio.Lock()
        self.committed = -1
        """Committed offset, as far as this lease knows."""
        self.outcome_unknown = False
        """The outcome of a transaction is unknown: fence and read the committed offset before anything else."""
        self.identity: ProducerIdentity | None = None
        """Producer identity that fenced the partition; None if we may not write transactions."""

    def acquire(self, offset: int) -> None:
        """Start to deliver at this offset: the partition is fenced and its committed offset is read."""
        self.start = self.committed = offset
        self.position = offset
        self.drop()
        self.acquired = True

    def jump(self, offset: int) -> None:
        """Drop the buffer, and deliver from this offset next."""
        self.position = offset
        self.gap = None
        self.drop()

    def drop(self) -> None:
        """Drop the buffer. Its records are fetched again."""
        self.fetch_at = self.position
        self.chunks.clear()
        self.buffered = 0
        self.generation += 1

    def lose(self) -> None:
        """End the lease."""
        self.lost = True
        self.chunks.clear()
        self.buffered = 0
