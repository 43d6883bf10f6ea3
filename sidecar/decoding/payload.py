"""What is in a record's value: its body as far as it can be read, and the schema it names, if any."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from zlib import crc32

import msgspec

from sidecar.decoding.envelope.coercion import to_text
from sidecar.decoding.envelope.extractor import HeaderLayout
from sidecar.decoding.schema import BoundSchema
from sidecar.decoding.schema_cache import SchemaCache, SchemaLookup, SchemaNotCached
from sidecar.decoding.wire_format import BOM, SchemaId, WireForm, WireFrame, bare_frame, frame, json_start
from sidecar.domain.broker_traits import traits_of
from sidecar.domain.model import Headers, Record, Rejection

_MAX_TYPED = 256
"""Fields of a flat entry whose text is read as JSON; the schema is tried anew after each."""

read_json: Callable[[bytes], Any] = msgspec.json.Decoder().decode
"""Raises msgspec.DecodeError, ValueError, or RecursionError for what is nested too deeply."""


class Payload(msgspec.Struct):
    """A value as far as it can be read by itself."""

    body: Any = None
    schema: BoundSchema | None = None
    """The schema that the value names, where it is known."""
    rejection: Rejection | None = None
    checked: bool = False
    """The body was read with `schema`, which is all the checking that binary Avro needs."""
    outage: bool = False
    """The value names a schema, and nobody could be asked for it."""
    record_name: str | None = None
    """Full name of the record that was read; the branch's, where the schema is a union."""
    names_schema: bool = False
    problem: Rejection | None = None
    """Why bytes that look like JSON are none. Only a registered subject makes that a rejection."""
    raw: bytes | None = None
    """Bytes that say nothing of what they are. The subject's schema may know."""


def contents(record: Record, headings: HeaderLayout, catalog: SchemaCache, *, unchecked: bool) -> Payload:
    """Read a record's value. Raises NeedsSchema, unless `unchecked`, where a schema must be fetched first."""
    headers = {name: value for name, at in headings.schema if (value := record.headers[at][1]) is not None}
    framed = frame(record.value or b"", headers)
    if isinstance(framed, Rejection):
        return Payload(rejection=framed, names_schema=True)
    return _framed(record.value or b"", framed, record.position.stream, catalog, unchecked)


def inner_contents(value: bytes, stream: str, catalog: SchemaCache, *, unchecked: bool) -> Payload:
    """The same for bytes inside of a body, which no header speaks of."""
    return _framed(value, bare_frame(value), stream, catalog, unchecked)


def resolve(catalog: SchemaCache, stream: str, ids: tuple[SchemaId, ...]) -> SchemaLookup:
    """What the first known of these names stands for; where none is known, the answer for the last. Raises
    NeedsSchema."""
    resolved: SchemaLookup | None = None
    for id in ids:
        look_up: Callable[[str, Any], SchemaLookup] = getattr(catalog, f"by_{id.kind}")
        resolved = look_up(stream, id.value)
        if resolved.schema is not None:
            return resolved
    assert resolved is not None, "a frame that names a schema has an id"
    return resolved


def _framed(value: bytes, framed: WireFrame, stream: str, catalog: SchemaCache, unchecked: bool) -> Payload:
    if framed.form is WireForm.JSON and not framed.ids:
        body, problem = json_or_problem(value, framed.start)
        return Payload(body=body, problem=problem)
    if not framed.ids:
        return Payload(raw=value)
    try:
        resolved = resolve(catalog, stream, framed.ids)
    except SchemaNotCached:
        if not unchecked:
            raise
        return Payload(body=_likely_json(value, framed.start), outage=True, names_schema=True)
    found = Payload(schema=resolved.schema, rejection=resolved.rejection, names_schema=True)
    if resolved.schema is None or resolved.schema.unusable is not None:
        found.body = _likely_json(value, framed.start)
    elif framed.form is WireForm.JSON:
        found.body, problem = json_or_problem(value, framed.start)
        found.rejection = found.rejection or problem
    else:
        body = resolved.schema.decode(value, framed.start)
        if body.__class__ is Rejection:
            found.rejection = found.rejection or body
        else:
            found.body, found.checked = body, True
            found.record_name = resolved.schema.record_name(value, framed.start)
    return found


def json_or_problem(value: bytes, start: int = 0) -> tuple[Any, Rejection | None]:
    """The JSON from `start` on, or why it is none: `decode.limit` where it is too deep, else `decode.malformed`."""
    try:
        return read_json(value[start:].removeprefix(BOM) if start else value), None
    except RecursionError:
        return None, Rejection("decode.limit", "expected JSON of ordinary depth, found it nested too deeply to read")
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
        return None, Rejection("decode.malformed", f"expected JSON, found what is none: {str(error)[:500]}")


def _likely_json(value: bytes, start: int) -> Any:
    """The body behind a schema id that nobody knows, or of a kind we do not check, where it happens to be JSON: there
    may be ids in it."""
    at = json_start(value, start)
    return json_or_problem(value, at)[0] if at is not None else None


def flat_body(headers: Headers) -> dict[str, str | None]:
    """The body of a Redis entry that has no body field: its fields, as text; bytes that are none are escaped, in names
    too. Of a repeated name the last counts."""
    return {
        name.encode("utf-8", "backslashreplace").decode(): (
            None if value is None else value.decode("utf-8", "backslashreplace")
        )
        for name, value in headers
    }


def typed(body: dict[str, Any], schema: BoundSchema) -> tuple[dict[str, Any], Rejection | None]:
    """A flat map as its schema describes it. All values of a Redis entry are text; where the schema wants something
    else, the text is read as JSON (`3`, `true`, `null`, `[1, 2]`). What still does not fit is the rejection."""
    body = dict(body)
    for _ in range(_MAX_TYPED):
        rejection = schema.check(body)
        field = rejection.path or "" if rejection is not None else ""
        written = body.get(field)
        if written.__class__ is not str:
            return body, rejection
        value, problem = json_or_problem(written.encode("utf-8", "surrogatepass"))
        if problem is not None or value.__class__ is str:
            return body, rejection
        body[field] = value
    return body, rejection


def digest(record: Record) -> int:
    """CRC-32 of the value, for a flat Redis entry of its fields; 0 for a tombstone."""
    if record.value is not None:
        return crc32(record.value)
    if not traits_of(record.position.system).bodyless_entries:
        return 0
    return crc32(
        b"\0".join(part for name, value in record.headers for part in (name.encode("utf-8", "replace"), value or b""))
    )


def header_text(headers: Headers, at: int) -> str | None:
    """A header's value as the text of an id; None where `at` is -1 or the value is no id."""
    return to_text(headers[at][1]) if at >= 0 else None
