"""Members of a group of sidecars that share an index: the heartbeats that they write, and the list of all members."""

from __future__ import annotations

import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import version
from typing import Protocol

import msgspec
from msgspec import Struct

from sidecar.api import models
from sidecar.domain.json_safe import to_text
from sidecar.domain.ports.broker import PartitionStatus
from sidecar.domain.timestamps import format_rfc3339
from sidecar.pipeline.stream_counters import StreamCounters

ALIVE_TIMEOUT_MS = 10_000
"""Time without a heartbeat after which a member counts as not alive."""
MAX_PARTITIONS_PER_HEARTBEAT = 2_000


class StreamAssignment(Struct):
    """The partitions of one stream that a member commits."""

    stream: str
    partitions: list[int]
    lag: int | None
    rate: float
    rejected: int


class Heartbeat(Struct, kw_only=True):
    """Data that a member sends to the others."""

    service: str
    version: str
    host: str
    groups: list[str]
    started_at: int
    """Start time in microseconds, by its own clock."""
    shares: list[StreamAssignment] = []
    waiting: int = 0
    not_indexed: int = 0
    listening: bool = False
    """True if its live stream has subscribers."""


class ReceivedHeartbeat(Protocol):
    """The latest heartbeat of a member."""

    @property
    def member(self) -> str: ...

    @property
    def age_ms(self) -> int: ...

    @property
    def says(self) -> bytes: ...


class MembershipStore(Protocol):
    """An index that stores the heartbeats of its members."""

    @property
    def member(self) -> str: ...

    @property
    def heartbeats(self) -> Sequence[ReceivedHeartbeat]: ...

    @property
    def waiting(self) -> int: ...

    @property
    def not_indexed(self) -> int: ...

    @property
    def trouble(self) -> str | None: ...


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Heartbeat).decode


def _now_micros() -> int:
    return time.time_ns() // 1_000


class HeartbeatWriter:
    """Writes the heartbeat of this member."""

    def __init__(
        self,
        index: MembershipStore,
        counters: StreamCounters,
        owned_partitions: Callable[[], Awaitable[Sequence[tuple[str, PartitionStatus]]]],
        *,
        service: str,
        groups: Sequence[str],
        has_subscribers: Callable[[], bool] = lambda: False,
        clock: Callable[[], int] = _now_micros,
    ) -> None:
        """Create a writer.

        Args:
            index: The shared index.
            counters: Counters of the streams.
            owned_partitions: Returns the partitions that this sidecar commits, each with its group.
            service: Name of the service.
            groups: Consumer groups of this sidecar.
            has_subscribers: Returns whether the live stream has subscribers.
            clock: Returns microseconds since 1970.
        """
        self._index, self._counters, self._owned_partitions = index, counters, owned_partitions
        self._service, self._groups, self._started = service, list(groups), clock()
        self._has_subscribers = has_subscribers

    async def write(self) -> bytes:
        """Return the encoded heartbeat."""
        streams: dict[tuple[str, str], list[PartitionStatus]] = {}
        for _, status in (await self._owned_partitions())[:MAX_PARTITIONS_PER_HEARTBEAT]:
            streams.setdefault((status.partition.system, status.partition.stream), []).append(status)
        return _encode(
            Heartbeat(
                service=self._service,
                version=version("tracecar"),
                host=socket.gethostname(),
                groups=self._groups,
                started_at=self._started,
                shares=[self._assignment(*stream, partitions) for stream, partitions in sorted(streams.items())],
                waiting=self._index.waiting,
                not_indexed=self._index.not_indexed,
                listening=self._has_subscribers(),
            )
        )

    def _assignment(self, system: str, stream: str, partitions: Sequence[PartitionStatus]) -> StreamAssignment:
        counter = self._counters.of(system, stream)
        return StreamAssignment(
            stream=to_text(stream),
            partitions=sorted(status.partition.number for status in partitions),
            lag=_sum([status.lag for status in partitions]),
            rate=round(counter.rate, 1),
            rejected=counter.rejected,
        )


class MemberDirectory:
    """Lists the members of this sidecar's group. Implements `sidecar.runtime.status.MemberList`."""

    def __init__(
        self, index: MembershipStore, *, groups: Sequence[str], clock: Callable[[], int] = _now_micros
    ) -> None:
        self._index, self._groups, self._clock = index, frozenset(groups), clock
        self._known: Sequence[ReceivedHeartbeat] = ()
        self._others_listen = False

    def rows(self) -> list[models.MemberModel]:
        """Return all members of the group, this one included, by host and name; empty before the first heartbeat."""
        rows = [self._row(received, heartbeat) for received, heartbeat in self._of_group(self._index.heartbeats)]
        return sorted(rows, key=lambda row: (row.host, row.member))

    def others_listen(self) -> bool:
        """Check whether another member has live subscribers, as of the last heartbeat. Cheap between two heartbeats."""
        heartbeats = self._index.heartbeats
        if heartbeats is not self._known:
            self._known = heartbeats
            self._others_listen = any(
                heartbeat.listening and received.member != self._index.member and received.age_ms < ALIVE_TIMEOUT_MS
                for received, heartbeat in self._of_group(heartbeats)
            )
        return self._others_listen

    def _of_group(self, heartbeats: Sequence[ReceivedHeartbeat]) -> list[tuple[ReceivedHeartbeat, Heartbeat]]:
        """Decode the heartbeats of the group; those of other versions that cannot be decoded are left out."""
        members = []
        for received in heartbeats:
            try:
                heartbeat = _decode(received.says)
            except msgspec.MsgspecError:
                continue
            if self._groups & set(heartbeat.groups):
                members.append((received, heartbeat))
        return members

    def trouble(self) -> list[str]:
        """Describe problems of the shared index and its members, in sentences."""
        if (reason := self._index.trouble) is not None:
            # Without the index no heartbeat arrives, so silence says nothing about the other members.
            return [f"the shared index accepts no events ({self._index.waiting} wait): {reason}"]
        return [
            f"member {row.member} on {row.host} sent its last heartbeat at {row.last_heartbeat}"
            for row in self.rows()
            if not row.alive
        ]

    def _row(self, received: ReceivedHeartbeat, heartbeat: Heartbeat) -> models.MemberModel:
        here = received.member == self._index.member
        return models.MemberModel(
            member=received.member,
            here=here,
            alive=here or received.age_ms < ALIVE_TIMEOUT_MS,
            last_heartbeat=format_rfc3339(self._clock() - received.age_ms * 1000),
            host=to_text(heartbeat.host),
            service=to_text(heartbeat.service),
            version=to_text(heartbeat.version),
            groups=[to_text(group) for group in heartbeat.groups],
            started_at=format_rfc3339(heartbeat.started_at),
            streams=[
                models.MemberShareModel(
                    stream=to_text(share.stream),
                    partitions=share.partitions,
                    lag=share.lag,
                    rate=share.rate,
                    rejected=share.rejected,
                )
                for share in heartbeat.shares
            ],
            lag=_sum([share.lag for share in heartbeat.shares]),
            rate=round(sum(share.rate for share in heartbeat.shares), 1),
            waiting=heartbeat.waiting,
            not_indexed=heartbeat.not_indexed,
        )


def _sum(numbers: Sequence[int | None]) -> int | None:
    return None if None in numbers else sum(number for number in numbers if number is not None)
