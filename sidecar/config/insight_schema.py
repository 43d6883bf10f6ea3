"""The configuration of what is found out about events: sagas, lint and the catalog."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from sidecar.config.value_types import Count, Duration, Name, StrictStruct, Text


class SagaStepConfig(StrictStruct, frozen=True):
    """A step of a saga: an event that is expected, with its time limit."""

    on: Annotated[
        list[Text],
        Meta(description="Types of the event that completes the step; any one of them suffices.", min_length=1),
    ]
    name: Annotated[Text | None, Meta(description="Name of the step. Default: the first type.")] = None
    optional: Annotated[bool, Meta(description="The saga can end without this step.")] = False
    repeated: Annotated[bool, Meta(description="The event may come several times.")] = False
    within: Annotated[
        Duration | None,
        Meta(
            description="Time limit for the step, counted from the step before it (with `order: any`, from the start)."
        ),
    ] = None
    expected_from: Annotated[
        Text | None,
        Meta(description="Consumer group that produces the event. Default: the usual producer of the step."),
    ] = None


class SagaConfig(StrictStruct, frozen=True):
    """A declared saga: the event that starts it, its steps, its deadline, and the events that end it."""

    name: Annotated[Name, Meta(description="Name of the saga.")]
    start: Annotated[Text, Meta(description="Type of the event that starts the saga.")]
    deadline: Annotated[Duration, Meta(description="Time limit for the whole saga, counted from its start.")]
    steps: list[SagaStepConfig] = []
    order: Annotated[
        Literal["sequence", "any"], Meta(description="sequence: steps come one after another. any: in any order.")
    ] = "sequence"
    correlate: Annotated[
        Literal["flow", "aggregate", "correlation", "key"],
        Meta(
            description="How events find their saga: by their flow (trace, correlation and causation ids), their "
            "aggregate id, their correlation id or their record key."
        ),
    ] = "flow"
    completed: Annotated[
        list[Text],
        Meta(description="Types of events that complete the saga. Default: its last required step completes it."),
    ] = []
    compensated: Annotated[
        list[Text], Meta(description="Types of events that end the saga after its compensation.")
    ] = []
    failed: Annotated[list[Text], Meta(description="Types of events that end the saga as failed.")] = []
    compensations: Annotated[list[Text], Meta(description="Types of events that undo earlier steps.")] = []


class LintConfig(StrictStruct, frozen=True):
    """The checks of the events themselves (`tracecar lint`)."""

    ignore: Annotated[
        list[Text],
        Meta(
            description="Findings to silence: `RULE`, `RULE:STREAM` or `RULE:TYPE`, such as `missing-version` or "
            "`personal-data:CustomerRegistered`."
        ),
    ] = []
    max_chain: Annotated[
        Count,
        Meta(description="Longest chain of events that cause one another; the rule `long-chain` reports longer ones."),
    ] = 10
    old_version_after: Annotated[
        Duration,
        Meta(
            description="Time for which events of an older schema version may still arrive after the first event of a "
            "newer one; then the rule `old-schema-version` reports them. Choose it longer than a deployment takes."
        ),
    ] = Duration(600)
    interval: Annotated[
        Duration | None,
        Meta(
            description="Time between two runs of the linter for the metric `tracecar_lint_findings`. "
            "null: no such metric."
        ),
    ] = Duration(3600)


class CatalogConfig(StrictStruct, frozen=True):
    """The catalog of events (`tracecar catalog`)."""

    owners: Annotated[
        dict[Text, Text],
        Meta(
            description="Team by a pattern of streams or types, such as `orders*: checkout`. The first pattern that "
            "matches counts; where none does, the header `owner` or `team`."
        ),
    ] = {}
