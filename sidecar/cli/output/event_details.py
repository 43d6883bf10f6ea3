"""Output of one event or dead letter in full: fields, headers and body."""

from __future__ import annotations

import sys
from typing import Any

import msgspec

from sidecar.api import models
from sidecar.cli.output.consumer_groups import describe_readers
from sidecar.cli.output.tables import STYLES, create_console
from sidecar.cli.sanitize import sanitize_json, sanitize_line, sanitize_lines
from sidecar.domain.json_safe import encode_json

_NAME_WIDTH = 16
_OWN_FORMAT = frozenset(
    {
        *("headers", "body", "payload_note", "rejection", "schema", "delivery", "delivery_at"),
        *("history", "stacktrace"),
    }
)
_MULTILINE = frozenset({"history", "stacktrace"})
"""Fields that are printed on lines of their own."""


def print_event(event: models.EventModel) -> None:
    """Print an event."""
    fields = {name: value for name, value in _fields(event).items() if name not in _OWN_FORMAT and name != "changed"}
    if event.changed:
        fields["status"] = f"{event.status} (its content differs from the first)"
    if event.rejection is not None:
        why = event.rejection
        fields["rejection"] = f"{why.code}: {why.message}" + (f" (at {why.path})" if why.path else "")
    fields["schema"] = _format_schema(event.schema)
    if event.delivery is not msgspec.UNSET and event.delivery:
        fields["consumed by"] = describe_readers(event.delivery)
    _print(fields, event.headers, event.body, event.payload_note)


def print_dead_letter(letter: models.DeadLetterModel) -> None:
    """Print a dead letter."""
    fields = {name: value for name, value in _fields(letter).items() if name not in _OWN_FORMAT}
    fields["schema"] = _format_schema(letter.schema)
    if not letter.replays:
        fields.pop("replays", None)
    if letter.history is not msgspec.UNSET:
        fields["history"] = [_format_action(action) for action in letter.history]
    if letter.stacktrace is not msgspec.UNSET and letter.stacktrace:
        fields["stacktrace"] = letter.stacktrace
    _print(fields, letter.headers, letter.body, letter.payload_note)


def _format_action(action: models.LedgerActionModel) -> str:
    """Format an action on a letter, with the changes of an edit on further lines."""
    of = (f"by {action.by}", f"from {action.address}" if action.address else "", f"to {action.to}" if action.to else "")
    more = (
        f"for {action.group}" if action.group else "",
        f"(replay {action.replay}, attempt {action.attempt or 1})" if action.replay else "",
        f": {action.why}" if action.why else "",
    )
    text = " ".join(part for part in (f"{action.at or '-'} {action.act}", *of, *more) if part).replace(" : ", ": ")
    return "\n".join([sanitize_line(text), *(f"  {sanitize_line(format_change(change))}" for change in action.edit)])


def format_change(change: models.ChangeModel) -> str:
    """Format a change of an edit on one line."""
    before, after = (sanitize_json(encode_json(value)) for value in (change.before, change.after))
    match change.what:
        case "added":
            return f"+ {change.path}: {after}"
        case "removed":
            return f"- {change.path}: {before}"
    return f"  {change.path}: {before} -> {after}"


def _fields(value: msgspec.Struct) -> dict[str, Any]:
    return {name: item for name in value.__struct_fields__ if (item := getattr(value, name)) is not msgspec.UNSET}


def _format_schema(ref: models.SchemaRefModel | None) -> str | None:
    if ref is None:
        return None
    version = "" if ref.version is None else f" v{ref.version}"
    id = "" if ref.id is None else f" (id {ref.id})"
    return f"{ref.subject or ref.guid or '?'}{version}{id}"


def _print(fields: dict[str, Any], headers: Any, body: Any, note: Any) -> None:
    from rich.text import Text

    out = create_console()
    for name, value in fields.items():
        if value is None or value == []:
            continue
        if name in _MULTILINE:
            out.print(Text(name, "bold"))
            out.print(Text(_indent_lines(value)))
            continue
        shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        style = STYLES.get(shown.partition(" ")[0], "") if name in ("status", "state") else ""
        out.print(Text.assemble((f"{name:<{_NAME_WIDTH}}", "bold"), (sanitize_line(shown), style)))
    if headers is not msgspec.UNSET and headers:
        out.print(Text("headers", "bold"))
        for name, value in headers:
            out.print(Text(f"  {sanitize_line(str(name))}: {sanitize_line(_inline(value))}"))
    if body is not msgspec.UNSET and body is not None:
        out.print(Text("body", "bold"))
        out.print(Text(_indent_body(body)))
    if note is not msgspec.UNSET and note:
        out.print(Text(sanitize_line(str(note)), "yellow"))
    sys.stdout.write("\n")


def _indent_lines(value: str | list[str]) -> str:
    text = value if isinstance(value, str) else "\n".join(value)
    return sanitize_lines("\n".join(f"  {line}" for line in text.split("\n")))


def _inline(value: Any) -> str:
    if value is None:
        return "(null)"
    return value if isinstance(value, str) else sanitize_json(encode_json(value))


def _indent_body(body: Any) -> str:
    text = body if isinstance(body, str) else msgspec.json.format(sanitize_json(encode_json(body)), indent=2)
    return sanitize_lines("\n".join(f"  {line}" for line in text.split("\n")))
