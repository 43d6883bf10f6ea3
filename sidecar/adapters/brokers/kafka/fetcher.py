"""Fetcher that reads ahead of the pipeline: each leased partition that is not held has a bounded buffer.

A node has up to FETCHES_PER_NODE requests in flight, each on a connection of its own. A partition whose buffer was
consumed is fetched at once on a free connection, and does not wait for the long poll of the quiet partitions.

With `client_rack` set, the leader names a replica in our zone, and the partition is fetched there (KIP-392).
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence

import structlog
from aiokafka import errors as kafka
from aiokafka.structs import TopicPartition

from sidecar.adapters.brokers.kafka.cluster_client import (
    COMMITTED_ISOLATION_ID,
    EARLIEST_OFFSET,
    LATEST_OFFSET,
    KafkaCluster,
)
from sidecar.adapters.brokers.kafka.errors import (
    InconsistentTopicId,
    OffsetNotAvailable,
    UnknownTopicId,
    for_code,
    translate,
)
from sidecar.adapters.brokers.kafka.partition_lease import KafkaLease
from sidecar.adapters.brokers.kafka.record_decoder import FetchedChunk, end_offset
from sidecar.adapters.brokers.kafka.topic_ids import (
    FetchedPartition,
    IdentifiedFetchRequest,
    fetched_partitions,
    is_by_id,
)
from sidecar.domain.errors import Disconnected
from sidecar.domain.ports.broker import Gap

log = structlog.get_logger(__name__)

FETCHES_PER_NODE = 3
SMALL_FETCH_PAUSE_S = 0.003
"""Pause after a fetch that returned little: on a slow stream, one fetch for each record would cost more than its
work."""
SMALL_FETCH_BYTES = 32 << 10
MAX_BUFFERED_BYTES = 32 << 20
"""Approximate size of all buffers together, divided evenly among the partitions."""
MIN_PARTITION_FETCH_BYTES = 64 << 10
"""Smallest number of bytes requested of one partition, however many partitions there are."""
FETCH_RETRY_INTERVAL_S = 0.2
UNAUTHORIZED_RETRY_INTERVAL_S = 15.0
TOPIC_CHECK_INTERVAL_S = 2.0
"""Time between two comparisons of topic ids, at a broker that knows ids and cannot fetch by them (Kafka 2.8 to 3.0)."""
RESPONSE_TIMEOUT_S = 30.0
"""Time without any reply after which the connection counts as lost, because addresses may have changed."""


class KafkaFetcher:
    """Fetches in the background until it is closed."""

    def __init__(
        self,
        cluster: KafkaCluster,
        wakeup: asyncio.Event,
        on_gap: Callable[[KafkaLease, Gap], None],
        on_recreated: Callable[[KafkaLease], None],
    ) -> None:
        """Start to fetch in the background.

        Args:
            cluster: The cluster, connected.
            wakeup: Set when a lease has something to deliver.
            on_gap: Called when a lease's offset is gone from the log, with the offset where reading continues.
            on_recreated: Called when a lease's topic was deleted and created again.
        """
        self._cluster, self._wakeup, self._on_gap, self._on_recreated = cluster, wakeup, on_gap, on_recreated
        self._options = cluster.options
        self._busy_lanes: dict[int, set[int]] = defaultdict(set)
        self._fetches: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._last_response = time.monotonic()
        self._leases: Collection[KafkaLease] = ()
        self._fetch_bytes = self._options.max_partition_fetch_bytes
        self._topics_checked_at = time.monotonic()
        self._task = asyncio.create_task(self._run(), name="kafka fetching")

    def watch(self, leases: Collection[KafkaLease]) -> None:
        """Fetch these leases from now on, and no others."""
        self._leases = leases
        share = max(MIN_PARTITION_FETCH_BYTES, MAX_BUFFERED_BYTES // (2 * max(1, len(leases))))
        self._fetch_bytes = min(self._options.max_partition_fetch_bytes, share)
        self._wake.set()

    def wake(self) -> None:
        """Look for leases to fetch now, because one has room, was released, or jumped."""
        self._wake.set()

    def check(self) -> None:
        """Raise Disconnected if no node has replied for too long, or the fetch task has failed."""
        if self._task.done():
            raise Disconnected("Kafka: the fetch task has ended") from self._task.exception()
        if self._leases and time.monotonic() - self._last_response > RESPONSE_TIMEOUT_S and any(self._fetchable()):
            raise Disconnected(f"Kafka: no broker has answered a fetch for {RESPONSE_TIMEOUT_S:.0f} s")

    async def close(self) -> None:
        tasks = [self._task, *self._fetches]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    def _fetchable(self) -> Iterable[KafkaLease]:
        now = time.monotonic()
        for lease in self._leases:
            idle = lease.acquired and not (lease.lost or lease.held or lease.fetch_in_flight)
            if idle and lease.buffered < 2 * self._fetch_bytes and lease.not_before <= now:
                yield lease

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            nodes: dict[int, list[KafkaLease]] = defaultdict(list)
            for lease in self._fetchable():
                try:
                    nodes[self._node(lease)].append(lease)
                except kafka.KafkaError:
                    lease.not_before = time.monotonic() + FETCH_RETRY_INTERVAL_S
                    self._cluster.client.force_metadata_update()
            for node, leases in nodes.items():
                free = next((lane for lane in range(FETCHES_PER_NODE) if lane not in self._busy_lanes[node]), None)
                if free is not None:
                    self._send(node, free, leases)
            failed = any(lease.not_before > time.monotonic() for lease in self._leases)
            try:
                async with asyncio.timeout(FETCH_RETRY_INTERVAL_S if failed else 1):
                    await self._wake.wait()
            except TimeoutError:
                pass

    def _node(self, lease: KafkaLease) -> int:
        if lease.replica >= 0 and self._cluster.has_node(lease.replica):
            return lease.replica
        return self._cluster.leader(lease.tp)

    def _send(self, node: int, lane: int, leases: list[KafkaLease]) -> None:
        self._busy_lanes[node].add(lane)
        for lease in leases:
            lease.fetch_in_flight = True

        def finish(task: asyncio.Task[None]) -> None:
            self._fetches.discard(task)
            self._busy_lanes[node].discard(lane)
            for lease in leases:
                lease.fetch_in_flight = False
            self._wake.set()
            if not task.cancelled() and (error := task.exception()) is not None:
                log.error("a fetch failed unexpectedly", node=node, exc_info=error)
                self._back_off(leases, FETCH_RETRY_INTERVAL_S)

        fetch = asyncio.create_task(self._fetch(node, lane, leases), name=f"kafka fetch from {node}")
        self._fetches.add(fetch)
        fetch.add_done_callback(finish)

    async def _fetch(self, node: int, lane: int, leases: list[KafkaLease]) -> None:
        sent = {lease.tp: (lease, lease.generation) for lease in leases}
        ids = {lease.tp.topic: lease.topic_id for lease in leases if lease.topic_id is not None}
        topics: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
        for lease in leases:
            topics[lease.tp.topic].append((lease.tp.partition, lease.fetch_at, self._fetch_bytes))
        o = self._options
        request = IdentifiedFetchRequest(
            *(o.fetch_max_wait_ms, o.fetch_min_bytes, o.fetch_max_bytes, COMMITTED_ISOLATION_ID, list(topics.items())),
            ids=ids,
            rack_id=o.client_rack,
        )
        try:
            answer = await self._cluster.ask(node, request, f"fetch {lane}")
        except (kafka.KafkaError, OSError, TimeoutError) as error:
            log.warning("a fetch failed", node=node, reason=repr(error))
            self._back_off(leases, FETCH_RETRY_INTERVAL_S)
            for lease in leases:
                lease.replica = -1
            return
        self._last_response = time.monotonic()
        if ids and not is_by_id(answer) and self._last_response - self._topics_checked_at > TOPIC_CHECK_INTERVAL_S:
            self._topics_checked_at = self._last_response
            await self._check_topics([lease for lease in self._leases if lease.acquired])
        failed: list[tuple[KafkaLease, int]] = []
        size = 0
        # What the answer holds is kept before anything is waited for, so that a cancellation forgets nothing.
        for partition in fetched_partitions(answer, ids):
            addressed = sent.get(TopicPartition(partition.topic, partition.number))
            if addressed is None or addressed[0].lost or addressed[0].generation != addressed[1]:
                continue
            lease = addressed[0]
            if partition.error_code:
                failed.append((lease, partition.error_code))
            else:
                size += self._keep(lease, partition)
        for lease, code in failed:
            await self._handle_error(lease, code)
        if 0 < size < SMALL_FETCH_BYTES:
            await asyncio.sleep(SMALL_FETCH_PAUSE_S)

    def _keep(self, lease: KafkaLease, partition: FetchedPartition) -> int:
        """Buffer the fetched batches; returns their bytes."""
        if partition.preferred_replica >= 0:
            lease.replica = partition.preferred_replica
        raw = partition.raw
        if not raw:
            return 0
        end = end_offset(raw, lease.fetch_at)
        if end != lease.fetch_at:
            check = self._options.check_crcs
            lease.chunks.append(FetchedChunk(lease.partition, raw, lease.fetch_at, partition.aborted, check))
            lease.buffered += len(raw)
            lease.fetch_at = end
            self._wakeup.set()
        return len(raw)

    async def _handle_error(self, lease: KafkaLease, code: int) -> None:
        kind = for_code(code)
        self._back_off([lease], FETCH_RETRY_INTERVAL_S)
        if lease.replica >= 0:
            lease.replica = -1  # a follower may lag behind, or lead now: the leader says more
            return
        if kind in (UnknownTopicId, InconsistentTopicId):
            self._cluster.client.force_metadata_update()
            await self._check_topics([lease])
        elif kind is kafka.OffsetOutOfRangeError:
            await self._find_gap(lease)
        elif kind is kafka.TopicAuthorizationFailedError:
            log.error("not allowed to read", error=str(translate(kind(lease.tp.topic), f"reading {lease.partition}")))
            self._back_off([lease], UNAUTHORIZED_RETRY_INTERVAL_S)
        else:
            level = log.debug if kind is OffsetNotAvailable else log.info
            level("cannot read a partition now; retrying", partition=str(lease.partition), reason=kind.__name__)
            self._cluster.client.force_metadata_update()

    async def _check_topics(self, leases: Sequence[KafkaLease]) -> None:
        """Find the leases whose topic was replaced by another one of the same name."""
        try:
            ids = await self._cluster.topic_ids(sorted({lease.tp.topic for lease in leases}))
        except (kafka.KafkaError, OSError, TimeoutError) as error:
            log.warning("cannot ask for the ids of topics", reason=repr(error))
            return
        for lease in leases:
            topic_id = ids.get(lease.tp.topic)
            if None not in (topic_id, lease.topic_id) and topic_id != lease.topic_id and not lease.lost:
                self._on_recreated(lease)

    async def _find_gap(self, lease: KafkaLease) -> None:
        """Find where reading continues after an offset that is not in the log.

        Before its beginning: retention or a trim. Beyond its end: a replica without the newest records was elected,
        which no setting allows by default, or, on a broker without topic ids, the topic was created again.
        """
        wanted, generation = lease.fetch_at, lease.generation
        await self._check_topics([lease])  # the new topic may be shorter
        try:
            first = (await self._cluster.offsets([lease.tp], EARLIEST_OFFSET))[lease.tp]
            end = (await self._cluster.offsets([lease.tp], LATEST_OFFSET))[lease.tp]
        except (kafka.KafkaError, OSError, TimeoutError) as error:
            log.warning("cannot find the beginning of a partition", partition=str(lease.partition), reason=repr(error))
            return
        if lease.lost or lease.generation != generation or lease.chunks or first == wanted:
            return
        if first > wanted:
            reason = (
                f"{first - wanted} offsets of {lease.partition} were deleted (retention or a trim) before they were "
                "read"
            )
        elif lease.topic_id is not None:
            if end >= wanted:
                return
            first = end
            reason = f"{lease.partition} was cut off at offset {end}: a replica without the newest records leads it"
        else:
            reason = (
                f"{lease.partition} ends before offset {wanted}: the topic was created again, and is read from its "
                "beginning"
            )
        recreated = first < wanted and lease.topic_id is None
        self._on_gap(lease, Gap(lease.partition, wanted, first, reason, recreated=recreated))

    def _back_off(self, leases: list[KafkaLease], seconds: float) -> None:
        until = time.monotonic() + seconds
        for lease in leases:
            lease.not_before = until
