"""Sagas: their state and steps, and proposed declarations."""

from __future__ import annotations

from typing import Literal

from sidecar.api.models.base import ApiModel
from sidecar.api.models.events import CoverageModel

SagaStateName = Literal["running", "completed", "compensated", "failed", "stuck"]


class SagaStepModel(ApiModel, kw_only=True):
    """A step of a saga."""

    name: str
    event: str | None
    """Position of its event, the first one of a repeated step; null: not seen."""
    at: str | None
    """Time of that event."""
    expected_from: str | None
    """The consumer group that should produce it, as declared or as usual."""
    optional: bool
    count: int
    """Number of its events."""
    compensation: bool = False
    """True for a step that undoes an earlier one."""


class SagaObstacleModel(ApiModel, kw_only=True):
    """The reason why a stuck saga does not move on, as far as it can be seen."""

    step: str | None
    """Name of the step that it waits for; null: all required steps came, and no end did."""
    expected_from: str | None
    before: str | None
    """Position of the event after which the step is due."""
    consumed: bool | None
    """The group that should produce the step has consumed that event; null: not known."""
    rejected: list[str]
    """Positions of rejected events of the saga, those first that may be the reason."""
    dead_letters: list[str]
    """Ids of dead letters of the saga, those first that may be the reason; only where a single saga is asked for."""
    message: str
    """The same in a sentence."""


class SagaModel(ApiModel, kw_only=True):
    """One saga."""

    id: str
    name: str
    state: SagaStateName
    started_at: str | None
    ended_at: str | None
    deadline_at: str | None
    overdue_since: str | None
    """The moment at which the first deadline passed; null if none has, or if the saga has ended."""
    trace_id: str
    aggregate_id: str | None
    steps: list[SagaStepModel]
    missing: list[str]
    """Names of required steps that were not seen."""
    obstacle: SagaObstacleModel | None
    """Only for a stuck saga."""


class SagaPage(ApiModel, kw_only=True):
    """A page of sagas, the latest started first."""

    items: list[SagaModel]
    cursor: str | None = None
    states: dict[str, int]
    """Number of all held sagas by state."""
    evicted: int
    coverage: CoverageModel
    did_you_mean: str | None = None
    """The query that was probably meant, if nothing matches and a better one is known."""


class LearnedStepModel(ApiModel, kw_only=True):
    """A step of a proposed declaration."""

    type: str
    flows: int
    optional: bool
    repeated: bool
    producer: str | None


class SagaVariantModel(ApiModel, kw_only=True):
    """A path that flows took."""

    path: list[str]
    flows: int


class LearnedSagaModel(ApiModel, kw_only=True):
    """A declaration proposed from flows."""

    name: str
    start: str
    flows: int
    steps: list[LearnedStepModel]
    in_sequence: bool
    ends: dict[str, int]
    """Flows by the type of their last event."""
    deadline_s: float
    variants: list[SagaVariantModel]
    not_fitting: int
    """Flows that lack a required step or do not end in a usual end."""
    examples: list[str]
    """Trace ids of such flows, or correlation ids where they have none."""


class LearnedSagaPage(ApiModel, kw_only=True):
    """Declarations proposed from flows."""

    items: list[LearnedSagaModel]
    cursor: str | None = None
    flows: int
    """Number of flows that were looked at."""
    source: Literal["index", "history"]
    coverage: CoverageModel
