"""A flow as a Mermaid sequence diagram: services as columns, events as messages."""

from __future__ import annotations

import re

from sidecar.api import models
from sidecar.api.documents.flow_walk import (
    FlowMessage,
    describe_omission,
    describe_rejection,
    format_offset,
    list_messages,
    list_services,
)
from sidecar.domain.visible_text import escape_invisible

MAX_LABEL_CHARACTERS = 120
_PLAIN = re.compile(r"[\w .,:/@+*()\[\]=!?'-]", re.ASCII)


def write_mermaid(flow: models.FlowModel) -> str:
    """Return the text of a `sequenceDiagram`."""
    names = {service: f"s{number}" for number, service in enumerate(list_services(flow))}
    lines = ["sequenceDiagram", "    autonumber"]
    lines += [f"    participant {name} as {_escape(service)}" for service, name in names.items()]
    for message in list_messages(flow):
        lines += [f"    {line}" for line in _write_message(message, names, flow)]
    omitted = describe_omission(flow)
    if omitted is not None and names:
        lines.append(f"    Note over {next(iter(names.values()))}: {_escape(omitted)}")
    return "\n".join(lines) + "\n"


def _write_message(message: FlowMessage, names: dict[str, str], flow: models.FlowModel) -> list[str]:
    event = message.event
    arrow = "-x" if event.status == "rejected" else "-->>" if message.inferred or event.replay_of else "->>"
    marks = [event.stream, format_offset(event, flow), *([event.status] if event.status != "ok" else [])]
    label = f"{event.type or '(no type)'} ({', '.join(mark for mark in marks if mark)})"
    lines = [f"{names[message.sender]}{arrow}{names[message.receiver]}: {_escape(label)}"]
    if event.rejection is not None:
        reason = f"{event.rejection.code}: {describe_rejection(event.rejection)}"
        lines.append(f"Note over {names[message.sender]}: {_escape(reason)}")
    return lines


def _escape(text: str) -> str:
    """Replace each character that could have a meaning in Mermaid by its number."""
    text = escape_invisible(text)
    text = text if len(text) <= MAX_LABEL_CHARACTERS else f"{text[: MAX_LABEL_CHARACTERS - 1]}…"
    return "".join(c if _PLAIN.fullmatch(c) or (c.isalnum() and not c.isascii()) else f"#{ord(c)};" for c in text)
