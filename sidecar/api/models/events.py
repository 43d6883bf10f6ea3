"""Events, one aggregate's events, and the items of the live stream and of a scan."""

from __future__ import annotations

from typing import Any, ClassVar

from msgspec import UNSET, UnsetType

from sidecar.api.models.base import ApiModel
from sidecar.api.models.groups import DeliveryModel

Header = tuple[str, Any]
"""Name and value: text, null, or `{"base64": …}` if the bytes are not text."""


class SchemaRefModel(ApiModel, kw_only=True):
    """A reference to a registered schema."""

    subject: str | None
    version: int | None
    id: int | None
    guid: str | None


class RejectionModel(ApiModel, kw_only=True):
    """The reason why a record failed."""

    stage: str
    code: str
    message: str
    path: str | None


class EventModel(ApiModel, kw_only=True):
    """An event. `headers` and `body` are present only if they were requested."""

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
    """True for a duplicate whose content differs from the first event's."""
    appended_at_observed: bool = False
    """True if the record has no time of its own (a Redis entry id that is not a time): `appended_at` is the time at
    which the sidecar observed it."""
    source: str = "index"
    """The place that the event was read from: index, history or broker."""
    headers: list[Header] | UnsetType = UNSET
    body: Any | UnsetType = UNSET
    """The decoded body; if it could not be decoded, its bytes as text or `{"base64": …}`. Null: the record has no
    body."""
    payload_note: str | UnsetType | None = UNSET
    """Only with a payload: a note about it, for example that retention has deleted it."""
    delivery: list[DeliveryModel] | UnsetType = UNSET
    """Only for a single event: the other consumer groups that read its stream, by name. Absent before the first
    poll."""
    delivery_at: str | UnsetType | None = UNSET
    """Time of the latest poll of these groups."""


class HistoryExtentModel(ApiModel, kw_only=True):
    """Extent of the history."""

    events: int
    bytes: int
    files: int
    oldest: str | None
    newest: str | None
    holes: list[str] = []
    """Ranges of offsets that are known to be missing, at most 100: `kafka://orders/0 from 10 to 19`."""
    hole_count: int = 0


class CoverageModel(ApiModel, kw_only=True):
    """Coverage of a reply: the events that could be considered."""

    events: int
    evicted: int
    since: str | None
    """Append time from which all events of `partitions` are held."""
    partitions: list[str]
    filling: bool
    note: str | None = None
    history: HistoryExtentModel | None = None
    """The history that was looked at as well, where one is configured."""


class EventPage(ApiModel, kw_only=True):
    """A page of events."""

    items: list[EventModel]
    cursor: str | None
    coverage: CoverageModel
    did_you_mean: str | None = None
    """The query that was probably meant, if nothing matches and a better one is known."""


class DroppedModel(ApiModel, kw_only=True):
    """Events that this subscriber missed because it was too slow."""

    sse: ClassVar[str] = "dropped"
    count: int
    """Number of events missed since the last such message."""
    total: int


class ScanProgressModel(ApiModel, kw_only=True):
    """Progress of a scan."""

    sse: ClassVar[str] = "progress"
    scanned: int
    matched: int
    total: int | None
    """Approximate number of records to read; null: unknown."""
    partition: str | None = None


class ScanEndModel(ApiModel, kw_only=True):
    """The last message of a stream that ended normally."""

    sse: ClassVar[str] = "end"
    reason: str
    complete: bool = True
    scanned: int | None = None
    matched: int | None = None
    did_you_mean: str | None = None
    """The query that was probably meant, if nothing matches and a better one is known."""
