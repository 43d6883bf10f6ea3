"""Batches of events for the shared index, as commands for each shard."""

from __future__ import annotations

from binascii import crc32
from collections.abc import Sequence

from msgspec.structs import replace

from sidecar.adapters.index.event_codec import MAX_PACKED_BYTES
from sidecar.adapters.index.redis.key_layout import (
    CAUSE,
    EFFECT,
    UNKNOWN_PRODUCER,
    WINDOW_MS,
    KeyLayout,
    PartitionKey,
    id_hash,
    log_of,
    pack_event,
    small,
)
from sidecar.adapters.index.redis.lua_scripts import WRITE_EVENTS, WRITE_LISTS
from sidecar.adapters.redis_client.connection_pool import Argument, Command
from sidecar.domain.derived_ids import is_standalone, own_identity
from sidecar.domain.event_bounds import UNPACKABLE, bound_event
from sidecar.domain.model import Event

MAX_BATCH_EVENTS = 500
"""Events in one batch: some milliseconds of the server's time."""
MAX_APPEND_TIME_MS = 1 << 62
"""Largest append time that is stored, because seconds are ordered by numbers of 53 bits."""
MAX_CACHED_HASHES = 30_000
"""Hashes of ids to cache, because the events of a flow repeat its ids."""
MAX_CACHED_PARTITIONS = 20_000
SMALL_NUMBERS = [small(number) for number in range(WINDOW_MS)]
MILLISECOND_BYTES = [number.to_bytes(2, "big") for number in range(WINDOW_MS)]
_SEQUENCE_MASK = (1 << 64) - 1


class ShardCommands:
    """Writes for one shard."""

    __slots__ = ("buckets", "ids", "sets")

    def __init__(self) -> None:
        self.buckets: dict[bytes, list[bytes]] = {}
        """Fields and packed events alternately, by key."""
        self.sets: dict[bytes, list[bytes]] = {}
        """Members to add to each set. Events of one flow arrive together, so its keys are sent once."""
        self.ids: list[bytes] = []
        """Hashes and members alternately."""

    def arguments(self, ttl_ms: int, word: bytes) -> list[Argument]:
        arguments: list[Argument] = [ttl_ms, word, len(self.buckets)]
        for key, parts in self.buckets.items():
            arguments += (key, len(parts))
            arguments += parts
        arguments.append(len(self.sets))
        for key, members in self.sets.items():
            arguments += (key, len(members))
            arguments += members
        arguments.append(len(self.ids) // 2)
        arguments += self.ids
        return arguments


class IndexWriteBatch:
    """Batch of events under construction. It may be written any number of times."""

    __slots__ = ("count", "logs", "ranges", "seconds", "shards", "sweeps")

    def __init__(self, shards: int) -> None:
        self.shards = [ShardCommands() for _ in range(shards)]
        self.logs: dict[bytes, PartitionKey] = {}
        self.ranges: dict[bytes, tuple[int, int]] = {}
        """Lowest and highest offset of each log."""
        self.seconds: set[int] = set()
        self.sweeps: set[int] = set()
        self.count = 0

    def commands(self, keys: KeyLayout, ttl_ms: int, word: bytes) -> list[tuple[int, Command]]:
        """Build the commands, each with its shard: WRITE_LISTS first, then WRITE_EVENTS for each shard with data."""
        noted: list[Argument] = [ttl_ms, len(self.logs)]
        for log in self.logs.values():
            noted += (log.name, log.written)
        for seconds in (self.seconds, self.sweeps):
            noted.append(len(seconds))
            noted += seconds
        commands: list[tuple[int, Command]] = [(0, ("EVALSHA", WRITE_LISTS.sha, 1, keys.heads[0], *noted))]
        for number, shard in enumerate(self.shards):
            if shard.buckets or shard.sets or shard.ids:
                arguments = shard.arguments(ttl_ms, word)
                commands.append((number, ("EVALSHA", WRITE_EVENTS.sha, 1, keys.heads[number], *arguments)))
        return commands


class WriteBatchBuilder:
    """Converts events into batches.

    An append time more than `late_ms` before the event was read, or in the future, does not decide which flows are the
    oldest: clocks can be wrong, and a backlog counts in the order of reading.
    """

    def __init__(self, shards: int, late_ms: int) -> None:
        self._shards, self._late_ms = shards, late_ms
        self._logs: dict[tuple[str, str, int], PartitionKey] = {}
        self._known: dict[str, bytes] = {}
        self._words: dict[str, bytes] = {}

    def log(self, system: str, stream: str, number: int) -> PartitionKey:
        log = self._logs.get((system, stream, number))
        if log is None:
            if len(self._logs) >= MAX_CACHED_PARTITIONS:
                self._logs.clear()
            log = self._logs[system, stream, number] = log_of(system, stream, number)
        return log

    def take(self, batch: IndexWriteBatch, events: Sequence[Event], start: int) -> int:
        """Add events from `start` on to the batch, as many as fit. Returns the index of the first that did not."""
        end = min(len(events), start + MAX_BATCH_EVENTS - batch.count)
        shards, count = batch.shards, self._shards
        known, words, late_ms = self._known, self._words, self._late_ms
        if len(known) > MAX_CACHED_HASHES:
            known.clear()
        if len(words) > MAX_CACHED_HASHES:
            words.clear()
        system = stream = ""
        number, bits, low_mask, two_words = -1, 0, 0, False
        log: PartitionKey | None = None
        log_name, log_number = b"", 0
        last_bucket, parts = -1, list[bytes]()
        last_window, members = None, list[bytes]()
        low = high = 0
        # The member lists of keys that several events of this call share.
        traces: dict[int, list[bytes]] = {}
        aggregates: dict[str, list[bytes]] = {}
        correlations: dict[str, list[bytes]] = {}
        for event in events[start:end]:
            position = event.position
            if position.partition != number or position.stream != stream or position.system != system:
                if log is not None:
                    _stretch(batch, log, low, high)
                system, stream, number = position.system, position.stream, position.partition
                log = self.log(system, stream, number)
                log_name, log_number, bits = log.name, log.number, log.bits
                low_mask, two_words = (1 << bits) - 1, log.two_words
                low = high = position.offset
                last_bucket = -1
            offset = position.offset
            try:
                packed = pack_event(event)
            except UNPACKABLE:
                packed = b""
            if (
                not packed
                or len(packed) > MAX_PACKED_BYTES
                or not -MAX_APPEND_TIME_MS < event.appended_at < MAX_APPEND_TIME_MS
            ):
                event = bound_event(event)
                event = replace(event, appended_at=min(max(event.appended_at, -MAX_APPEND_TIME_MS), MAX_APPEND_TIME_MS))
                packed = pack_event(event)
            if two_words:
                sequence = offset & _SEQUENCE_MASK
                place = (
                    log_name
                    + (offset >> 64).to_bytes(8, "big")
                    + sequence.to_bytes((sequence.bit_length() + 7) >> 3, "big")
                )
            elif offset < 1 << 40:
                place = log_name + offset.to_bytes(5, "big")
            else:
                place = log_name + offset.to_bytes((offset.bit_length() + 7) >> 3, "big")
            if offset > high:
                high = offset
            elif offset < low:
                low = offset
            bucket = offset >> bits
            if bucket != last_bucket:
                last_bucket = bucket
                key = b"e" + log_name + bucket.to_bytes((bucket.bit_length() + 7) >> 3, "big")
                parts = shards[(log_number + bucket) % count].buckets.setdefault(key, [])
            rest = offset & low_mask
            parts.append(
                SMALL_NUMBERS[rest] if rest < WINDOW_MS else rest.to_bytes((rest.bit_length() + 7) >> 3, "big")
            )
            parts.append(packed)
            # --- keys to find it by
            event_id, cause, correlation = event.event_id, event.causation_id, event.correlation_id
            trace_id, aggregate = event.trace_id, event.aggregate_id
            if event_id is not None:
                hashed = known.get(event_id)
                if hashed is None:
                    hashed = known[event_id] = id_hash(event_id)
                ids = shards[hashed[3] % count].ids
                ids.append(hashed)
                ids.append(CAUSE + place)
            elif trace_id is None and is_standalone(event):
                hashed = id_hash(own_identity(event))
                shards[hashed[3] % count].ids += (hashed, CAUSE + place)
            if cause is not None:
                hashed = known.get(cause)
                if hashed is None:
                    hashed = known[cause] = id_hash(cause)
                producer = UNKNOWN_PRODUCER
                if event.producer is not None and cause != event_id:
                    producer_hash = words.get(event.producer)
                    if producer_hash is None:
                        producer_hash = words[event.producer] = crc32(event.producer.encode()).to_bytes(4, "big")
                    producer = producer_hash
                ids = shards[hashed[3] % count].ids
                ids.append(hashed)
                ids.append(EFFECT + producer + place)
            if correlation is not None:
                places = correlations.get(correlation)
                if places is None:
                    hashed = known.get(correlation)
                    if hashed is None:
                        hashed = known[correlation] = id_hash(correlation)
                    places = correlations[correlation] = shards[hashed[3] % count].sets.setdefault(b"k" + hashed, [])
                places.append(place)
            if trace_id is not None:
                places = traces.get(trace_id)
                if places is None:
                    hashed = crc32(trace_id.to_bytes(16, "big")).to_bytes(4, "big")
                    places = traces[trace_id] = shards[hashed[3] % count].sets.setdefault(b"t" + hashed, [])
                places.append(place)
            if aggregate is not None:
                places = aggregates.get(aggregate)
                if places is None:
                    hashed = crc32(aggregate.encode()).to_bytes(4, "big")
                    places = aggregates[aggregate] = shards[hashed[3] % count].sets.setdefault(b"a" + hashed, [])
                places.append(place)
            # --- its second
            appended_at = event.appended_at
            window = appended_at // WINDOW_MS
            if window != last_window:
                last_window = window
                members = shards[window % count].sets.setdefault(b"w%d" % window, [])
                batch.seconds.add(window)
            members.append(MILLISECOND_BYTES[appended_at % WINDOW_MS] + place)
            observed = event.observed_at // 1000
            if observed - late_ms < appended_at <= observed and event.replay_of is None:
                batch.sweeps.add(window)
            else:
                aged = observed // WINDOW_MS
                shards[aged % count].sets.setdefault(b"o%d" % aged, []).append(place)
                batch.sweeps.add(aged)
        if log is not None:
            _stretch(batch, log, low, high)
        batch.count += end - start
        return end

    def second_of(self, event: Event) -> int:
        """Return the second of an event's append time that eviction uses."""
        observed = event.observed_at // 1000
        plausible = observed - self._late_ms < event.appended_at <= observed and event.replay_of is None
        return (event.appended_at if plausible else observed) // WINDOW_MS


def _stretch(batch: IndexWriteBatch, log: PartitionKey, low: int, high: int) -> None:
    name = log.name
    before = batch.ranges.get(name)
    batch.ranges[name] = (low, high) if before is None else (min(low, before[0]), max(high, before[1]))
    batch.logs[name] = log
