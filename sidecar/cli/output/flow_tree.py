"""Output of a flow as a tree of causes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from msgspec import UNSET

from sidecar.api.documents.flow_walk import (
    FlowBranch,
    count_events,
    describe_status,
    event_time,
    format_elapsed,
    format_offset,
    walk_flow,
)
from sidecar.cli.output.consumer_groups import describe_flow_readers
from sidecar.cli.output.coverage import describe_coverage
from sidecar.cli.output.paragraphs import print_linear_flow
from sidecar.cli.output.tables import STYLES, create_console, print_note
from sidecar.cli.plain_mode import is_plain
from sidecar.cli.sanitize import sanitize_line

if TYPE_CHECKING:
    from rich.text import Text

    from sidecar.api import models

MAX_INDENTED_LEVELS = 24
"""Levels to indent. Lines of deeper events state their depth instead."""


def print_flow(flow: models.FlowModel) -> None:
    """Print the summary of a flow and its events as a tree."""
    from rich.text import Text

    if is_plain():
        print_linear_flow(flow)
        _print_notes(flow)
        return
    out = create_console()
    duration = "" if flow.duration_ms is None else f" in {format_elapsed(flow.duration_ms)}"
    out.print(
        Text.assemble(
            (f"flow {flow.trace_id}", "bold"),
            "  ",
            (flow.status, STYLES.get(flow.status, "")),
            f"  {count_events(flow.event_count)}{duration}, from {flow.started_at or 'an unknown time'}",
        )
    )
    for name, values in (("aggregates", flow.aggregates), ("streams", flow.streams), ("producers", flow.producers)):
        if values:
            out.print(
                Text.assemble(
                    (f"{name}: ", "dim"), sanitize_line(", ".join(values[:12]) + (" …" if len(values) > 12 else ""))
                )
            )
    if flow.delivery is not UNSET and flow.delivery:
        out.print(Text.assemble(("consumed by: ", "dim"), sanitize_line(describe_flow_readers(flow.delivery))))
    for line in _format_tree(flow):
        if sys.stdout.isatty():
            out.print(line, no_wrap=True, overflow="ellipsis", crop=True)
        else:
            sys.stdout.write(line.plain + "\n")
    _print_notes(flow)


def _print_notes(flow: models.FlowModel) -> None:
    """Print what the flow may lack."""
    if flow.elsewhere:
        more = f"{'at least ' if flow.elsewhere >= 1_000 else ''}{count_events(flow.elsewhere, 'more event')}"
        print_note(f"{more} with this id in earlier flows: list them with tracecar aggregate ID or tracecar events ID")
    for key in flow.broken_keys:
        print_note(f"{key} is in too many events to join them, and is ignored")
    if flow.coverage is not UNSET:
        print_note(describe_coverage(flow.coverage, "The index has evicted events: the flow may have started earlier."))


def _format_tree(flow: models.FlowModel) -> Iterator[Text]:
    for branch in walk_flow(flow):
        yield _format_event(branch, flow)


def _format_event(branch: FlowBranch, flow: models.FlowModel) -> Text:
    from rich.text import Text

    event, depth, before, last = branch
    joint = "" if depth == 0 else ("└─ " if last else "├─ ")
    guide = before + joint if depth <= MAX_INDENTED_LEVELS else f"{before[: 3 * MAX_INDENTED_LEVELS]}… {depth} deep ─ "
    parts: list[str | tuple[str, str]] = [(guide, "dim"), (sanitize_line(event.type or "(no type)"), "bold")]
    parts += ["  ", sanitize_line(event.stream), (f" {_format_time(event, flow)}", "dim")]
    if event.producer:
        parts += [("  by ", "dim"), sanitize_line(event.producer)]
    if event.aggregate_id:
        parts += [("  of ", "dim"), sanitize_line(event.aggregate_id)]
    if event.status != "ok":
        parts += ["  ", (describe_status(event), STYLES.get(event.status, ""))]
    if event.changed:
        parts += [" (changed)"]
    if event.parent_inferred:
        parts += ["  ", ("(inferred)", "italic dim")]
    parts += ["  ", (sanitize_line(event.position), "dim")]
    if event.rejection is not None:
        parts += ["  ", (sanitize_line(event.rejection.message), "red")]
    return Text.assemble(*parts)


def _format_time(event: models.FlowEventModel, flow: models.FlowModel) -> str:
    """Format the time of day of an event, and the time since the start of the flow."""
    written = event_time(event)
    if written is None:
        return "at an unknown time"
    return f"{written.partition('T')[2].rstrip('Z')[:12]} {format_offset(event, flow)}".rstrip()
