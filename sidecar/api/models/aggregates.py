"""Aggregates: the events of one entity, and its state at a moment."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, UnsetType

from sidecar.api.models.base import ApiModel
from sidecar.api.models.dead_letters import ChangeModel
from sidecar.api.models.events import CoverageModel, EventModel


class AggregateNoteModel(ApiModel, kw_only=True):
    """Remark about a rebuilt state: an event is missing, was not applied, or was applied out of order."""

    kind: str
    """gap | reordered | conflict | duplicate | rejected | unread | omitted."""
    position: str | None
    message: str


class AggregateStepModel(ApiModel, kw_only=True):
    """The changes that one event made to the state."""

    position: str
    changes: list[ChangeModel]
    omitted: int = 0
    """Number of further changes, which are not listed."""


class AggregateModel(ApiModel, kw_only=True):
    """An aggregate with its events; with `at` or `diff`, its state at a moment too."""

    aggregate_id: str
    aggregate_type: str | None
    events: list[EventModel]
    """Events by occurred time, then position; with a state, up to the later moment and in the order of application."""
    complete: bool = False
    """True if it is known that no event is missing."""
    coverage: CoverageModel
    at: str | UnsetType = UNSET
    """The moment of `state`: a time, or the position of the last event that counts."""
    applied: int | UnsetType = UNSET
    """Number of events that were applied."""
    state: Any | UnsetType = UNSET
    """The state at that moment; empty before the first event and after a deletion."""
    origins: dict[str, str] | UnsetType = UNSET
    """Position of the event that last changed each part of the state, by path. A part covers all below it."""
    reducer: str | UnsetType = UNSET
    """The reducer that built the state."""
    order: str | UnsetType = UNSET
    """The location of the aggregate's own number, by which events were applied; `appended` if there is none."""
    notes: list[AggregateNoteModel] | UnsetType = UNSET
    diff: str | UnsetType = UNSET
    """The other moment."""
    changes: list[ChangeModel] | UnsetType = UNSET
    """Differences from the state at the earlier of the two moments to the state at the later one."""
    steps: list[AggregateStepModel] | UnsetType = UNSET
    """Only if asked for: the changes by each of the listed events that was applied."""
