"""Consumer groups: how far each is, and where it stopped."""

from __future__ import annotations

from sidecar.api.models.base import ApiModel


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


class GroupPage(ApiModel, kw_only=True):
    items: list[GroupModel]
    cursor: str | None = None
    looked_at: str | None = None
    note: str | None = None
    """What could not be looked at."""
