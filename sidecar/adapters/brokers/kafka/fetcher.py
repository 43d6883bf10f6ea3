"""Fetching ahead of the work: what is leased and not held is kept fetched, in bounds, each partition by itself.

A node has up to `LANES` requests under way, each on a connection of its own. A partition whose records were all taken
is fetched at once by a free lane, and need not wait for the long poll in which the quiet ones wait."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable

import structlog
from aiokafka import errors as kafka
from aiokafka.protocol.fetch import FetchRequest

from sidecar.adapters.brokers.kafka.cluster_client import EARLIEST, READ_COMMITTED, KafkaCluster
from sidecar.adapters.brokers.kafka.errors import for_code, translate
from sidecar.adapters.brokers.kafka.partition_lease import KafkaLease
from sidecar.adapters.brokers.kafka.record_decoder import FetchedChunk, end_offset
from sidecar.domain.errors import Disconnected
from sidecar.domain.ports.broker import Gap

log = structlog.get_logger(__name__)

FETCHES_PER_NODE = 3
SMALL_FETCH_PAUSE_S = 0.003
"""Seconds between fetches that bring little: at a slow stream a fetch for every record would cost more than the
work."""
SMALL_FETCH_BYTES = 32 << 10
"""Bytes."""
MAX_BUFFERED_BYTES = 32 << 20
"""Bytes that may wait in all partitions together, about: shared out evenly."""
MIN_PARTITION_FETCH_BYTES = 64 << 10
"""Bytes asked for of one partition, however many there are."""
FETCH_RETRY_INTERVAL_S = 0.2
"""Seconds after which a partition that failed is fetched again; doubled up to `AGAIN_AT_MOST` where we lack the
right."""
UNAUTHORIZED_RETRY_INTERVAL_S = 15.0
RESPONSE_TIMEOUT_S = 30.0
"""Seconds without any answer after which the connection counts as gone: addresses may have changed."""


class KafkaFetcher:
    """Runs until closed. `news` is set when a lease has something to deliver."""

    def __init__(self, cluster: KafkaCluster, wakeup: asyncio.Event, moved: Callable[[KafkaLease, Gap], None]) -> None:
        """`moved` is told that a lease's offset is gone from the log, and where reading goes on."""
        self._cluster, self._wakeup, self._on_gap = cluster, wakeup, moved
        self._options = cluster.options
        self._busy_lanes: dict[int, set[int]] = defaultdict(set)
        self._fetches: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._last_response = time.monotonic()
        self._tenures: Collection[KafkaLease] = ()
        self._fetch_bytes = self._options.max_partition_fetch_bytes
        self._task = asyncio.create_task(self._run(), name="kafka fetching")

    def watch(self, leases: Collection[KafkaLease]) -> None:
        """Fetch these from now on."""
        self._tenures = leases
        share = max(MIN_PARTITION_FETCH_BYTES, MAX_BUFFERED_BYTES // (2 * max(1, len(leases))))
        self._fetch_bytes = min(self._options.max_partition_fetch_bytes, share)
        self._wake.set()

    def wake(self) -> None:
        """A lease may want fetching now: it has room, was released, or jumped."""
        self._wake.set()

    def check(self) -> None:
        """Raises Disconnected where nothing has answered for too long, or fetching has failed."""
        if self._task.done():
            raise Disconnected("Kafka: fetching has ended") from self._task.exception()
        if self._tenures and time.monotonic() - self._last_response > RESPONSE_TIMEOUT_S and any(self._fetchable()):
            raise Disconnected(f"Kafka: no broker has answered a fetch for {RESPONSE_TIMEOUT_S:.0f} s")

    async def close(self) -> None:
        tasks = [self._task, *self._fetches]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    def _fetchable(self) -> Iterable[KafkaLease]:
        now = time.monotonic()
        for lease in self._tenures:
            free = lease.acquired and not (lease.lost or lease.held or lease.fetch_in_flight)
            if free and lease.buffered < 2 * self._fetch_bytes and lease.not_before <= now:
                yield lease

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            nodes: dict[int, list[KafkaLease]] = defaultdict(list)
            for one in self._fetchable():
                try:
                    nodes[self._cluster.leader(one.tp)].append(one)
                except kafka.KafkaError:
                    one.not_before = time.monotonic() + FETCH_RETRY_INTERVAL_S
                    self._cluster.client.force_metadata_update()
            for node, leases in nodes.items():
                free = next((lane for lane in range(FETCHES_PER_NODE) if lane not in self._busy_lanes[node]), None)
                if free is not None:
                    self._send(node, free, leases)
            failed = any(lease.not_before > time.monotonic() for lease in self._tenures)
            try:
                async with asyncio.timeout(FETCH_RETRY_INTERVAL_S if failed else 1):
                    await self._wake.wait()
            except TimeoutError:
                pass

    def _send(self, node: int, lane: int, leases: list[KafkaLease]) -> None:
        self._busy_lanes[node].add(lane)
        for lease in leases:
            lease.fetch_in_flight = True

        def landed(task: asyncio.Task[None]) -> None:
            self._fetches.discard(task)
            self._busy_lanes[node].discard(lane)
            for lease in leases:
                lease.fetch_in_flight = False
            self._wake.set()
            if not task.cancelled() and (error := task.exception()) is not None:
                log.error("a fetch failed in an unexpected way", node=node, exc_info=error)
                self._back_off(leases, FETCH_RETRY_INTERVAL_S)

        flight = asyncio.create_task(self._fetch(node, lane, leases), name=f"kafka fetch from {node}")
        self._fetches.add(flight)
        flight.add_done_callback(landed)

    async def _fetch(self, node: int, lane: int, leases: list[KafkaLease]) -> None:
        sent = {lease.tp: (lease, lease.fetch_at, lease.generation) for lease in leases}
        topics: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
        for lease in leases:
            topics[lease.tp.topic].append((lease.tp.partition, lease.fetch_at, self._fetch_bytes))
        o = self._options
        request = FetchRequest(
            o.fetch_max_wait_ms, o.fetch_min_bytes, o.fetch_max_bytes, READ_COMMITTED, list(topics.items())
        )
        try:
            answer = await self._cluster.ask(node, request, f"fetch {lane}")
        except (kafka.KafkaError, OSError, TimeoutError) as error:
            log.warning("a fetch failed", node=node, reason=repr(error))
            self._back_off(leases, FETCH_RETRY_INTERVAL_S)
            return
        self._last_response = time.monotonic()
        size = 0
        for topic, partitions in answer.topics:
            for number, code, _, _, *more in partitions:
                found = sent.get((topic, number))  # a TopicPartition is a tuple
                if found is None or found[0].lost or found[0].generation != found[2]:
                    continue
                raw = more[-1]
                if code:
                    await self._handle_error(found[0], code)
                elif raw:
                    size += len(raw)
                    self._keep(found[0], raw, more[-3] if answer.API_VERSION >= 11 else more[-2])
        if 0 < size < SMALL_FETCH_BYTES:
            await asyncio.sleep(SMALL_FETCH_PAUSE_S)

    def _keep(self, lease: KafkaLease, raw: bytes, aborted: list[tuple[int, int]] | None) -> None:
        past = end_offset(raw, lease.fetch_at)
        if past == lease.fetch_at:
            return
        lease.chunks.append(FetchedChunk(lease.partition, raw, lease.fetch_at, aborted, self._options.check_crcs))
        lease.buffered += len(raw)
        lease.fetch_at = past
        self._wakeup.set()

    async def _handle_error(self, lease: KafkaLease, code: int) -> None:
        kind = for_code(code)
        self._back_off([lease], FETCH_RETRY_INTERVAL_S)
        if kind is kafka.OffsetOutOfRangeError:
            await self._find_gap(lease)
        elif kind is kafka.TopicAuthorizationFailedError:
            log.error("not allowed to read", error=str(translate(kind(lease.tp.topic), f"reading {lease.partition}")))
            self._back_off([lease], UNAUTHORIZED_RETRY_INTERVAL_S)
        else:
            log.info("a partition cannot be read now", partition=str(lease.partition), reason=kind.__name__)
            self._cluster.client.force_metadata_update()

    async def _find_gap(self, lease: KafkaLease) -> None:
        """The offset is not in the log. Before its beginning: retention or a trim. Beyond its end: the topic was made
        anew (or a replica without the newest records was elected, which no setting allows unless asked)."""
        wanted, generation = lease.fetch_at, lease.generation
        try:
            first = (await self._cluster.offsets([lease.tp], EARLIEST))[lease.tp]
        except (kafka.KafkaError, OSError, TimeoutError) as error:
            log.warning("where a partition begins is not known", partition=str(lease.partition), reason=repr(error))
            return
        if lease.lost or lease.generation != generation or lease.chunks or first == wanted:
            return
        if first > wanted:
            reason = (
                f"{first - wanted} offsets of {lease.partition} were deleted (retention or a trim) before they were "
                "read"
            )
        else:
            reason = (
                f"{lease.partition} ends before offset {wanted}: the topic was created again, and is read from its "
                "beginning"
            )
        self._on_gap(lease, Gap(lease.partition, wanted, first, reason))

    def _back_off(self, leases: list[KafkaLease], seconds: float) -> None:
        until = time.monotonic() + seconds
        for lease in leases:
            lease.not_before = until
