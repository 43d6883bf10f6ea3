"""A flow as a sequence diagram of plain text: services as columns, time from top to bottom."""

from __future__ import annotations

from sidecar.api import models
from sidecar.api.documents.flow_walk import (
    STATUS_MARKS,
    FlowMessage,
    describe_omission,
    describe_rejection,
    describe_status,
    format_offset,
    list_messages,
    list_services,
)
from sidecar.domain.visible_text import escape_invisible

DEFAULT_WIDTH = 100
MIN_WIDTH, MAX_WIDTH = 40, 1_000
OFFSET_WIDTH = 11
"""Columns for the time from the start of the flow."""
MIN_LANE_WIDTH, MAX_LANE_WIDTH = 10, 40


def write_sequence(flow: models.FlowModel, width: int = DEFAULT_WIDTH) -> str:
    """Return the diagram. It is wider than `width` only if the services do not fit side by side."""
    services = list_services(flow)
    lane = min(MAX_LANE_WIDTH, max(MIN_LANE_WIDTH, (width - OFFSET_WIDTH) // max(1, len(services))))
    at = {service: OFFSET_WIDTH + lane * number for number, service in enumerate(services)}
    lines = [_write_header(at, lane)]
    latest = None
    for message in list_messages(flow):
        # Of an event with several receivers only the first row has its time and its name.
        again = latest is not None and message.event is latest
        lines += _write_message(message, at, flow, width, again=again)
        latest = message.event
    if (omitted := describe_omission(flow)) is not None:
        lines.append(omitted)
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _write_header(at: dict[str, int], lane: int) -> str:
    header = ""
    for service, column in at.items():
        header = header.ljust(column) + _shorten(escape_invisible(service), lane - 2)
    return header


def _write_message(
    message: FlowMessage, at: dict[str, int], flow: models.FlowModel, width: int, *, again: bool
) -> list[str]:
    event = message.event
    start, end = at[message.sender], at[message.receiver]
    label = "" if again else _describe(event)
    offset = "" if again else format_offset(event, flow)
    lines = []
    if start == end:
        lines.append(_overwrite_beside(_write_lifelines(at, offset), start, "●", label, width))
    else:
        if not again:
            lines.append(_overwrite(_write_lifelines(at, offset), min(start, end) + 2, label, width))
        lines.append(_replace(_write_lifelines(at, ""), min(start, end), _draw_arrow(message, start, end)))
    if event.rejection is not None and not again:
        reason = escape_invisible(describe_rejection(event.rejection))
        lines.append(_overwrite_beside(_write_lifelines(at, ""), start, "│", reason, width))
    return lines


def _describe(event: models.FlowEventModel) -> str:
    status = "" if event.status == "ok" else f"  {STATUS_MARKS.get(event.status, '')} {describe_status(event)}"
    return f"{escape_invisible(event.type or '(no type)')}  {escape_invisible(event.stream)}{status}"


def _draw_arrow(message: FlowMessage, start: int, end: int) -> str:
    shaft = ("┄" if message.inferred or message.event.replay_of else "─") * (abs(end - start) - 2)
    return f"├{shaft}▶│" if end > start else f"│◀{shaft}┤"


def _write_lifelines(at: dict[str, int], offset: str) -> str:
    line = f"{offset:>{OFFSET_WIDTH - 2}}"
    for column in at.values():
        line = line.ljust(column) + "│"
    return line


def _overwrite(line: str, column: int, text: str, width: int) -> str:
    """Write a text over a line from a column on, set off from what follows; cut it where the diagram ends."""
    text = f"{_shorten(text, max(MIN_LANE_WIDTH, width - column))} "
    return _replace(line, column, text)


def _overwrite_beside(line: str, column: int, mark: str, text: str, width: int) -> str:
    """Write a mark on a lifeline and a text beside it: to the right, or to the left where more of it fits there."""
    right, left = width - column - len(mark) - 1, column - OFFSET_WIDTH - 1
    if len(text) <= right or right >= left:
        return _overwrite(line, column, f"{mark} {text}", width)
    text = _shorten(text, left)
    return _replace(_replace(line, column - len(text) - 2, f" {text} "), column, mark)


def _replace(line: str, column: int, text: str) -> str:
    return line.ljust(column)[:column] + text + line[column + len(text) :]


def _shorten(text: str, width: int) -> str:
    """Cut a text in its middle, because names often differ at their ends."""
    if len(text) <= width:
        return text
    head = (width - 1) // 2
    return f"{text[:head]}…{text[len(text) - (width - 1 - head) :]}"
