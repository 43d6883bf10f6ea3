"""A flow as a page of HTML: waterfall, failures, events and consumer groups.

The page has no scripts, loads nothing, and can be printed and read by a screen reader. Bars are SVG with attributes,
because the content security policy allows the one style sheet of the page and no inline styles.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from html import escape
from pathlib import Path

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
    measure_offset,
    walk_flow,
)
from sidecar.domain.visible_text import escape_invisible

BAR_WIDTH = 240
MIN_BAR_WIDTH = 3
MAX_INDENT_LEVELS = 12
STYLE = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
POLICY = (
    "default-src 'none'; style-src 'sha256-"
    + base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    + "'; img-src data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
"""Content security policy of the page."""
ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E"
    "%3Crect width='16' height='16' rx='3' fill='%231f4f8f'/%3E"
    "%3Cpath d='M3 5h6M5 8h7M7 11h6' stroke='%23fff' stroke-width='1.6'/%3E%3C/svg%3E"
)


def write_page(flow: models.FlowModel) -> str:
    """Return the page of a flow."""
    title = f"Flow {flow.aggregates[0] if flow.aggregates else flow.trace_id}: {flow.status}"
    sections = [_write_failures(flow), _write_waterfall(flow), _write_groups(flow), _write_details(flow)]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{_text(title)} · Tracecar</title>\n<link rel="icon" href="{ICON}">\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<header>\n<h1>Flow <code>{_text(flow.trace_id)}</code></h1>\n{_write_summary(flow)}</header>\n<main>\n"
        + "\n".join(section for section in sections if section)
        + f"\n</main>\n{_write_footer(flow)}</body>\n</html>\n"
    )


def _text(text: str | None) -> str:
    return "" if text is None else escape(escape_invisible(text), quote=True)


def _status(status: str, words: str | None = None) -> str:
    style = status if status in STATUS_MARKS else "dim"
    mark = STATUS_MARKS.get(status, "")
    return f'<span class="status {style}"><span aria-hidden="true">{mark}</span> {_text(words or status)}</span>'


def _codes(values: Sequence[str]) -> str:
    return ", ".join(f"<code>{_text(value)}</code>" for value in values)


def _write_summary(flow: models.FlowModel) -> str:
    duration = "" if flow.duration_ms is None else format_elapsed(flow.duration_ms)
    facts = [
        ("Status", _status(flow.status)),
        ("Started", f"<time>{_text(flow.started_at)}</time>" if flow.started_at else ""),
        ("Duration", _text(duration)),
        ("Events", _text(count_events(flow.event_count))),
        ("Aggregates", _codes(flow.aggregates)),
        ("Streams", _codes(flow.streams)),
        ("Producers", _codes(flow.producers)),
    ]
    return f"<dl>{''.join(f'<dt>{name}</dt><dd>{value}</dd>' for name, value in facts if value)}</dl>\n"


def _write_failures(flow: models.FlowModel) -> str:
    items = []
    for event in _list_shown(flow):
        if event.rejection is not None:
            items.append(
                f'<li><a href="#{_anchor(event)}">{_text(event.type or "(no type)")}</a> '
                f"on <code>{_text(event.stream)}</code>: "
                f'<code class="rejected">{_text(event.rejection.code)}</code> '
                f"{_text(describe_rejection(event.rejection))}</li>"
            )
    return (
        f'<section aria-labelledby="failures"><h2 id="failures">Failures</h2><ul>{"".join(items)}</ul></section>'
        if items
        else ""
    )


def _list_shown(flow: models.FlowModel) -> list[models.FlowEventModel]:
    return [branch.event for branch, _ in zip(walk_flow(flow), range(MAX_DOCUMENT_EVENTS), strict=False)]


def _anchor(event: models.EventModel) -> str:
    return "event-" + hashlib.sha256(event.position.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _write_waterfall(flow: models.FlowModel) -> str:
    times = {event.position: measure_offset(event, flow) for event in _list_shown(flow)}
    rows = []
    for branch, _ in zip(walk_flow(flow), range(MAX_DOCUMENT_EVENTS), strict=False):
        event = branch.event
        joint = "" if branch.depth == 0 else "└─ " if branch.last else "├─ "
        guide = (branch.before + joint)[-3 * MAX_INDENT_LEVELS :]
        inferred = ' <span class="dim">(cause inferred)</span>' if event.parent_inferred else ""
        level = f'<span class="dim"> level {branch.depth}</span>' if branch.depth > MAX_INDENT_LEVELS else ""
        rows.append(
            f'<tr><td><span class="tree" aria-hidden="true">{guide}</span><a href="#{_anchor(event)}">'
            f"{_text(event.type or '(no type)')}</a>{inferred}{level}</td><td>{_text(event.producer)}</td>"
            f"<td><code>{_text(event.stream)}</code></td><td>{_status(event.status, describe_status(event))}</td>"
            f'<td class="number">{_text(format_offset(event, flow))}</td><td>{_draw_bar(event, times, flow)}</td></tr>'
        )
    head = "".join(
        f'<th scope="col">{name}</th>' for name in ("Event", "Producer", "Stream", "Status", "Time", "From its cause")
    )
    omitted = describe_omission(flow)
    more = f'<p class="dim">{_text(omitted)}</p>' if omitted else ""
    return (
        '<section aria-labelledby="waterfall"><h2 id="waterfall">Waterfall</h2><div class="scroll"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>{more}</section>"
    )


def _draw_bar(event: models.FlowEventModel, times: dict[str, float | None], flow: models.FlowModel) -> str:
    """Draw a bar from the time of the cause to the time of the event."""
    end, total = times.get(event.position), flow.duration_ms or 0
    cause = None if event.parent is None else times.get(event.parent)
    if end is None:
        return ""
    start = end if cause is None else min(cause, end)
    scale = (BAR_WIDTH - MIN_BAR_WIDTH) / total if total else 0
    width = max(MIN_BAR_WIDTH, (end - start) * scale)
    kind = ' class="rejected"' if event.status == "rejected" else ""
    return (
        f'<svg width="{BAR_WIDTH}" height="12" aria-hidden="true"><line x1="0" x2="{BAR_WIDTH}" y1="6" y2="6"/>'
        f'<rect{kind} x="{start * scale:.1f}" y="2" width="{width:.1f}" height="8"/></svg>'
    )


def _write_groups(flow: models.FlowModel) -> str:
    if flow.delivery is UNSET or not flow.delivery:
        return ""
    rows = "".join(
        f"<tr><td>{_text(group.group)}</td><td>{group.passed} of {group.events}</td>"
        f"<td>{_codes([group.next] if group.next else [])}</td></tr>"
        for group in flow.delivery
    )
    head = "".join(f'<th scope="col">{name}</th>' for name in ("Consumer group", "Events consumed", "Next event"))
    return (
        '<section aria-labelledby="groups"><h2 id="groups">Consumed by</h2><div class="scroll"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div></section>"
    )


def _write_details(flow: models.FlowModel) -> str:
    return (
        '<section aria-labelledby="events"><h2 id="events">Events</h2>'
        + "".join(_write_event(event) for event in _list_shown(flow))
        + "</section>"
    )


def _write_event(event: models.FlowEventModel) -> str:
    schema = None if event.schema is None or event.schema.subject is None else event.schema.subject
    version = None if event.schema is None or event.schema.version is None else f" version {event.schema.version}"
    facts = [
        ("Time", event_time(event)),
        ("Position", event.position),
        ("Event id", event.event_id),
        ("Aggregate", event.aggregate_id),
        ("Key", event.key),
        ("Producer", event.producer),
        ("Correlation id", event.correlation_id),
        ("Caused by", event.parent),
        ("Replay of", event.replay_of),
        ("Schema", schema and schema + (version or "")),
    ]
    listed = "".join(f"<dt>{name}</dt><dd><code>{_text(value)}</code></dd>" for name, value in facts if value)
    error = ""
    if event.rejection is not None:
        error = f'<dt>Error</dt><dd class="rejected">{_text(describe_rejection(event.rejection))}</dd>'
    return (
        f'<article id="{_anchor(event)}">'
        f"<h3>{_text(event.type or '(no type)')} {_status(event.status, describe_status(event))}</h3>"
        f"<dl>{listed}{error}</dl></article>"
    )


def _write_footer(flow: models.FlowModel) -> str:
    notes = [f"The key {key} is in too many events to join them, and is ignored." for key in flow.broken_keys]
    if flow.coverage is not UNSET:
        if flow.coverage.filling:
            notes.append("The index was still filling: events may be missing.")
        if flow.coverage.evicted:
            notes.append("The index has evicted events: the flow may have started earlier.")
        if flow.coverage.note:
            notes.append(flow.coverage.note)
    listed = "".join(f"<p>{_text(note)}</p>" for note in notes)
    command = f"<code>tracecar flow {_text(flow.trace_id)}</code>"
    return f"<footer>{listed}<p>Made by Tracecar. In a terminal: {command}</p></footer>\n"
