"""A flow as Markdown, for an incident report."""

from __future__ import annotations

import re
from collections.abc import Iterable

from msgspec import UNSET

from sidecar.api import models
from sidecar.api.documents.flow_walk import (
    MAX_DOCUMENT_EVENTS,
    STATUS_MARKS,
    count_events,
    describe_omission,
    describe_rejection,
    describe_status,
    event_time,
    format_elapsed,
    format_offset,
    list_events,
)
from sidecar.api.documents.mermaid import write_mermaid
from sidecar.domain.visible_text import escape_invisible

_SPECIAL = re.compile(r"([\\`*_\[\]<>#|~&])")


def write_markdown(flow: models.FlowModel) -> str:
    """Return a report of a flow: summary, failures, events, consumer groups and a sequence diagram."""
    mark = STATUS_MARKS.get(flow.status, "")
    lines = [f"# Flow {_code(flow.trace_id)}: {mark} {_escape(flow.status)}", "", *_write_summary(flow)]
    lines += [*_write_failures(flow), "", "## Events", "", *_write_events(flow)]
    if (omitted := describe_omission(flow)) is not None:
        lines += ["", _escape(omitted)]
    lines += _write_groups(flow)
    lines += ["", "## Sequence", "", "```mermaid", write_mermaid(flow).rstrip("\n"), "```"]
    return "\n".join(lines) + "\n"


def _write_summary(flow: models.FlowModel) -> list[str]:
    facts = [
        ("Started", _code(flow.started_at)),
        ("Ended", _code(flow.ended_at)),
        ("Duration", None if flow.duration_ms is None else format_elapsed(flow.duration_ms)),
        ("Events", count_events(flow.event_count)),
        ("Aggregates", ", ".join(filter(None, map(_code, flow.aggregates)))),
        ("Streams", ", ".join(filter(None, map(_code, flow.streams)))),
        ("Producers", ", ".join(filter(None, map(_code, flow.producers)))),
    ]
    return [f"- **{name}:** {text}" for name, text in facts if text]


def _write_failures(flow: models.FlowModel) -> list[str]:
    rejected = [event for event in list_events(flow)[:MAX_DOCUMENT_EVENTS] if event.rejection is not None]
    if not rejected:
        return []
    lines = ["", "## Failures", ""]
    for event in rejected:
        assert event.rejection is not None
        reason = f"{_code(event.rejection.code)}: {_escape(describe_rejection(event.rejection))}"
        lines.append(f"- **{_escape(event.type or '(no type)')}** at {_code(event.position)}: {reason}")
    return lines


def _write_events(flow: models.FlowModel) -> list[str]:
    events = list_events(flow)[:MAX_DOCUMENT_EVENTS]
    numbers = {event.position: number for number, event in enumerate(events, 1)}
    rows = [
        (
            str(number),
            _code(event_time(event)),
            format_offset(event, flow),
            _escape(event.type or "(no type)"),
            _escape(event.producer or "-"),
            _code(event.aggregate_id) or "-",
            f"{STATUS_MARKS.get(event.status, '')} {_escape(describe_status(event))}",
            _describe_cause(event, numbers),
            _code(event.position),
        )
        for number, event in enumerate(events, 1)
    ]
    header = ("#", "Time", "Offset", "Event", "Producer", "Aggregate", "Status", "Caused by", "Position")
    return [_row(header), _row("---" for _ in header), *map(_row, rows)]


def _describe_cause(event: models.FlowEventModel, numbers: dict[str, int]) -> str:
    if event.parent is None:
        return "-"
    known = numbers.get(event.parent)
    cause = _code(event.parent) if known is None else str(known)
    return f"{cause} (inferred)" if event.parent_inferred else cause


def _write_groups(flow: models.FlowModel) -> list[str]:
    if flow.delivery is UNSET or not flow.delivery:
        return []
    rows = [
        (_escape(group.group), f"{group.passed} of {group.events}", _code(group.next) or "-") for group in flow.delivery
    ]
    header = ("Consumer group", "Consumed", "Next event")
    return ["", "## Consumer groups", "", _row(header), _row("---" for _ in header), *map(_row, rows)]


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escape(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", escape_invisible(text))


def _code(text: str | None) -> str:
    """Return a text as a code span that also fits into a cell of a table."""
    if not text:
        return ""
    text = escape_invisible(text).replace("|", "\\|")
    fence = "`" * (max((len(run) for run in re.findall(r"`+", text)), default=0) + 1)
    gap = " " if "`" in text else ""
    return f"{fence}{gap}{text}{gap}{fence}"
