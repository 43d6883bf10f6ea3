"""A flow as a tree: who caused whom, where, when."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING

from msgspec import UNSET

from sidecar.cli.output.consumer_groups import flow_readers
from sidecar.cli.output.tables import STYLES, console, say_note
from sidecar.cli.sanitize import clean
from sidecar.domain.timestamps import parse_rfc3339

if TYPE_CHECKING:
    from rich.text import Text

    from sidecar.api import models

DEEPEST = 24
"""Levels that are indented; deeper ones say how deep they are."""


def print_flow(flow: models.FlowModel) -> None:
    """The flow's summary, and its events as a tree."""
    from rich.text import Text

    out = console()
    duration = "" if flow.duration_ms is None else f" in {_duration(flow.duration_ms)}"
    out.print(
        Text.assemble(
            (f"flow {flow.trace_id}", "bold"),
            "  ",
            (flow.status, STYLES.get(flow.status, "")),
            f"  {_events(flow.event_count)}{duration}, from {flow.started_at or 'an unknown time'}",
        )
    )
    for name, values in (("aggregates", flow.aggregates), ("streams", flow.streams), ("producers", flow.producers)):
        if values:
            out.print(
                Text.assemble((f"{name}: ", "dim"), clean(", ".join(values[:12]) + (" …" if len(values) > 12 else "")))
            )
    if flow.delivery is not UNSET and flow.delivery:
        out.print(Text.assemble(("read by: ", "dim"), clean(flow_readers(flow.delivery))))
    for line in _lines(flow):
        if sys.stdout.isatty():
            out.print(line, no_wrap=True, overflow="ellipsis", crop=True)
        else:
            sys.stdout.write(line.plain + "\n")
    if flow.elsewhere:
        more = "1,000 or more events" if flow.elsewhere >= 1_000 else _events(flow.elsewhere, " more")
        say_note(f"{more} with this id in earlier flows: tracecar aggregate, or tracecar events ID, lists them")
    for key in flow.broken_keys:
        say_note(f"{key} stands in too many events to join them, and is not counted")
    if flow.coverage is not UNSET and flow.coverage.evicted:
        say_note("older events may have been pushed out of the index: the flow may have begun earlier")


def _events(count: int, more: str = "") -> str:
    return f"{count}{more} event{'' if count == 1 else 's'}"


def _lines(flow: models.FlowModel) -> Iterator[Text]:
    events = [] if flow.events is UNSET else flow.events
    held = {event.position for event in events}
    children: dict[str | None, list[models.FlowEventModel]] = defaultdict(list)
    for event in events:
        children[event.parent if event.parent in held else None].append(event)
    start = None if flow.started_at is None else parse_rfc3339(flow.started_at)
    # Depth first, without recursion: a flow can be a chain of ten thousand.
    waiting = [(event, "", at == len(children[None]) - 1, 0) for at, event in enumerate(children[None])][::-1]
    while waiting:
        event, before, last, depth = waiting.pop()
        yield _line(event, before, last, depth, start)
        inner = before if depth == 0 else before + ("   " if last else "│  ")
        below = children[event.position]
        waiting += [(child, inner, at == len(below) - 1, depth + 1) for at, child in enumerate(below)][::-1]


def _line(event: models.FlowEventModel, before: str, last: bool, depth: int, start: int | None) -> Text:
    from rich.text import Text

    joint = "" if depth == 0 else ("└─ " if last else "├─ ")
    guide = before + joint if depth <= DEEPEST else f"{before[: 3 * DEEPEST]}… {depth} deep ─ "
    status = event.status if event.rejection is None else f"{event.status} {event.rejection.code}"
    parts: list[str | tuple[str, str]] = [(guide, "dim"), (clean(event.type or "(no type)"), "bold")]
    parts += ["  ", clean(event.stream), (f" {_offset(event, start)}", "dim")]
    if event.producer:
        parts += [("  by ", "dim"), clean(event.producer)]
    if event.aggregate_id:
        parts += [("  of ", "dim"), clean(event.aggregate_id)]
    if event.status != "ok":
        parts += ["  ", (status, STYLES.get(event.status, ""))]
    if event.changed:
        parts += [" (changed)"]
    if event.parent_inferred:
        parts += ["  ", ("(inferred)", "italic dim")]
    parts += ["  ", (clean(event.position), "dim")]
    if event.rejection is not None:
        parts += ["  ", (clean(event.rejection.message), "red")]
    return Text.assemble(*parts)


def _offset(event: models.FlowEventModel, start: int | None) -> str:
    """When it was: the time of the day, and how long after the flow's beginning."""
    written = event.occurred_at or event.appended_at
    if written is None:
        return "at an unknown time"
    clock = written.partition("T")[2].rstrip("Z")[:12]
    return clock if start is None else f"{clock} +{_duration((parse_rfc3339(written) - start) / 1000)}"


def _duration(millis: float) -> str:
    if millis < 1_000:
        return f"{millis:g} ms" if millis < 10 else f"{millis:.0f} ms"
    seconds = millis / 1_000
    if seconds < 120:
        return f"{seconds:.2f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7_200 else f"{seconds / 3_600:.1f} h"
