"""Status of the sidecar, its streams and the members that share its index."""

from __future__ import annotations

from sidecar.api.models.base import ApiModel
from sidecar.api.models.events import CoverageModel


class HoldModel(ApiModel, kw_only=True):
    since: str | None
    reason: str
    partitions: list[str] = []


class PartitionLagModel(ApiModel, kw_only=True):
    partition: int
    lag: int
    settled_here: bool


class StreamStatusModel(ApiModel, kw_only=True):
    stream: str
    partitions: int
    settled_here: int
    """How many of the partitions this sidecar commits."""
    lag: int | None
    events: int
    rejected: int
    rate: float
    """Events a second."""
    held: HoldModel | None
    system: str = ""
    group: str | None = None
    pending: int | None = None
    gaps: int = 0
    """How often records were gone before they were read."""
    behind: list[PartitionLagModel] = []
    """The partitions that have a lag, the one with most first, 100 of them at most."""


class StreamPage(ApiModel, kw_only=True):
    items: list[StreamStatusModel]
    cursor: str | None = None


class ReleaseResult(ApiModel, kw_only=True):
    """The outcome of resuming or skipping a stream."""

    stream: str
    partitions: int
    """How many of its partitions were held."""


class IndexStatus(ApiModel, kw_only=True):
    events: int
    max_events: int
    evicted: int
    coverage: CoverageModel


class ExporterStatus(ApiModel, kw_only=True):
    name: str
    sent: int
    dropped: int
    failed: int


class RegistryStatus(ApiModel, kw_only=True):
    reachable: bool | None
    """Null where it was not asked yet, or where none is configured."""
    schemas: int


class LiveStatus(ApiModel, kw_only=True):
    subscribers: int
    dropped: int
    """Events that subscribers were too slow for."""


class MemberShareModel(ApiModel, kw_only=True):
    """What a member has of one stream."""

    stream: str
    partitions: list[int]
    lag: int | None
    rate: float
    """Events a second."""
    rejected: int


class MemberModel(ApiModel, kw_only=True):
    """A sidecar of the same group, as it told about itself through the shared index."""

    member: str
    here: bool
    """The one that answers."""
    alive: bool
    """It was heard of lately."""
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
    """Events that wait to be indexed."""
    not_indexed: int
    """Events that found no room since its start; they are read again from the broker."""


class ServiceStatus(ApiModel, kw_only=True):
    """How the sidecar is."""

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
    """Sentences: what could not be asked, what is wrong."""
    members: list[MemberModel] = []
    """All sidecars of the group, this one too; empty where they share no index."""


class FindingModel(ApiModel, kw_only=True):
    """One line of `tracecar check`."""

    what: str
    ok: bool
    detail: str


class DemoSummary(ApiModel, kw_only=True):
    events: int
    flows: int
    rejected: int
    dead_letters: int
    duplicates: int
    replayed: int
    seconds: float
    broker: str
