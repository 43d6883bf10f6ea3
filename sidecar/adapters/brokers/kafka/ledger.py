"""The ledger on Kafka: the compacted topic `tracecar.ledger`, one partition, read into memory; acts are transactions.

**Who may write.** The whole ledger has one transactional id, `tracecar.ledger`. A sidecar that wants to act claims it
(InitProducerId): the coordinator ends what the last writer had open and refuses that writer from then on. Then the
cache is caught up, and after that no other sidecar can have written while our identity is valid: the cache is the
ledger, and expected values are compared in memory. The Kafka transaction that carries ledger transactions out writes
their records and their entries together (KIP-98); readers at read_committed see all of it or nothing.

**If the process dies** at any moment: the open transaction is aborted by the next claim, or by its timeout; the entries
and the records that would have been published with them were never visible. Once it is committed, both are.

**If two sidecars act at once**: each claim refuses the other. The one that is refused claims again after a random,
growing pause, catches up, and compares with what the other did. So both make progress, and no transaction is carried
out on an entry that changed.

**If the answer comes late or never**: the identity is given up. The next call claims again, which decides the old
transaction one way or the other and waits until its markers are written (CONCURRENT_TRANSACTIONS until then), catches
up, and finds the entries as the transaction wanted them, or not. A late request of the old epoch is refused.

**If the topic is deleted, or created again**: a ledger is identified by its first entry, `begin` (a random id), and the
entry's offset. Before new records are read, at every claim, and every second besides, the record at that offset is read
again. If it is not ours, the cache starts from the new topic's beginning, so that it never holds half of one ledger and
half of another. Entries that we knew are kept apart: they still answer, are still compared, and are written again by
the first sidecar that notices, under a claim; entries of the new topic take precedence. If the topic is created again
between two transactions of one claim: no sidecar can have written there without a claim, so a record that we write
would get the next offset that we know. It gets another one: `begin` is read before the transaction is committed,
which is aborted if this is another ledger. So a sidecar that saw an entry never acts against it. Lost are entries
that no running sidecar saw; a sidecar that started since does not know what the others did until one of them looked
again (`ledger_started_at` tells how old this ledger is); and if two knew different values of one entry, the first to
write it again decides."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
import uuid
from collections.abc import Callable, Iterator, Sequence

import structlog
from aiokafka import errors as kafka

from sidecar.adapters.brokers.kafka.cluster_client import KafkaCluster
from sidecar.adapters.brokers.kafka.idempotent_producer import BatchSender, ProducerIdentity, WrittenOffsets
from sidecar.adapters.brokers.kafka.ledger_cache import BEGIN, LedgerCache
from sidecar.adapters.brokers.kafka.log_reader import KafkaLogReader
from sidecar.adapters.brokers.kafka.record_batch import assign_partitions
from sidecar.adapters.brokers.kafka.topic_admin import TopicAdmin
from sidecar.adapters.brokers.kafka.transactions import claim, write
from sidecar.domain.errors import Fenced, Outage, Refused, TooLarge
from sidecar.domain.model import Outgoing
from sidecar.domain.ports.ledger import LedgerOutcome, LedgerTransaction
from sidecar.domain.position import Position
from sidecar.domain.stream_names import LEDGER, StreamNames

log = structlog.get_logger(__name__)

MAX_ACTS, MAX_TRANSACTION_BYTES = 2_000, 8 << 20
"""Limits of one Kafka transaction."""
MAX_CLAIM_ATTEMPTS = 30
"""Claims that one call tries while other sidecars claim too."""
REFUSED_RETRY_INTERVAL_S = 60.0
"""Wait before lost entries are written again after the broker refused it."""


class LedgerProxy:
    """`sidecar.domain.ports.ledger.Ledger` of a broker that can be closed and started again.

    `current` raises Disconnected while it is not started.
    """

    def __init__(self, current: Callable[[], KafkaLedger]) -> None:
        self._current = current

    async def entries(self, stream: str | None, keys: Sequence[str]) -> list[bytes | None]:
        return await self._current().entries(stream, keys)

    async def under(self, prefix: str) -> dict[str, bytes]:
        return await self._current().under(prefix)

    async def act(self, acts: Sequence[LedgerTransaction]) -> list[LedgerOutcome]:
        return await self._current().act(acts)

    async def ledger_started_at(self, stream: str | None) -> int | None:
        return await self._current().ledger_started_at(stream)


class KafkaLedger:
    """The ledger during one session of a broker. At most `most` entries are held in memory."""

    def __init__(
        self, cluster: KafkaCluster, log_reader: KafkaLogReader, topics: TopicAdmin, naming: StreamNames, most: int
    ) -> None:
        self._cluster, self._topics, self._naming = cluster, topics, naming
        self._cache = LedgerCache(cluster, log_reader, most)
        self._sender = BatchSender(cluster)
        self._identity: ProducerIdentity | None = None
        self._lock = asyncio.Lock()
        self._restore_after = 0.0

    # --- looking

    async def entries(self, stream: str | None, keys: Sequence[str]) -> list[bytes | None]:
        async with self._lock:
            await self._refresh()
            get = self._cache.get
            return [get(key) for key in keys]

    async def under(self, prefix: str) -> dict[str, bytes]:
        async with self._lock:
            await self._refresh()
            return self._cache.under(prefix)

    async def ledger_started_at(self, stream: str | None) -> int | None:
        async with self._lock:
            await self._refresh()
            return self._cache.ledger_started_at

    async def _refresh(self) -> None:
        await self._catch_up()
        if self._cache.lost and time.monotonic() >= self._restore_after:
            try:
                await self._restore_lost()
            except Fenced:  # another sidecar is writing them
                pass
            except Refused as refused:
                # The cache answers all the same. Each attempt claims the ledger, which disturbs sidecars that may
                # write.
                log.warning("cannot restore entries that the ledger's topic lost", reason=str(refused))
                self._restore_after = time.monotonic() + REFUSED_RETRY_INTERVAL_S

    async def _catch_up(self, *, thoroughly: bool = False) -> None:
        with _rights():
            await self._cache.catch_up(thoroughly=thoroughly)

    # --- acting

    async def act(self, acts: Sequence[LedgerTransaction]) -> list[LedgerOutcome]:
        async with self._lock:
            outcomes: list[LedgerOutcome] = []
            published = 0
            for part in _parts(acts):
                outcomes += await self._act(part, published)
                published += sum(len(act.outgoing) for act in part)
            return outcomes

    async def _act(self, acts: Sequence[LedgerTransaction], published: int) -> list[LedgerOutcome]:
        """Carry out one Kafka transaction. `published`: number of records of earlier ones, for TooLarge's index."""
        was_gone = False
        for attempt in range(MAX_CLAIM_ATTEMPTS):
            try:
                identity = await self._ensure_claim()
                due = [number for number, act in enumerate(acts) if self._is_due(act)]
                if not due:
                    return [self._outcome(act) for act in acts]
                self._check_room([acts[number] for number in due])
                # Anything that ends this early, a cancellation too, leaves a transaction with an unknown outcome: only
                # success keeps the identity.
                self._identity = None
                offsets_by_index = await self._write(identity, [acts[number] for number in due], published, acts, due)
                self._identity = identity
            except Fenced:
                self._identity = None
                await asyncio.sleep(random.uniform(0.01, 0.05) * min(2**attempt, 20))
                continue
            except (Outage, Refused) as error:
                self._identity = None
                self._topics.forget()
                if not was_gone and isinstance(error.__cause__, kafka.UnknownTopicOrPartitionError):
                    # A topic was deleted meanwhile; the next attempt creates it. What this one did is found first.
                    was_gone = True
                    continue
                raise
            done = {number: self._carried_out(acts[number], offsets_by_index[n]) for n, number in enumerate(due)}
            return [done.get(number) or self._outcome(act) for number, act in enumerate(acts)]
        raise Outage(f"Kafka: other sidecars keep writing to {LEDGER}; try again", 1.0)

    async def _ensure_claim(self) -> ProducerIdentity:
        """Return the right to write, with the cache caught up under it."""
        if self._identity is None:
            identity = await self._claim()
            await self._catch_up(thoroughly=True)
            self._identity = identity
        elif not self._cache.verified:
            await self._catch_up()
        if not self._cache.complete:
            await self._restore_lost()
        return self._identity

    async def _claim(self) -> ProducerIdentity:
        with _rights():
            return await self._cluster.retry(f"claiming {LEDGER}", lambda: claim(self._cluster, LEDGER))

    def _check_room(self, due: Sequence[LedgerTransaction]) -> None:
        """Raise Refused while nothing is written, so that the cache never lags behind what we wrote."""
        entries = self._cache.entries
        fresh = {
            entry.key for act in due for entry in act.entries if entry.after is not None and entry.key not in entries
        }
        self._cache.check_room(len(fresh))

    def _is_due(self, act: LedgerTransaction) -> bool:
        """Return whether to carry it out: every entry has its expected value, and not yet its new one."""
        get = self._cache.get
        changed = False
        for entry in act.entries:
            if get(entry.key) != entry.before:
                return False
            changed = changed or entry.before != entry.after
        return changed

    def _outcome(self, act: LedgerTransaction) -> LedgerOutcome:
        """Return the outcome of a transaction that is not carried out now."""
        values = tuple([self._cache.get(entry.key) for entry in act.entries])
        return LedgerOutcome(
            all(value == entry.after for value, entry in zip(values, act.entries, strict=True)), values
        )

    def _carried_out(self, act: LedgerTransaction, positions: tuple[Position, ...]) -> LedgerOutcome:
        return LedgerOutcome(True, tuple([entry.after for entry in act.entries]), positions)

    async def _write(
        self,
        identity: ProducerIdentity,
        due: Sequence[LedgerTransaction],
        published: int,
        acts: Sequence[LedgerTransaction],
        numbers: Sequence[int],
    ) -> list[tuple[Position, ...]]:
        outgoing = [out for act in due for out in act.outgoing]
        changes = [entry for act in due for entry in act.entries if entry.before != entry.after]
        records = [*outgoing, *[_record(entry.key, entry.after) for entry in changes]]
        partition_counts = await self._counts(due, outgoing)
        try:
            offsets_by_index = await self._commit(identity, records, partition_counts)
        except TooLarge as error:
            if error.index >= len(outgoing):
                raise Refused(f"Kafka: {error}: raise max.message.bytes of the topic {LEDGER}") from error
            raise TooLarge(str(error), published + _index(error.index, acts, numbers)) from error
        # No other sidecar wrote since the claim, so our own records need no reading.
        for n, entry in enumerate(changes, len(outgoing)):
            self._cache.wrote(entry.key, entry.after, offsets_by_index[n][1])
        positions, at = [], 0
        for act in due:
            mine = [offsets_by_index[n] for n in range(at, at + len(act.outgoing))]
            positions.append(tuple([Position("kafka", tp.topic, tp.partition, offset) for tp, offset in mine]))
            at += len(act.outgoing)
        return positions

    async def _commit(
        self, identity: ProducerIdentity, records: Sequence[Outgoing], partition_counts: dict[str, int]
    ) -> WrittenOffsets:
        """Write one Kafka transaction; commit it only if its entries are in the ledger that we know."""
        mine = [number for number, record in enumerate(records) if record.stream == LEDGER]

        async def right(offsets_by_index: WrittenOffsets) -> bool:
            first = min(offsets_by_index[number][1] for number in mine)
            return self._cache.follows(first) or (first >= self._cache.next and not await self._cache.is_another())

        return await write(self._cluster, self._sender, identity, assign_partitions(records, partition_counts), right)

    async def _counts(self, due: Sequence[LedgerTransaction], outgoing: Sequence[Outgoing]) -> dict[str, int]:
        """Partition counts of all that is written to; dead-letter streams are made where they are missing."""
        names = dict.fromkeys([out.stream for out in outgoing])
        of_letters = {name for name in names if self._naming.is_dead_letter(name)}
        for act in due if of_letters else ():
            letters = [out.stream for out in act.outgoing if out.stream in of_letters]
            if letters and act.stream is not None:
                await self._topics.counts_or_create(letters, like=act.stream)
        return {**await self._topics.partition_counts(names), LEDGER: 1}

    async def _restore_lost(self) -> None:
        """Write what the topic does not have: the first entry of a new ledger, and what was lost.

        In a transaction of its own, under a claim.
        """
        cache = self._cache
        if self._identity is None:
            self._identity = await self._claim()
            await self._catch_up(thoroughly=True)
        if not cache.exists:
            with _rights():
                await self._topics.create_compacted(LEDGER)
            cache.exists = True
        lost = dict(cache.lost)
        if BEGIN not in cache.entries:
            at = int(time.time() * 1000)
            lost = {BEGIN: json.dumps({"id": uuid.uuid4().hex, "at": at}).encode(), **lost}
        identity, self._identity = self._identity, None  # only success keeps it, as in `_act`
        for part in _split(list(lost.items())):
            offsets_by_index = await self._commit(identity, [_record(key, value) for key, value in part], {LEDGER: 1})
            for n, (key, value) in enumerate(part):
                cache.wrote(key, value, offsets_by_index[n][1])
        self._identity = identity


@contextlib.contextmanager
def _rights() -> Iterator[None]:
    """Name everything that the ledger needs when this principal is refused something within this block."""
    try:
        yield
    except Refused as refused:
        if isinstance(refused.__cause__, _NO_RIGHT):
            raise Refused(
                f"Kafka: this principal may not use the ledger: to show states, it needs READ on the topic {LEDGER}; "
                f"to replay and discard, WRITE and DESCRIBE on the transactional id {LEDGER}, and READ, WRITE "
                f"and CREATE on the topic {LEDGER}"
            ) from refused
        raise


_NO_RIGHT = (
    kafka.TransactionalIdAuthorizationFailed,
    kafka.TopicAuthorizationFailedError,
    kafka.ClusterAuthorizationFailedError,
)


def _record(key: str, value: bytes | None) -> Outgoing:
    return Outgoing(LEDGER, key.encode("utf-8", "surrogateescape"), value, (), partition=0)


def _index(index: int, acts: Sequence[LedgerTransaction], numbers: Sequence[int]) -> int:
    """Return the index, among all records of the transactions, of a record of those that are due."""
    before = [sum(len(act.outgoing) for act in acts[:number]) for number in numbers]
    for at, number in zip(before, numbers, strict=True):
        if index < len(acts[number].outgoing):
            return at + index
        index -= len(acts[number].outgoing)
    return index


def _parts(acts: Sequence[LedgerTransaction]) -> Iterator[Sequence[LedgerTransaction]]:
    """Yield the transactions in order, in parts for one Kafka transaction each.

    Expected values are compared with those before the Kafka transaction, so no two of its parts may have the same key.
    """
    part: list[LedgerTransaction] = []
    keys: set[str] = set()
    size = 0
    for act in acts:
        mine = sum(len(entry.after or b"") + len(entry.key) for entry in act.entries)
        mine += sum(len(out.value or b"") + len(out.key or b"") for out in act.outgoing)
        names = [entry.key for entry in act.entries]
        if part and (len(part) >= MAX_ACTS or size + mine > MAX_TRANSACTION_BYTES or not keys.isdisjoint(names)):
            yield part
            part, size, keys = [], 0, set()
        part.append(act)
        keys.update(names)
        size += mine
    if part:
        yield part


def _split(items: list[tuple[str, bytes]]) -> Iterator[list[tuple[str, bytes]]]:
    """Yield the entries in parts; the first entry alone, because its batch is read again and again."""
    if items and items[0][0] == BEGIN:
        yield items[:1]
        items = items[1:]
    for at in range(0, len(items), 5_000):
        yield items[at : at + 5_000]
