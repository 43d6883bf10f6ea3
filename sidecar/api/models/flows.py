"""Flows: events of one trace, with their causes."""

from __future__ import annotations

from msgspec import UNSET, UnsetType

from sidecar.api.models.base import ApiModel
from sidecar.api.models.events import CoverageModel, EventModel
from sidecar.api.models.groups import FlowDeliveryModel


class FlowEventModel(EventModel, kw_only=True):
    """An event within its flow."""

    parent: str | None
    """Position of the event that caused it."""
    parent_inferred: bool
    depth: int
    hops: list[str] = []
    """Positions of the event's copies on a framework's retry topics, oldest first."""


class FlowModel(ApiModel, kw_only=True):
    """A flow."""

    trace_id: str
    started_at: str | None
    ended_at: str | None
    duration_ms: float | None
    status: str
    """An event's status, the worst of all; or `repaired`: every rejected event was replayed and passed."""
    aggregates: list[str]
    streams: list[str]
    producers: list[str]
    event_count: int
    events: list[FlowEventModel] | UnsetType = UNSET
    """Events in causal, then time order; absent in lists of flows."""
    broken_keys: list[str] = []
    """Keys that do not join events into flows, because they would join too many."""
    elsewhere: int = 0
    """Only for a single flow: number of held events with the requested id in other flows, at most 1,000. An aggregate
    has many flows; this one is its latest."""
    coverage: CoverageModel | UnsetType = UNSET
    delivery: list[FlowDeliveryModel] | UnsetType = UNSET
    """Only for a single flow that is not very long: the other consumer groups of its streams, by name."""


class FlowPageModel(ApiModel, kw_only=True):
    """A page of flows."""

    items: list[FlowModel]
    cursor: str | None
    coverage: CoverageModel
