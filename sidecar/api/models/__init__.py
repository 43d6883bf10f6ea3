"""The contract's JSON as structs: what the API answers and what its clients read. Imports nothing of ours, so that the
dashboard can use it without loading the sidecar.

Times are RFC 3339 text in UTC, trace and span ids lower-case hex, positions text; absent is null.
"""

from __future__ import annotations

from typing import Any, ClassVar

from msgspec import UNSET, Struct, UnsetType

Header = tuple[str, Any]
"""Name and value: text, null, or `{"base64": …}` where the bytes are no text."""


class ApiModel(Struct, kw_only=True):
    """One object of the API. Fields that a newer sidecar adds are ignored."""


class SchemaRefModel(ApiModel, kw_only=True):
    subject: str | None
    version: int | None
    id: int | None
    guid: str | None


class RejectionModel(ApiModel, kw_only=True):
    stage: str
    code: str
    message: str
    path: str | None


class GroupStopModel(ApiModel, kw_only=True):
    """Where a consumer group stands still. That the event is to blame is inferred."""

    position: str
    """The event in front of which it stopped."""
    since: str | None
    """When it was first seen there; on Redis since when the entry is pending."""
    reason: str
    inferred: bool = True


class DeliveryModel(ApiModel, kw_only=True):
    """What a consumer group did with an event, as it was a few seconds ago."""

    group: str
    passed: bool | None
    """Whether it is done with the event; null where that cannot be told."""
    passed_after: str | None = None
    passed_at: str | None = None
    """It passed the event after `passed_after`, and at this time it had. Null: before it was first looked at, or at a
    time that its positions do not tell."""
    behind: int | None = None
    """Records between it and having passed the event; null where they are not counted."""
    deliveries: int = 0
    """Redis: how often the event was given to it, where it has not acknowledged it."""
    stopped: GroupStopModel | None = None
    """It stands still in front of this very event."""


class FlowDeliveryModel(ApiModel, kw_only=True):
    """How much of a flow a consumer group has passed."""

    group: str
    events: int = 0
    """Of the streams that it reads."""
    passed: int = 0
    next: str | None = None
    """The first of them that it has not passed."""


class EventModel(ApiModel, kw_only=True):
    """An event without its payload, unless `headers` and `body` were asked for."""

    position: str
    stream: str
    partition: int
    key: str | None
    event_id: str | None
    type: str | None
    version: str | None
    occurred_at: str | None
    appended_at: str | None
    observed_at: str | None
    aggregate_id: str | None
    aggregate_type: str | None
    trace_id: str | None
    span_id: str | None
    parent_span_id: str | None
    correlation_id: str | None
    causation_id: str | None
    producer: str | None
    schema: SchemaRefModel | None
    status: str
    replay_of: str | None
    rejection: RejectionModel | None
    trace_origin: str | None
    changed: bool = False
    """A duplicate whose content differs from the first's."""
    headers: list[Header] | UnsetType = UNSET
    body: Any | UnsetType = UNSET
    """The decoded body; where it could not be decoded its bytes as text or `{"base64": …}`. Null: it has none."""
    payload_note: str | UnsetType | None = UNSET
    """Where the payload was asked for: what is to be known about it, such as that retention has taken it."""
    delivery: list[DeliveryModel] | UnsetType = UNSET
    """Where one event was asked for: the other consumer groups that read its stream, by name. Absent before they were
    looked at."""
    delivery_at: str | UnsetType | None = UNSET
    """When they were last looked at."""


class FlowEventModel(EventModel, kw_only=True):
    """An event within its flow."""

    parent: str | None
    """The position of the event that caused it."""
    parent_inferred: bool
    depth: int


class CoverageModel(ApiModel, kw_only=True):
    """What an answer can know about."""

    events: int
    evicted: int
    since: str | None
    """From this append time on, all of `partitions` is held."""
    partitions: list[str]
    filling: bool
    note: str | None = None


class FlowModel(ApiModel, kw_only=True):
    trace_id: str
    started_at: str | None
    ended_at: str | None
    duration_ms: float | None
    status: str
    aggregates: list[str]
    streams: list[str]
    producers: list[str]
    event_count: int
    events: list[FlowEventModel] | UnsetType = UNSET
    """In causal then time order; left out in lists of flows."""
    broken_keys: list[str] = []
    """Keys that would have joined too many events, and therefore do not join."""
    elsewhere: int = 0
    """Where one flow was asked for: held events with the id that was asked for in other flows, at most 1,000; an
    aggregate has many flows, and this is its latest."""
    coverage: CoverageModel | UnsetType = UNSET
    delivery: list[FlowDeliveryModel] | UnsetType = UNSET
    """Where one flow was asked for, unless it is very long: the other consumer groups of its streams, by name."""


class AggregateModel(ApiModel, kw_only=True):
    aggregate_id: str
    aggregate_type: str | None
    events: list[EventModel]
    """By occurred time, then position."""
    coverage: CoverageModel


class ChangeModel(ApiModel, kw_only=True):
    """One difference that an edit made; what may not be shown is masked."""

    path: str
    before: Any
    after: Any
    what: str
    """changed, added or removed."""


class LedgerActionModel(ApiModel, kw_only=True):
    """One thing that was done with a dead letter."""

    act: str
    """replayed, discarded, restored, reported or imported."""
    at: str | None
    by: str
    """The name of the token."""
    address: str | None
    why: str | None
    replay: str | None
    to: str | None
    group: str | None
    attempt: int | None
    edit: list[ChangeModel]


class DeadLetterModel(ApiModel, kw_only=True):
    id: str
    position: str
    origin: str | None
    stream: str
    group: str | None
    stage: str
    code: str
    message: str
    path: str | None
    event_id: str | None
    type: str | None
    trace_id: str | None
    aggregate_id: str | None
    failed_at: str | None
    attempts: int
    dialect: str
    state: str
    cause: str
    groups: list[str]
    schema: SchemaRefModel | None = None
    service: str | None = None
    replay_of: str | None = None
    omitted: list[str] = []
    """Parts that the broker would not take; they are still at the origin."""
    replays: int = 0
    """How often its record was replayed before it failed this time."""
    returned_as: str | None = None
    """The letter of its next life, where it was replayed and failed again."""
    expires_at: str | None = None
    """When retention will take it; null: never, or nobody says."""
    history: list[LedgerActionModel] | UnsetType = UNSET
    """What was done with it, the oldest first; where one letter is asked for."""
    stacktrace: str | UnsetType | None = UNSET
    key: str | UnsetType | None = UNSET
    headers: list[Header] | UnsetType = UNSET
    body: Any | UnsetType = UNSET
    payload_note: str | UnsetType | None = UNSET


class CauseModel(ApiModel, kw_only=True):
    """Dead letters of one cause; one letter for each origin, whichever groups wrote it."""

    cause: str
    """The fingerprint that every dead letter of it carries."""
    stream: str
    stage: str
    code: str
    message: str
    """Of the latest letter."""
    path: str | None
    type: str | None
    schema: SchemaRefModel | None
    count: int
    first_seen: str | None
    last_seen: str | None
    oldest_age_s: float
    rate: float
    """Letters a minute, over the last hour."""
    aggregates: int
    """How many are affected."""
    some_aggregates: list[str]
    """The first few of them."""
    groups: list[str]
    dialects: list[str]
    states: dict[str, int]
    """What became of its letters, and of how many."""
    latest: str
    """The id of the latest letter."""


class SeenSchemaModel(ApiModel, kw_only=True):
    """A schema version that events were seen with lately."""

    version: int | None
    id: int | None
    streams: list[str]


class SubjectModel(ApiModel, kw_only=True):
    """What is registered under a subject, and what was seen of it."""

    subject: str
    versions: list[int]
    compatibility: str | None
    kind: str | None
    """`AVRO`, `JSON` or `PROTOBUF`: of the latest version."""
    id: int | None
    seen: list[SeenSchemaModel]
    text: str | UnsetType | None = UNSET
    """The latest version's text, where one subject was asked for."""


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


class GroupStreamModel(ApiModel, kw_only=True):
    """How far a consumer group is with one stream."""

    stream: str
    partitions: int
    """In which it has committed something."""
    lag: int | None
    rate: float | None


class GroupModel(ApiModel, kw_only=True):
    """Another consumer group that reads watched streams."""

    group: str
    system: str
    members: int | None
    """Null where the broker does not say; on Redis also those that are long gone."""
    streams: list[GroupStreamModel]
    lag: int | None
    """Records that it has not committed; null where the broker cannot say."""
    rate: float | None
    """Records a second that it reads, lately; null before the second look, or where the broker does not count."""
    stuck_at: str | None
    """The event in front of which it has stopped for the longest time: probably poisoned."""
    stopped: list[GroupStopModel] = []
    """All of them, one a partition."""


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


class ReleaseResult(ApiModel, kw_only=True):
    """The outcome of resuming or skipping a stream."""

    stream: str
    partitions: int
    """How many of its partitions were held."""


class Problem(ApiModel, kw_only=True):
    """RFC 9457, `application/problem+json`."""

    title: str
    status: int
    detail: str
    type: str = "about:blank"
    query: str | None = None
    at: int | None = None
    """Index into `query` of the first character that does not fit."""


# --- pages: part of an answer; give `cursor` back to get the next one -----------------------------------------------


class EventPage(ApiModel, kw_only=True):
    items: list[EventModel]
    cursor: str | None
    coverage: CoverageModel


class FlowPageModel(ApiModel, kw_only=True):
    items: list[FlowModel]
    cursor: str | None
    coverage: CoverageModel


class DeadLetterPage(ApiModel, kw_only=True):
    items: list[DeadLetterModel]
    cursor: str | None
    note: str | None = None
    """What could not be looked at."""


class CausePage(ApiModel, kw_only=True):
    """The causes with the most letters first."""

    items: list[CauseModel]
    letters: int
    """How many dead letters matched."""
    folded: int
    """How many of them are of causes that are not told apart, as there are too many."""
    note: str | None = None
    """What could not be looked at, and what the numbers do not tell."""
    cursor: str | None = None


class SubjectPage(ApiModel, kw_only=True):
    items: list[SubjectModel]
    cursor: str | None = None
    coverage: CoverageModel


class GroupPage(ApiModel, kw_only=True):
    items: list[GroupModel]
    cursor: str | None = None
    looked_at: str | None = None
    note: str | None = None
    """What could not be looked at."""


class StreamPage(ApiModel, kw_only=True):
    items: list[StreamStatusModel]
    cursor: str | None = None


# --- what streams carry: one server-sent event each, named by `event` ----------------------------------------------


class DroppedModel(ApiModel, kw_only=True):
    """Events that this subscriber was too slow for."""

    sse: ClassVar[str] = "dropped"
    count: int
    """Since the last such notice."""
    total: int


class ScanProgressModel(ApiModel, kw_only=True):
    """How far a scan is."""

    sse: ClassVar[str] = "progress"
    scanned: int
    matched: int
    total: int | None
    """About how many records there are to look at; null where that is not known."""
    partition: str | None = None


class ScanEndModel(ApiModel, kw_only=True):
    """The last event of a stream that ended as it should."""

    sse: ClassVar[str] = "end"
    reason: str
    complete: bool = True
    scanned: int | None = None
    matched: int | None = None
