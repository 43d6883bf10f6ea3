"""Consumer groups: their progress, and the events at which they stopped."""

from __future__ import annotations

from sidecar.api.models.base import ApiModel


class GroupStopModel(ApiModel, kw_only=True):
    """The event at which a consumer group stopped. That the event caused the stop is inferred."""

    position: str
    """Position of that event."""
    since: str | None
    """Time at which the stop was first seen; on Redis, the time since which the entry is pending."""
    reason: str
    inferred: bool = True


class DeliveryModel(ApiModel, kw_only=True):
    """Consumption of an event by a consumer group, as of the last poll, a few seconds ago."""

    group: str
    passed: bool | None
    """True if the group has consumed the event; null: unknown."""
    passed_after: str | None = None
    passed_at: str | None = None
    """The group consumed the event after `passed_after` and not later than this. Null: before the first poll, or
    unknown."""
    behind: int | None = None
    """Records that the group has to consume until it has consumed this event; null: not counted."""
    deliveries: int = 0
    """Redis: number of deliveries to the group, if it has not acknowledged the event."""
    stopped: GroupStopModel | None = None
    """Set if the group stopped at this event."""


class FlowDeliveryModel(ApiModel, kw_only=True):
    """Consumption of a flow by a consumer group."""

    group: str
    events: int = 0
    """Number of events in streams that the group reads."""
    passed: int = 0
    next: str | None = None
    """The first event that the group has not consumed."""


class GroupStreamModel(ApiModel, kw_only=True):
    """Progress of a consumer group on one stream."""

    stream: str
    partitions: int
    """Number of partitions with a committed offset."""
    lag: int | None
    rate: float | None
    behind_s: float | None = None
    """Seconds since the oldest record that it has not consumed was appended, as far as polls saw it; 0 if it has
    consumed all; null: unknown."""


class GroupModel(ApiModel, kw_only=True):
    """Another consumer group that reads watched streams."""

    group: str
    system: str
    members: int | None
    """Number of members; null if the broker does not tell. On Redis it includes members that left without deleting
    their consumer."""
    streams: list[GroupStreamModel]
    lag: int | None
    """Number of records that the group has not committed; null if the broker cannot tell."""
    rate: float | None
    """Records per second that it consumes; null before the second poll, or if the broker does not count."""
    stuck_at: str | None
    """First event at which it stopped. The event probably cannot be processed."""
    stopped: list[GroupStopModel] = []
    """All stops, one for each partition."""


class GroupPage(ApiModel, kw_only=True):
    """All consumer groups."""

    items: list[GroupModel]
    cursor: str | None = None
    looked_at: str | None = None
    note: str | None = None
    """Sentences about streams that could not be read."""
