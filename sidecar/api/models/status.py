"""Status of the sidecar, its streams and the members that share its index."""

from __future__ import annotations

from sidecar.api.models.base import ApiModel
from sidecar.api.models.events import CoverageModel


class HoldModel(ApiModel, kw_only=True):
    """The reason why a stream is held."""

    since: str | None
    reason: str
    partitions: list[str] = []


class PartitionLagModel(ApiModel, kw_only=True):
    """Lag of one partition."""

    partition: int
    lag: int
    settled_here: bool


class StreamStatusModel(ApiModel, kw_only=True):
    """Status of one stream."""

    stream: str
    partitions: int
    settled_here: int
    """Number of partitions that this sidecar commits."""
    lag: int | None
    events: int
    rejected: int
    rate: float
    """Events per second."""
    held: HoldModel | None
    system: str = ""
    group: str | None = None
    pending: int | None = None
    gaps: int = 0
    """Number of gaps: records that the broker deleted before the sidecar read them."""
    behind: list[PartitionLagModel] = []
    """Partitions with a lag, largest lag first, at most 100."""


class StreamPage(ApiModel, kw_only=True):
    """All watched streams."""

    items: list[StreamStatusModel]
    cursor: str | None = None


class ReleaseResult(ApiModel, kw_only=True):
    """The outcome of resuming or skipping a stream."""

    stream: str
    partitions: int
    """Number of its partitions that were held."""
    lost: int = 0
    """Number of skipped records that are lost: the broker accepted them neither as dead letters nor, behind a gate, as
    valid records."""
    lost_positions: list[str] = []
    """Positions of the lost records, at most 100."""


class IndexStatus(ApiModel, kw_only=True):
    """Size and coverage of the index."""

    events: int
    max_events: int
    evicted: int
    coverage: CoverageModel


class ExporterStatus(ApiModel, kw_only=True):
    """Counters of one exporter."""

    name: str
    sent: int
    dropped: int
    failed: int


class RegistryStatus(ApiModel, kw_only=True):
    """The schema registry."""

    reachable: bool | None
    """Null: not asked yet, or no registry is configured."""
    schemas: int


class LiveStatus(ApiModel, kw_only=True):
    """The live stream."""

    subscribers: int
    dropped: int
    """Number of events that slow subscribers missed."""


class MemberShareModel(ApiModel, kw_only=True):
    """Partitions of one stream that a member commits."""

    stream: str
    partitions: list[int]
    lag: int | None
    rate: float
    """Events per second."""
    rejected: int


class MemberModel(ApiModel, kw_only=True):
    """A sidecar of the same group, as of its last heartbeat in the shared index."""

    member: str
    here: bool
    """True for the sidecar that sent this reply."""
    alive: bool
    """True if its last heartbeat is recent."""
    last_heartbeat: str | None
    host: str
    service: str
    version: str
    groups: list[str]
    started_at: str | None
    streams: list[MemberShareModel]
    lag: int | None
    rate: float
    waiting: int
    """Number of events that wait to be indexed."""
    not_indexed: int
    """Number of events since its start that found no room in its queue. They are read again from the broker."""


class ServiceStatus(ApiModel, kw_only=True):
    """Status of a sidecar."""

    service: str
    version: str
    ready: bool
    filling: bool
    streams: list[StreamStatusModel]
    index: IndexStatus
    exporters: list[ExporterStatus]
    registry: RegistryStatus
    uptime_s: float
    live: LiveStatus | None = None
    trouble: list[str] = []
    """Messages about problems, and about anything that could not be checked."""
    members: list[MemberModel] = []
    """All sidecars of the group, this one included; empty without a shared index."""


class FindingModel(ApiModel, kw_only=True):
    """One line of `tracecar check`."""

    what: str
    ok: bool
    detail: str


class DemoSummary(ApiModel, kw_only=True):
    """Summary of a headless demo."""

    events: int
    flows: int
    rejected: int
    dead_letters: int
    duplicates: int
    replayed: int
    seconds: float
    broker: str
