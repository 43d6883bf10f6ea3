"""Flows: events of one trace, with their causes."""

from __future__ import annotations

from msgspec import UNSET, UnsetType

from sidecar.api.models.base import ApiModel
from sidecar.api.models.events import CoverageModel, EventModel
from sidecar.api.models.groups import FlowDeliveryModel


class FlowEventModel(EventModel, kw_only=True):
    """An event within its flow."""

    parent: str | None
    """The position of the event that caused it."""
    parent_inferred: bool
    depth: int


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


class FlowPageModel(ApiModel, kw_only=True):
    items: list[FlowModel]
    cursor: str | None
    coverage: CoverageModel
