"""The events of an aggregate as steps, each with what it changed. Pure functions over the API's answer."""

from __future__ import annotations

from dataclasses import dataclass, field

from msgspec import UNSET

from sidecar.api import models
from tui.text.time_format import micros


@dataclass(frozen=True, slots=True)
class AggregateStep:
    """One event and what it changed."""

    event: models.EventModel
    changes: list[models.ChangeModel] = field(default_factory=list)
    omitted: int = 0
    """Number of further changes, which are not listed."""
    applied: bool = True
    """False if the event does not change the state; `note` says why."""
    note: str = ""
    """Something to know: why the event was not applied, or that it is not in its place."""
    first: bool = False
    """True for the aggregate's first event that was applied, if the answer shows it."""
    gap: float | None = None
    """Milliseconds since the previous event."""


def build_steps(aggregate: models.AggregateModel) -> list[AggregateStep]:
    """Return the steps of an answer with `steps`; without them, events that are not explained yet."""
    answered = [] if aggregate.steps is UNSET else aggregate.steps
    changes = {step.position: step for step in answered}
    notes: dict[str, str] = {}
    for note in [] if aggregate.notes is UNSET else aggregate.notes:
        if note.position is not None:
            notes[note.position] = "; ".join(filter(None, (notes.get(note.position), note.message)))
    is_whole = aggregate.applied is not UNSET and aggregate.applied == len(answered)
    first = answered[0].position if answered and is_whole else None
    steps: list[AggregateStep] = []
    before: int | None = None
    for event in aggregate.events:
        occurred = micros(event.occurred_at or event.appended_at)
        gap = None if before is None or occurred is None else (occurred - before) / 1000
        before = occurred
        step = changes.get(event.position)
        steps.append(
            AggregateStep(
                event,
                [] if step is None else step.changes,
                0 if step is None else step.omitted,
                applied=step is not None,
                note=notes.get(event.position, ""),
                first=event.position == first,
                gap=gap,
            )
        )
    return steps
