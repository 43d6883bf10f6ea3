"""The configuration of what is found out about events: sagas, lint and the catalog."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from sidecar.config.value_types import Count, Duration, Name, StrictStruct, Text


class SagaStepConfig(StrictStruct, frozen=True):
    """A step of a saga: an event that has to come."""

    on: Annotated[list[Text], Meta(description="Types of its event; any one of them.", min_length=1)]
    name: Annotated[Text | None, Meta(description="Name of the step. Default: the first type.")] = None
    optional: Annotated[bool, Meta(description="The saga can end without this step.")] = False
    repeated: Annotated[bool, Meta(description="The event may come several times.")] = False
    within: Annotated[
        Duration | None,
        Meta(description="Time after the step before (with `order: any` after the start) within which it must come."),
    ] = None
    expected_from: Annotated[
        Text | None,
        Meta(description="Consumer group that produces the event. Default: the usual producer of the step."),
    ] = None


class SagaConfig(StrictStruct, frozen=True):
    """A declared process: where it starts, its steps, its deadline and its ends."""

    name: Annotated[Name, Meta(description="Name of the process.")]
    start: Annotated[Text, Meta(description="Type of the event that begins it.")]
    deadline: Annotated[Duration, Meta(description="Time from the start within which it must end.")]
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
        list[Text], Meta(description="Types that end it well. Default: it ends with its last required step.")
    ] = []
    compensated: Annotated[list[Text], Meta(description="Types that end it after compensation.")] = []
    failed: Annotated[list[Text], Meta(description="Types that end it as failed.")] = []
    compensations: Annotated[list[Text], Meta(description="Types that undo earlier steps.")] = []


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
        Count, Meta(description="Events in a chain of causes from which `long-chain` reports it, without this one.")
    ] = 10
    old_version_after: Annotated[
        Duration,
        Meta(
            description="Time after the first event of a new schema version from which `old-schema-version` reports "
            "events of an older one: longer than a deployment takes."
        ),
    ] = Duration(600)
    interval: Annotated[
        Duration | None,
        Meta(description="Time between two runs for the metric `tracecar_lint_findings`. null: no such metric."),
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
