"""Events of a flow in the order of their causes, and the texts about them that all documents share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from msgspec import UNSET

from sidecar.api import models
from sidecar.domain.timestamps import parse_rfc3339

MAX_DOCUMENT_EVENTS = 1_000
"""Events of a flow that a document contains: it is for people to read."""
UNKNOWN_SERVICE = "(unknown service)"
STATUS_MARKS = {"rejected": "✗", "duplicate": "=", "replayed": "↻", "repaired": "↻", "unchecked": "?", "ok": "✓"}
"""Marks beside the words of statuses, so that no meaning depends on a color."""


class FlowBranch(NamedTuple):
    """An event at its place in the tree of causes."""

    event: models.FlowEventModel
    depth: int
    before: str
    """Lines of the tree to the left of the event's joint."""
    last: bool
    """True if no event of the same cause follows."""


def walk_flow(flow: models.FlowModel) -> Iterator[FlowBranch]:
    """Yield the events of a flow, each before the events that it caused."""
    events = list_events(flow)
    held = {event.position for event in events}
    children: dict[str | None, list[models.FlowEventModel]] = defaultdict(list)
    for event in events:
        children[event.parent if event.parent in held else None].append(event)
    roots = children[None]
    # Depth first, without recursion: a flow can be a chain of ten thousand events.
    pending = [FlowBranch(event, 0, "", at == len(roots) - 1) for at, event in enumerate(roots)][::-1]
    while pending:
        branch = pending.pop()
        yield branch
        inner = branch.before if branch.depth == 0 else branch.before + ("   " if branch.last else "│  ")
        below = children[branch.event.position]
        pending += [FlowBranch(child, branch.depth + 1, inner, at == len(below) - 1) for at, child in enumerate(below)][
            ::-1
        ]


def list_events(flow: models.FlowModel) -> Sequence[models.FlowEventModel]:
    """Return the events of a flow; none if they were not requested."""
    return [] if flow.events is UNSET else flow.events


def event_time(event: models.EventModel) -> str | None:
    """Return the time at which an event occurred; if it names none, its append time."""
    return event.occurred_at or event.appended_at


def measure_offset(event: models.EventModel, flow: models.FlowModel) -> float | None:
    """Return the milliseconds from the start of a flow to an event; None if a time is unknown."""
    written = event_time(event)
    if written is None or flow.started_at is None:
        return None
    return (parse_rfc3339(written) - parse_rfc3339(flow.started_at)) / 1_000


def format_offset(event: models.EventModel, flow: models.FlowModel) -> str:
    """Format the time from the start of a flow to an event: `+12 ms`."""
    offset = measure_offset(event, flow)
    return "" if offset is None else f"+{format_elapsed(offset)}"


def format_elapsed(millis: float) -> str:
    """Format a duration: `7 ms`, `1.24 s`, `3.1 min`, `2.5 h`."""
    if millis < 1_000:
        return f"{millis:g} ms" if millis < 10 else f"{millis:.0f} ms"
    seconds = millis / 1_000
    if seconds < 120:
        return f"{seconds:.2f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7_200 else f"{seconds / 3_600:.1f} h"


def count_events(count: int, noun: str = "event") -> str:
    """Format a number of events, which `noun` names."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def describe_status(event: models.EventModel) -> str:
    """Return the status of an event, with the code of its rejection."""
    return event.status if event.rejection is None else f"{event.status} {event.rejection.code}"


def describe_rejection(rejection: models.RejectionModel) -> str:
    """Return the message of a rejection, with the path where it does not name it itself."""
    path = rejection.path
    return rejection.message if not path or rejection.message.startswith(path) else f"{path}: {rejection.message}"


def describe_omission(flow: models.FlowModel) -> str | None:
    """Say how many events a document leaves out, if any."""
    omitted = len(list_events(flow)) - MAX_DOCUMENT_EVENTS
    return f"{count_events(omitted, 'more event')}: tracecar flow {flow.trace_id}" if omitted > 0 else None


class FlowMessage(NamedTuple):
    """An event on its way from the service that published it to one that reacted to it."""

    event: models.FlowEventModel
    sender: str
    receiver: str
    """The service that published an event because of this one; the sender itself if none is known."""
    inferred: bool


def list_services(flow: models.FlowModel) -> list[str]:
    """Return the services of a flow in the order in which they first publish."""
    return list(dict.fromkeys(service_of(event) for event in order_by_time(flow)))


def service_of(event: models.EventModel) -> str:
    """Return the service that published an event."""
    return event.producer or UNKNOWN_SERVICE


def order_by_time(flow: models.FlowModel) -> list[models.FlowEventModel]:
    """Return the events of a document in the order of their times."""
    return sorted(list_events(flow)[:MAX_DOCUMENT_EVENTS], key=lambda event: event_time(event) or "")


def list_messages(flow: models.FlowModel) -> list[FlowMessage]:
    """Return the messages between the services of a flow, in the order of time: one for each service that reacted."""
    receivers: dict[str, dict[str, bool]] = defaultdict(dict)
    events = order_by_time(flow)
    for event in events:
        if event.parent is not None:
            receivers[event.parent].setdefault(service_of(event), event.parent_inferred)
    messages = []
    for event in events:
        sender = service_of(event)
        others = {name: inferred for name, inferred in receivers[event.position].items() if name != sender}
        messages += [FlowMessage(event, sender, *other) for other in others.items()] or [
            FlowMessage(event, sender, sender, False)
        ]
    return messages
