"""The sidecars of one group: what each tells of itself through the shared index, and what all of them come to."""

from __future__ import annotations

import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import version
from typing import Protocol

import msgspec
from msgspec import Struct

from sidecar.api import models
from sidecar.domain.json_safe import text
from sidecar.domain.ports.broker import PartitionStatus
from sidecar.domain.timestamps import format_rfc3339
from sidecar.pipeline.stream_counters import StreamCounters

ALIVE_MS = 10_000
"""Who was silent for longer may be gone."""
MOST_PARTITIONS = 2_000
"""Partitions that one member tells of."""


class StreamAssignment(Struct):
    """What a member has of one stream."""

    stream: str
    partitions: list[int]
    lag: int | None
    rate: float
    rejected: int


class Heartbeat(Struct, kw_only=True):
    """What a member tells of itself."""

    service: str
    version: str
    host: str
    groups: list[str]
    started_at: int
    """Microseconds, by its own clock."""
    shares: list[StreamAssignment] = []
    waiting: int = 0
    not_indexed: int = 0
    listening: bool = False
    """Somebody listens to its live stream."""


class ReceivedHeartbeat(Protocol):
    """What was last heard of a member."""

    @property
    def member(self) -> str: ...

    @property
    def age_ms(self) -> int: ...

    @property
    def says(self) -> bytes: ...


class MembershipStore(Protocol):
    """An index through which members hear of one another."""

    @property
    def member(self) -> str: ...

    @property
    def beats(self) -> Sequence[ReceivedHeartbeat]: ...

    @property
    def waiting(self) -> int: ...

    @property
    def not_indexed(self) -> int: ...

    @property
    def trouble(self) -> str | None: ...

    def tell(self, says: Callable[[], Awaitable[bytes]]) -> None: ...


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Heartbeat).decode


class ClusterMembers:
    """The members of our group (`sidecar.runtime.status.MemberList`)."""

    def __init__(
        self,
        index: MembershipStore,
        counters: StreamCounters,
        ours: Callable[[], Awaitable[Sequence[tuple[str, PartitionStatus]]]],
        *,
        service: str,
        groups: Sequence[str],
        listening: Callable[[], bool] = lambda: False,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000,
    ) -> None:
        """`ours` gives the partitions that this sidecar commits, with their groups."""
        self._index, self._counters, self._ours, self._clock = index, counters, ours, clock
        self._service, self._groups, self._started = service, list(groups), clock()
        self._listening = listening
        self._heard: Sequence[ReceivedHeartbeat] = ()
        self._others_listen = False
        index.tell(self.says)

    async def says(self) -> bytes:
        """What we tell the others."""
        streams: dict[tuple[str, str], list[PartitionStatus]] = {}
        for _, one in (await self._ours())[:MOST_PARTITIONS]:
            streams.setdefault((one.partition.system, one.partition.stream), []).append(one)
        return _encode(
            Heartbeat(
                service=self._service,
                version=version("tracecar"),
                host=socket.gethostname(),
                groups=self._groups,
                started_at=self._started,
                shares=[self._share(*stream, partitions) for stream, partitions in sorted(streams.items())],
                waiting=self._index.waiting,
                not_indexed=self._index.not_indexed,
                listening=self._listening(),
            )
        )

    def rows(self) -> list[models.MemberModel]:
        """All members of our group, this one too, by host and name. Empty before the first beat."""
        found = [self._row(heard, says) for heard, says in self._ours_of(self._index.beats)]
        return sorted(found, key=lambda row: (row.host, row.member))

    def others_listen(self) -> bool:
        """Somebody listens at another member, as of the last beat. Cheap between two beats."""
        beats = self._index.beats
        if beats is not self._heard:
            self._heard = beats
            self._others_listen = any(
                says.listening and heard.member != self._index.member and heard.age_ms < ALIVE_MS
                for heard, says in self._ours_of(beats)
            )
        return self._others_listen

    def _ours_of(self, beats: Sequence[ReceivedHeartbeat]) -> list[tuple[ReceivedHeartbeat, Heartbeat]]:
        """Those of our group, as far as they can be understood."""
        found = []
        for heard in beats:
            try:
                says = _decode(heard.says)
            except msgspec.MsgspecError:
                continue
            if set(says.groups) & set(self._groups):
                found.append((heard, says))
        return found

    def trouble(self) -> list[str]:
        """Sentences: what is wrong with the shared index and its members."""
        if (reason := self._index.trouble) is not None:
            # Who hears of nobody cannot say who is gone.
            return [f"the shared index takes no events ({self._index.waiting} wait): {reason}"]
        return [
            f"member {row.member} on {row.host} was last heard of at {row.last_heartbeat}"
            for row in self.rows()
            if not row.alive
        ]

    def _share(self, system: str, stream: str, partitions: Sequence[PartitionStatus]) -> StreamAssignment:
        counter = self._counters.of(system, stream)
        return StreamAssignment(
            stream=text(stream),
            partitions=sorted(partition.partition.number for partition in partitions),
            lag=_sum([partition.lag for partition in partitions]),
            rate=round(counter.rate, 1),
            rejected=counter.rejected,
        )

    def _row(self, heard: ReceivedHeartbeat, says: Heartbeat) -> models.MemberModel:
        here = heard.member == self._index.member
        return models.MemberModel(
            member=heard.member,
            here=here,
            alive=here or heard.age_ms < ALIVE_MS,
            last_heartbeat=format_rfc3339(self._clock() - heard.age_ms * 1000),
            host=text(says.host),
            service=text(says.service),
            version=text(says.version),
            groups=[text(group) for group in says.groups],
            started_at=format_rfc3339(says.started_at),
            streams=[
                models.MemberShareModel(
                    stream=text(share.stream),
                    partitions=share.partitions,
                    lag=share.lag,
                    rate=share.rate,
                    rejected=share.rejected,
                )
                for share in says.shares
            ],
            lag=_sum([share.lag for share in says.shares]),
            rate=round(sum(share.rate for share in says.shares), 1),
            waiting=says.waiting,
            not_indexed=says.not_indexed,
        )


def _sum(numbers: Sequence[int | None]) -> int | None:
    return None if None in numbers else sum(number for number in numbers if number is not None)
