"""Completion of queries while they are typed. The sidecar validates queries; this module only helps to write them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

FIELDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "stream": ("the topic or stream", ()),
    "type": ("the event's type", ()),
    "version": ("the event's version", ()),
    "event": ("the event's id", ()),
    "trace": ("the trace id, in hex", ()),
    "aggregate": ("the aggregate's id", ()),
    "correlation": ("the correlation id", ()),
    "causation": ("the id of the event that caused it", ()),
    "producer": ("the producer", ()),
    "status": ("the status of the event", ("ok", "unchecked", "replayed", "duplicate", "rejected")),
    "code": (
        "the code of the rejection",
        (
            "decode.truncated", "decode.trailing_bytes", "decode.malformed", "decode.limit", "schema.unknown_id",
            "schema.unknown_subject", "schema.wrong_subject", "schema.unknown_version", "schema.mismatch",
            "envelope.missing", "envelope.invalid", "reported.error", "delivery.exhausted", "delivery.refused",
        ),
    ),
    "stage": ("the stage at which it failed", ("decode", "schema", "envelope", "reported", "delivery")),
    "group": ("the consumer group of a dead letter", ()),
    "cause": ("the cause of dead letters, by its fingerprint", ()),
    "message": ("the text of a dead letter's error", ()),
    "root_cause": ("the innermost exception behind a dead letter", ()),
    "stacktrace": ("the stack trace of a dead letter", ()),
    "state": (
        "the state of a dead letter, or of a saga",
        (
            "open", "replaying", "replayed", "returned", "parked", "discarded", "running", "completed", "compensated",
            "failed", "stuck",
        ),
    ),
    "saga": ("the name of a declared process, for sagas", ()),
    "dialect": ("the dialect of a dead letter", ()),
    "schema": ("the schema: SUBJECT, SUBJECT:v3, an id or a GUID", ()),
    "key": ("the record's key", ()),
    "position": ("a position, such as kafka://orders/0/4711", ()),
    "partition": ("the partition's number", ()),
    "header.": ("a header by name", ()),
    "body.": ("a path within the body", ()),
    "since": ("from this time on", ("5m", "15m", "1h", "24h")),
    "until": ("before this time", ("5m", "15m", "1h")),
}  # fmt: skip

_WORD = re.compile(r'(?:^|[\s(])-?([^\s()"]*)$')
MAX_COMPLETIONS = 12
MAX_VALUE_CHARS = 200
"""Longest value that is completed, in characters."""
Seen = Mapping[str, Sequence[str]]


def complete(text: str, at: int, seen: Seen) -> tuple[int, list[str]]:
    """Return where the word before the cursor begins, and its possible completions.

    `seen` has recent values by field.
    """
    match = _WORD.search(text[:at])
    if match is None:
        return at, []
    word, start = match[1], match.start(1)
    field, colon, begun = word.partition(":")
    if not colon:
        names = [name if name.endswith(".") else f"{name}:" for name in FIELDS]
        names += [f"{name}:" for name in seen if name.startswith(("body.", "header."))]
        return start, [name for name in names if name.startswith(word) and name != word][:MAX_COMPLETIONS]
    values = dict.fromkeys((*FIELDS.get(field, ("", ()))[1], *seen.get(field, ())))
    fitting = [_quote(value) for value in values if value.startswith(begun) and value != begun]
    return start + len(field) + 1, fitting[:MAX_COMPLETIONS]


def about(text: str, at: int) -> str:
    """Return the description of the field before the cursor."""
    match = _WORD.search(text[:at])
    name = match[1].partition(":")[0] if match else ""
    return FIELDS[name][0] if name in FIELDS else ""


def term(field: str, value: str) -> str:
    """Return a query for exactly this value."""
    return f"{field}:{_quote(value)}"


def toggle_term(query: str, term: str) -> str:
    """Add a term to a query, or remove it if the query ends with it. The rest of the query stays."""
    if query == term or query.endswith(f" {term}"):
        rest = query.removesuffix(term).strip()
        return rest[1:-1] if rest.startswith("(") and rest.endswith(")") and _is_group(rest) else rest
    if re.search(r"(^|\s)OR(\s|$)", query):
        query = f"({query})"
    return f"{query} {term}".strip()


def _is_group(query: str) -> bool:
    """Return True if the first bracket is closed by the last one."""
    depth = 0
    for at, char in enumerate(query):
        depth += (char == "(") - (char == ")")
        if depth == 0:
            return at == len(query) - 1
    return False


def _quote(value: str) -> str:
    if len(value) > MAX_VALUE_CHARS or not value.isprintable():
        return _begins(value[:MAX_VALUE_CHARS], whole=len(value) <= MAX_VALUE_CHARS)
    if value and re.fullmatch(r"[\w.\-@#+,;=~|/:]+", value) and value[0] not in "/-<>=":
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _begins(value: str, *, whole: bool) -> str:
    """Return a regular expression (RE2 syntax) for values that begin with this text.

    Invisible characters are written as code points, so that a query never contains control sequences.
    """
    text = "".join(
        f"\\x{{{ord(c):x}}}" if not c.isprintable() else c if c.isalnum() or not c.isascii() else f"\\{c}"
        for c in value
    )
    return f"/^{text}{'$' if whole else ''}/"
