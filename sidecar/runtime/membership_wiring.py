"""Builds the membership of a sidecar in a group that shares an index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Protocol

from sidecar.config.schema import Config
from sidecar.domain.ports.broker import Broker
from sidecar.pipeline.event_fan_out import EventObserver, EventViewers, UnownedFanOut
from sidecar.pipeline.index_backfill import BackfillIndex, IndexBackfill
from sidecar.pipeline.live_relay import LiveRelay, RelayChannel, read_at
from sidecar.pipeline.live_stream import LiveStream
from sidecar.pipeline.stream_counters import StreamCounters
from sidecar.pipeline.unowned_partition_reader import UnownedPartitionReader
from sidecar.runtime.cluster_members import HeartbeatWriter, MemberDirectory, MembershipStore
from sidecar.runtime.service import Membership, SharedIndexSession
from sidecar.runtime.status import StatusReporter


class SharedIndexMember(MembershipStore, SharedIndexSession, Protocol):
    """An index that several sidecars share, as one of its members uses it."""

    @property
    def relay(self) -> RelayChannel: ...


def build_relay(
    shared: SharedIndexMember | None,
    directory: MemberDirectory | None,
    live: LiveStream,
    backfill: IndexBackfill,
    viewers: EventViewers,
    brokers: Sequence[Broker],
    *,
    secret: bool,
) -> LiveRelay | None:
    """Build the relay of live events between members; None without a shared index.

    Args:
        shared: The index that the members share.
        directory: The members.
        live: The live stream of this sidecar.
        backfill: Decodes the records of other members.
        viewers: Receive the events of other members.
        brokers: The brokers to read the records of other members from.
        secret: Forward positions instead of records, because records may hold values that must be redacted.
    """
    if shared is None or directory is None:
        return None
    readers: Mapping[str, Broker] = {broker.system: broker for broker in brokers}
    return LiveRelay(
        shared.relay,
        live,
        directory.others_listen,
        backfill.decode,
        viewers.publish,
        partial(read_at, readers),
        secret=secret,
    )


def build_membership(
    shared: SharedIndexMember | None,
    relay: LiveRelay | None,
    status: StatusReporter,
    counters: StreamCounters,
    live: LiveStream,
    service: str,
    groups: Sequence[str],
) -> Membership | None:
    """Build the membership; None without a shared index."""
    if shared is None or relay is None:
        return None
    heartbeat = HeartbeatWriter(
        shared,
        counters,
        status.owned_partitions,
        service=service,
        groups=groups,
        has_subscribers=lambda: live.subscribers > 0,
    )
    return Membership(shared, relay, heartbeat.write)


def build_unowned_reader(
    config: Config,
    brokers: Sequence[Broker],
    index: BackfillIndex,
    backfill: IndexBackfill,
    viewers: EventViewers,
    observers: Sequence[EventObserver],
) -> UnownedPartitionReader | None:
    """Build the reader of other members' partitions; None if this sidecar indexes its own only."""
    memory = config.index.memory
    if memory is None or memory.scope != "all":
        return None
    events = UnownedFanOut(index, viewers, observers)
    return UnownedPartitionReader(
        brokers, index, backfill.decode, events.publish, events.discard, lookback=float(config.index.lookback)
    )
