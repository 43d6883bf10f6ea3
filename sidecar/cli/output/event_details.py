"""One event or dead letter in full: its words, its headers, its body."""

from __future__ import annotations

import sys
from typing import Any

import msgspec

from sidecar.api import models
from sidecar.cli.output.consumer_groups import readers
from sidecar.cli.output.tables import STYLES, console
from sidecar.cli.sanitize import clean, clean_lines, json_for_terminal
from sidecar.domain.json_safe import encode_json

_NAME_WIDTH = 16
_LATER = frozenset(
    {
        *("headers", "body", "payload_note", "rejection", "schema", "delivery", "delivery_at"),
        *("history", "stacktrace"),
    }
)
_LINES = frozenset({"history", "stacktrace"})
"""Words that take lines of their own."""


def print_event(event: models.EventModel) -> None:
    words = {name: value for name, value in _fields(event).items() if name not in _LATER and name != "changed"}
    if event.changed:
        words["status"] = f"{event.status} (its content differs from the first)"
    if event.rejection is not None:
        why = event.rejection
        words["rejection"] = f"{why.code}: {why.message}" + (f" (at {why.path})" if why.path else "")
    words["schema"] = _schema(event.schema)
    if event.delivery is not msgspec.UNSET and event.delivery:
        words["read by"] = readers(event.delivery)
    _print(words, event.headers, event.body, event.payload_note)


def print_dead_letter(letter: models.DeadLetterModel) -> None:
    words = {name: value for name, value in _fields(letter).items() if name not in _LATER}
    words["schema"] = _schema(letter.schema)
    if not letter.replays:
        words.pop("replays", None)
    if letter.history is not msgspec.UNSET:
        words["history"] = [_deed(one) for one in letter.history]
    if letter.stacktrace is not msgspec.UNSET and letter.stacktrace:
        words["stacktrace"] = letter.stacktrace
    _print(words, letter.headers, letter.body, letter.payload_note)


def _deed(deed: models.LedgerActionModel) -> str:
    """One thing that was done with a letter, with what an edit changed behind it."""
    of = (f"by {deed.by}", f"from {deed.address}" if deed.address else "", f"to {deed.to}" if deed.to else "")
    more = (
        f"for {deed.group}" if deed.group else "",
        f"(replay {deed.replay}, attempt {deed.attempt or 1})" if deed.replay else "",
        f": {deed.why}" if deed.why else "",
    )
    said = " ".join(part for part in (f"{deed.at or '-'} {deed.act}", *of, *more) if part).replace(" : ", ": ")
    return "\n".join([clean(said), *(f"  {clean(change(one))}" for one in deed.edit)])


def change(one: models.ChangeModel) -> str:
    """A difference that an edit made, on one line."""
    before, after = (json_for_terminal(encode_json(value)) for value in (one.before, one.after))
    match one.what:
        case "added":
            return f"+ {one.path}: {after}"
        case "removed":
            return f"- {one.path}: {before}"
    return f"  {one.path}: {before} -> {after}"


def _fields(value: msgspec.Struct) -> dict[str, Any]:
    return {name: item for name in value.__struct_fields__ if (item := getattr(value, name)) is not msgspec.UNSET}


def _schema(ref: models.SchemaRefModel | None) -> str | None:
    if ref is None:
        return None
    version = "" if ref.version is None else f" v{ref.version}"
    id = "" if ref.id is None else f" (id {ref.id})"
    return f"{ref.subject or ref.guid or '?'}{version}{id}"


def _print(words: dict[str, Any], headers: Any, body: Any, note: Any) -> None:
    from rich.text import Text

    out = console()
    for name, value in words.items():
        if value is None or value == []:
            continue
        if name in _LINES:
            out.print(Text(name, "bold"))
            out.print(Text(_each(value)))
            continue
        shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        style = STYLES.get(shown.partition(" ")[0], "") if name in ("status", "state") else ""
        out.print(Text.assemble((f"{name:<{_NAME_WIDTH}}", "bold"), (clean(shown), style)))
    if headers is not msgspec.UNSET and headers:
        out.print(Text("headers", "bold"))
        for name, value in headers:
            out.print(Text(f"  {clean(str(name))}: {clean(_inline(value))}"))
    if body is not msgspec.UNSET and body is not None:
        out.print(Text("body", "bold"))
        out.print(Text(_indented(body)))
    if note is not msgspec.UNSET and note:
        out.print(Text(clean(str(note)), "yellow"))
    sys.stdout.write("\n")


def _each(value: str | list[str]) -> str:
    text = value if isinstance(value, str) else "\n".join(value)
    return clean_lines("\n".join(f"  {line}" for line in text.split("\n")))


def _inline(value: Any) -> str:
    if value is None:
        return "(null)"
    return value if isinstance(value, str) else json_for_terminal(encode_json(value))


def _indented(body: Any) -> str:
    text = body if isinstance(body, str) else msgspec.json.format(json_for_terminal(encode_json(body)), indent=2)
    return clean_lines("\n".join(f"  {line}" for line in text.split("\n")))
