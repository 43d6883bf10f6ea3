"""Rows of the history: the columns of an event in a file, and the code that writes and restores a row.

The columns are generated from the fields of `Event`, so that a field that is added at the end of `Event` becomes a
column without a change here. A row is written as one line of JSON with short keys, because that is the cheapest form
that the history's storage can read; `docs/history.md` describes the columns for readers of the files.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from typing import Any, get_type_hints
from urllib.parse import quote, unquote_to_bytes

import msgspec
from msgspec import NODEFAULT, Struct
from msgspec.structs import fields

from sidecar.domain.derived_ids import cause_of, derive_trace_id, own_identity
from sidecar.domain.event_bounds import UNPACKABLE, UNSIGNED_BITS, bound_event
from sidecar.domain.model import Event, Rejection, SchemaRef, TraceOrigin
from sidecar.domain.position import Position

SCHEMA_VERSION = 2
"""Version of the columns, in the metadata of every file. Columns are only ever added; see `docs/history.md`."""
MIN_TIME_US, MAX_TIME_US = -62_135_596_800_000_000, 253_402_300_799_999_999
"""Times that a file can hold: the years 1 to 9999."""
MAX_UNBOUNDED_LINE_BYTES = 4_096
"""Size of a line, without body and headers, above which each text of its event is checked and shortened."""

_LOW_BITS, _SIGNED_BITS = 64, 63
_LOW_MASK = (1 << _LOW_BITS) - 1
_MILLIS = frozenset({"appended_at"})
"""Times in milliseconds; the others are in microseconds."""
_MICROS = frozenset({"observed_at", "occurred_at"})


class HistoryRow(Struct, gc=False):
    """An event as the history stores it, redacted already."""

    event: Event
    incarnation: str | None = None
    """Identity of the stream that the record was read from (Kafka: the topic id); None if the broker has none. A topic
    that is deleted and created again has another one, and its offsets start at 0 again."""
    body: bytes | None = None
    """Redacted body as JSON text; `null` for a tombstone. None: the history stores no bodies."""
    headers: bytes | None = None
    """Redacted headers as the JSON text of a list of `[name, value]`. None: the history stores no bodies."""


class HistoryColumn(Struct, frozen=True):
    """One column of the files."""

    name: str
    kind: str
    """One of text, integer, bigint, boolean, millis and micros."""
    value: str
    """Python expression of its value, from `event`, `position`, `schema`, `rejection` and `row`."""
    since: int = 1
    """Version of the columns that has it first. Files of earlier versions lack it."""


def quote_stream(stream: str) -> str:
    """Format the name of a stream for the files: percent-encoded if it has a percent sign or bytes outside UTF-8."""
    if "%" not in stream:
        try:
            stream.encode()
        except UnicodeEncodeError:
            pass
        else:
            return stream
    return quote(stream.encode("utf-8", "surrogateescape"), safe="-._~:{}@!$'()*+,;=^|/&?# ")


def unquote_stream(text: str) -> str:
    """Parse the name of a stream that `quote_stream` formatted."""
    return unquote_to_bytes(text).decode("utf-8", "surrogateescape") if "%" in text else text


def split_offset(offset: int) -> tuple[int, int]:
    """Split an offset into its upper bits, and its lower 64 bits as a signed number."""
    low = offset & _LOW_MASK
    return offset >> _LOW_BITS, low - (1 << _LOW_BITS) if low >> (_LOW_BITS - 1) else low


def join_offset(high: int, low: int) -> int:
    """Join the parts that `split_offset` returned."""
    return high << _LOW_BITS | low & _LOW_MASK


def _build_columns() -> tuple[HistoryColumn, ...]:
    columns = [
        HistoryColumn("system", "text", "position.system"),
        HistoryColumn("stream", "text", "stream"),
        HistoryColumn("partition", "integer", "position.partition"),
        HistoryColumn(
            "record_offset", "bigint", f"offset if offset < {1 << _SIGNED_BITS} else split_offset(offset)[1]"
        ),
        HistoryColumn("record_offset_high", "bigint", f"offset >> {_LOW_BITS} or None"),
        HistoryColumn("incarnation", "text", "incarnation"),
    ]
    hints = get_type_hints(Event)
    for field in fields(Event):
        columns += _columns_of(field.name, hints[field.name])
    columns += [
        HistoryColumn("body", "text", "None if body is None else str(body, 'utf-8')"),
        HistoryColumn("headers", "text", "None if headers is None else str(headers, 'utf-8')"),
        HistoryColumn(
            "derived_trace_id", "text", "None if event.trace_id is not None else find_derived_trace_id(event)", since=2
        ),
    ]
    return tuple(columns)


def find_derived_trace_id(event: Event) -> str | None:
    """Return the trace id that is derived for an event from its own ids, as 32 hex digits; None if it carries one.

    For an event that names a cause it is the one that is derived from the cause, which may have a cause itself: a
    reader that finds the event by it has to derive the trace id again.
    """
    if event.trace_id is not None:
        return None
    return f"{derive_trace_id(event.correlation_id or cause_of(event) or own_identity(event)):032x}"


def _columns_of(name: str, hint: Any) -> list[HistoryColumn]:
    value = f"event.{name}"
    if name == "position":
        return []
    if hint == SchemaRef | None:
        kinds = {"subject": "text", "version": "bigint", "id": "bigint", "guid": "text"}
        return [HistoryColumn(f"{name}_{part}", kind, f"{name} and {name}.{part}") for part, kind in kinds.items()]
    if hint == Rejection | None:
        return [
            HistoryColumn(f"{name}_{part}", "text", f"{name} and {name}.{part}") for part in ("code", "message", "path")
        ]
    if name in UNSIGNED_BITS:
        digits = UNSIGNED_BITS[name] // 4
        return [HistoryColumn(name, "text", f"None if {value} is None else f'{{{value}:0{digits}x}}'")]
    if name in _MILLIS or name in _MICROS:
        return [HistoryColumn(name, "millis" if name in _MILLIS else "micros", value)]
    kind = {bool: "boolean", int: "bigint", int | None: "bigint"}.get(hint, "text")
    return [HistoryColumn(name, kind, f"{value} or None" if kind == "boolean" else value)]


COLUMNS = _build_columns()
COLUMN_NAMES = tuple(column.name for column in COLUMNS)
SINCE_BY_COLUMN = {column.name: column.since for column in COLUMNS}
_TYPES: dict[str, Any] = {"boolean": bool | None, "text": str | None}
_KEYS: dict[str, str] = dict(
    zip(COLUMN_NAMES, (f"{letter}{n}" for n in ("", 1, 2, 3) for letter in string.ascii_lowercase), strict=False)
)
"""The key of each column in a line. Readers of lines may compare keys without case."""

_Line: Any = msgspec.defstruct(
    "_Line",
    [(column.name, _TYPES.get(column.kind, int | None), None) for column in COLUMNS],
    rename=_KEYS,
    omit_defaults=True,
    gc=False,
)


def line_key(column: HistoryColumn) -> str:
    """Return the key of a column in a line of `encode_row`."""
    return _KEYS[column.name]


def _compile_encode(stream: str) -> Callable[[Event, str | None, bytes | None, bytes | None], bytes]:
    """Compile the function that encodes a row. `stream`: the expression of the stream's name."""
    values = ",\n        ".join(column.value for column in COLUMNS)
    source = (
        "def encode_columns(event, incarnation, body, headers):\n    position, schema = event.position, event.schema\n"
        f"    rejection, offset, stream = event.rejection, position.offset, {stream}\n"
        f"    return encode(Line(\n        {values},\n    ))\n"
    )
    names: dict[str, Any] = {
        "Line": _Line,
        "encode": msgspec.json.Encoder().encode,
        "find_derived_trace_id": find_derived_trace_id,
        "quote_stream": quote_stream,
        "split_offset": split_offset,
        "MAX_PLAIN": 1 << _SIGNED_BITS,
    }
    exec(compile(source, "<generated from Event: encode_columns>", "exec"), names)
    encode: Callable[[Event, str | None, bytes | None, bytes | None], bytes] = names["encode_columns"]
    return encode


_encode_any = _compile_encode("quote_stream(position.stream)")
_encode_usual = _compile_encode("position.stream if '%' not in position.stream else quote_stream(position.stream)")
"""Raises one of UNPACKABLE for texts that UTF-8 cannot encode."""
_decode_line = msgspec.json.Decoder(_Line).decode


def encode_row(row: HistoryRow) -> bytes:
    """Encode a row as one line of JSON, without a line break. Never raises for an event's content.

    Texts that UTF-8 cannot encode are escaped and long ones cut, as in an index.
    """
    payload = 0 if row.body is None else len(row.body) + len(row.headers or b"")
    return _encode_bounded(row.event, row.incarnation, row.body, row.headers, MAX_UNBOUNDED_LINE_BYTES + payload)


def encode_event(event: Event, incarnation: str | None) -> bytes:
    """Encode a row without body and headers, as `encode_row` does."""
    try:
        line = _encode_usual(event, incarnation, None, None)
        if len(line) <= MAX_UNBOUNDED_LINE_BYTES:
            return line
    except UNPACKABLE:
        pass
    return _encode_any(bound_event(event), incarnation, None, None)


def _encode_bounded(
    event: Event, incarnation: str | None, body: bytes | None, headers: bytes | None, max_bytes: int
) -> bytes:
    try:
        line = _encode_usual(event, incarnation, body, headers)
        if len(line) <= max_bytes:
            return line
    except UNPACKABLE:
        pass
    return _encode_any(bound_event(event), incarnation, body, headers)


def decode_line(line: bytes) -> HistoryRow:
    """Decode a line that `encode_row` wrote."""
    decoded = _decode_line(line)
    return restore_row([getattr(decoded, name) for name in COLUMN_NAMES])


def _compile_restore() -> Callable[..., HistoryRow]:
    special = {
        "position": "Position(system, unquote_stream(stream), partition, record_offset if not record_offset_high and "
        "record_offset >= 0 else join_offset(record_offset_high or 0, record_offset))",
        "schema": "SchemaRef(schema_subject, schema_version, schema_id, schema_guid) if schema_subject is not None or "
        "schema_version is not None or schema_id is not None or schema_guid is not None else None",
        "rejection": "None if rejection_code is None else Rejection(rejection_code, rejection_message, rejection_path)",
        "trace_origin": "None if trace_origin is None else TraceOrigin(trace_origin)",
        **{name: f"None if {name} is None else int({name}, 16)" for name in UNSIGNED_BITS},
    }
    values = [_or_default(field, special.get(field.name, field.name)) for field in fields(Event)]
    source = (
        f"def restore_row({', '.join(COLUMN_NAMES)}):\n    return HistoryRow(Event(\n        "
        + ",\n        ".join(values)
        + "\n    ), incarnation, body and body.encode(), headers and headers.encode())\n"
    )
    names: dict[str, Any] = {
        "Event": Event,
        "HistoryRow": HistoryRow,
        "Position": Position,
        "Rejection": Rejection,
        "SchemaRef": SchemaRef,
        "TraceOrigin": TraceOrigin,
        "join_offset": join_offset,
        "unquote_stream": unquote_stream,
    }
    exec(compile(source, "<generated from Event: restore_row>", "exec"), names)
    restore: Callable[..., HistoryRow] = names["restore_row"]
    return restore


def _or_default(field: Any, value: str) -> str:
    """Use the default of a field where a column is absent or null: an older file lacks the newest columns."""
    if field.default is NODEFAULT or field.default is None:
        return value
    return f"{field.default!r} if {value} is None else {value}"


_restore = _compile_restore()


def restore_row(values: Sequence[Any]) -> HistoryRow:
    """Build a row from the values of `COLUMNS`, in their order: times as integers in their unit, null as None."""
    return _restore(*values)
