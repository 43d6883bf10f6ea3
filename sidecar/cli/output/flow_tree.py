"""Output of a flow as a tree of causes."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING

from msgspec import UNSET

from sidecar.cli.output.consumer_groups import describe_flow_readers
from sidecar.cli.output.coverage import describe_coverage
from sidecar.cli.output.tables import STYLES, create_console, print_note
from sidecar.cli.sanitize import sanitize_line
from sidecar.domain.timestamps import parse_rfc3339

if TYPE_CHECKING:
    from rich.text import Text

    from sidecar.api import models

MAX_INDENTED_LEVELS = 24
"""Levels to indent. Lines of deeper events state their depth instead."""


def print_flow(flow: models.FlowModel) -> None:
    """Print the summary of a flow and its events as a tree."""
    from rich.text import Text

    out = create_console()
    duration = "" if flow.duration_ms is None else f" in {_format_duration(flow.duration_ms)}"
    out.print(
        Text.assemble(
            (f"flow {flow.trace_id}", "bold"),
            "  ",
            (flow.status, STYLES.get(flow.status, "")),
            f"  {_count_events(flow.event_count)}{duration}, from {flow.started_at or 'an unknown time'}",
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
    if flow.elsewhere:
        more = "at least 1,000 events" if flow.elsewhere >= 1_000 else _count_events(flow.elsewhere, " more")
        print_note(f"{more} with this id in earlier flows: list them with tracecar aggregate ID or tracecar events ID")
    for key in flow.broken_keys:
        print_note(f"{key} is in too many events to join them, and is ignored")
    if flow.coverage is not UNSET:
        print_note(describe_coverage(flow.coverage, "The index has evicted events: the flow may have started earlier."))


def _count_events(count: int, more: str = "") -> str:
    return f"{count}{more} event{'' if count == 1 else 's'}"


def _format_tree(flow: models.FlowModel) -> Iterator[Text]:
    events = [] if flow.events is UNSET else flow.events
    held = {event.position for event in events}
    children: dict[str | None, list[models.FlowEventModel]] = defaultdict(list)
    for event in events:
        children[event.parent if event.parent in held else None].append(event)
    start = None if flow.started_at is None else parse_rfc3339(flow.started_at)
    # Depth first, without recursion: a flow can be a chain of ten thousand events.
    pending = [(event, "", at == len(children[None]) - 1, 0) for at, event in enumerate(children[None])][::-1]
    while pending:
        event, before, last, depth = pending.pop()
        yield _format_event(event, before, last, depth, start)
        inner = before if depth == 0 else before + ("   " if last else "│  ")
        below = children[event.position]
        pending += [(child, inner, at == len(below) - 1, depth + 1) for at, child in enumerate(below)][::-1]


def _format_event(event: models.FlowEventModel, before: str, last: bool, depth: int, start: int | None) -> Text:
    from rich.text import Text

    joint = "" if depth == 0 else ("└─ " if last else "├─ ")
    guide = before + joint if depth <= MAX_INDENTED_LEVELS else f"{before[: 3 * MAX_INDENTED_LEVELS]}… {depth} deep ─ "
    status = event.status if event.rejection is None else f"{event.status} {event.rejection.code}"
    parts: list[str | tuple[str, str]] = [(guide, "dim"), (sanitize_line(event.type or "(no type)"), "bold")]
    parts += ["  ", sanitize_line(event.stream), (f" {_format_time(event, start)}", "dim")]
    if event.producer:
        parts += [("  by ", "dim"), sanitize_line(event.producer)]
    if event.aggregate_id:
        parts += [("  of ", "dim"), sanitize_line(event.aggregate_id)]
    if event.status != "ok":
        parts += ["  ", (status, STYLES.get(event.status, ""))]
    if event.changed:
        parts += [" (changed)"]
    if event.parent_inferred:
        parts += ["  ", ("(inferred)", "italic dim")]
    parts += ["  ", (sanitize_line(event.position), "dim")]
    if event.rejection is not None:
        parts += ["  ", (sanitize_line(event.rejection.message), "red")]
    return Text.assemble(*parts)


def _format_time(event: models.FlowEventModel, start: int | None) -> str:
    """Format the time of day of an event, and the time since the start of the flow."""
    written = event.occurred_at or event.appended_at
    if written is None:
        return "at an unknown time"
    clock = written.partition("T")[2].rstrip("Z")[:12]
    return clock if start is None else f"{clock} +{_format_duration((parse_rfc3339(written) - start) / 1000)}"


def _format_duration(millis: float) -> str:
    if millis < 1_000:
        return f"{millis:g} ms" if millis < 10 else f"{millis:.0f} ms"
    seconds = millis / 1_000
    if seconds < 120:
        return f"{seconds:.2f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7_200 else f"{seconds / 3_600:.1f} h"
