"""Plain output of lists and flows: one fact on a line, one paragraph for each item."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sidecar.cli.sanitize import sanitize_line

if TYPE_CHECKING:
    from sidecar.api import models


def print_paragraphs(names: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str) -> None:
    """Print each row as a paragraph of names and values. `-` is an absent value, and left out."""
    if not rows:
        _print([empty])
    for number, row in enumerate(rows, 1):
        _print([f"{number} of {len(rows)}", *format_facts(names, row), ""])


def format_facts(names: Sequence[str], row: Sequence[str]) -> Iterator[str]:
    """Yield a line for each value of a row."""
    for name, value in zip(names, row, strict=True):
        if value != "-":
            yield f"{name.capitalize()}: {value}"


def print_facts(names: Sequence[str], row: Sequence[str]) -> None:
    """Print a row of a list without an end."""
    _print([*format_facts(names, row), ""])


def print_linear_flow(flow: models.FlowModel) -> None:
    """Print a flow as sentences: its summary, then its events in the order of their causes."""
    from sidecar.api.documents.flow_walk import count_events, format_elapsed, walk_flow

    duration = "" if flow.duration_ms is None else f" in {format_elapsed(flow.duration_ms)}"
    _print([f"Flow {flow.trace_id}: {flow.status}. {count_events(flow.event_count)}{duration}."])
    numbers: dict[str, int] = {}
    for number, branch in enumerate(walk_flow(flow), 1):
        numbers[branch.event.position] = number
        _print(_describe_event(branch.event, number, numbers, flow))


def _describe_event(
    event: models.FlowEventModel, number: int, numbers: dict[str, int], flow: models.FlowModel
) -> Iterable[str]:
    from sidecar.api.documents.flow_walk import describe_rejection, format_offset

    cause = "first of its chain" if event.parent is None else f"caused by event {numbers.get(event.parent, 'unknown')}"
    facts = [
        f"Event {number}: {event.type or '(no type)'} on {event.stream}",
        *([f"by {event.producer}"] if event.producer else []),
        *([f"of {event.aggregate_id}"] if event.aggregate_id else []),
        f"{cause} (inferred)" if event.parent_inferred else cause,
        *([f"{offset.removeprefix('+')} after the start"] if (offset := format_offset(event, flow)) else []),
        f"status {event.status}",
    ]
    yield ""
    yield f"{', '.join(facts)}."
    if event.rejection is not None:
        yield f"Rejected with {event.rejection.code}: {describe_rejection(event.rejection)}"
    yield f"Position: {event.position}"


def _print(lines: Iterable[Any]) -> None:
    sys.stdout.write("".join(f"{sanitize_line(line)}\n" for line in lines))
    sys.stdout.flush()
