"""Payloads: the body of a record's value as far as it can be read, and the schema that the value names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from zlib import crc32

import msgspec

from sidecar.decoding.envelope.coercion import to_text, unquote
from sidecar.decoding.envelope.extractor import HeaderLayout
from sidecar.decoding.long_json import read_long_json
from sidecar.decoding.schema import BoundSchema
from sidecar.decoding.schema_cache import SchemaCache
from sidecar.decoding.schema_lookup import SchemaLookup, SchemaNotCached
from sidecar.decoding.wire_format import BOM, SchemaId, WireForm, WireFrame, bare_frame, frame, json_start
from sidecar.domain.broker_traits import traits_of
from sidecar.domain.json_limits import MAX_JSON_VALUES, has_too_many_values
from sidecar.domain.json_safe import read_lenient_json
from sidecar.domain.large_records import LARGE_RECORD_BYTES
from sidecar.domain.model import Headers, Record, Rejection

_MAX_TYPED_FIELDS = 256
"""Fields of a flat entry whose text is read as JSON; the schema is tried again after each."""
read_json: Callable[[bytes], Any] = msgspec.json.Decoder().decode
"""Parse JSON. Raises msgspec.DecodeError, ValueError, or RecursionError for JSON that is nested too deeply."""


class Payload(msgspec.Struct):
    """A value as far as it can be read without the stream's schema."""

    body: Any = None
    schema: BoundSchema | None = None
    """Schema that the value names, if it is known."""
    rejection: Rejection | None = None
    checked: bool = False
    """True if the body was read with `schema`, which is the only check that binary Avro needs."""
    outage: bool = False
    """True if the value names a schema that is not in memory and cannot be fetched now."""
    record_name: str | None = None
    """Full name of the record that was read; if the schema is a union, that of the branch."""
    names_schema: bool = False
    unknown_guess: bytes | None = None
    """The value, if its first bytes looked like a schema id that is not registered."""
    problem: Rejection | None = None
    """Rejection of bytes that look like JSON and are not. It counts only if the stream has a registered subject."""
    raw: bytes | None = None
    """Bytes of an unknown encoding. The subject's schema may be able to read them."""
    self_described: bool = False
    """True if the value carried its own schema, so that no registered one applies to it."""
    opaque: bool = False
    """True if the sender declares that the bytes have no encoding that a schema could describe."""


def read_payload(
    record: Record, streams: Sequence[str], headings: HeaderLayout, catalog: SchemaCache, *, unchecked: bool
) -> Payload:
    """Read a record's value.

    Raises SchemaNotCached if a schema must be fetched first, unless `unchecked`.

    Args:
        record: The record.
        streams: Streams whose schemas it may have: its own, and its origin's if it is a copy.
        headings: Layout of its headers.
        catalog: The schemas.
        unchecked: Do not raise; the payload then is an `outage`.
    """
    headers = {name: value for name, at in headings.schema if (value := record.headers[at][1]) is not None}
    wire = frame(record.value or b"", headers)
    if isinstance(wire, Rejection):
        return Payload(rejection=wire, names_schema=True)
    return _read_framed(record.value or b"", wire, streams, catalog, unchecked)


def read_inner_payload(
    value: bytes, streams: Sequence[str], catalog: SchemaCache, *, unchecked: bool, opaque: bool
) -> Payload:
    """Read bytes inside of a body, which no header describes.

    Args:
        value: The bytes.
        streams: Streams whose schemas the surrounding record may have.
        catalog: The schemas.
        unchecked: Do not raise SchemaNotCached; the payload then is an `outage`.
        opaque: The sender declares plain bytes: a prefix that looks like an unusable schema id is part of them.
    """
    payload = _read_framed(value, bare_frame(value), streams, catalog, unchecked)
    if opaque and (payload.rejection is not None or payload.raw is not None):
        return Payload(opaque=True)
    return payload


def resolve(catalog: SchemaCache, stream: str, ids: tuple[SchemaId, ...]) -> SchemaLookup:
    """Look up the first known of these names. If none is known, return the result for the last.

    Raises SchemaNotCached.
    """
    lookup: SchemaLookup | None = None
    for id in ids:
        look_up: Callable[[str, Any], SchemaLookup] = getattr(catalog, f"by_{id.kind}")
        lookup = look_up(stream, id.value)
        if lookup.schema is not None:
            return lookup
    assert lookup is not None, "a frame that names a schema has an id"
    return lookup


def resolve_for(catalog: SchemaCache, streams: Sequence[str], ids: tuple[SchemaId, ...]) -> SchemaLookup:
    """Look up a schema for the first of several streams that it is for; otherwise return the result for the last."""
    for stream in streams:
        lookup = resolve(catalog, stream, ids)
        if lookup.rejection is None:
            break
    return lookup


def _read_framed(
    value: bytes, wire: WireFrame, streams: Sequence[str], catalog: SchemaCache, unchecked: bool
) -> Payload:
    if not wire.ids:
        if wire.form is WireForm.JSON:
            body, problem = json_or_problem(value, wire.start)
            return Payload(body=body, problem=problem)
        return _read_unframed(value, catalog)
    try:
        lookup = resolve_for(catalog, streams, wire.ids)
        if lookup.rejection is not None and wire.guessed and _is_coincidence(value, wire, lookup, streams, catalog):
            return _read_unframed(value, catalog)
    except SchemaNotCached:
        if not unchecked:
            raise
        return Payload(body=_likely_json(value, wire.start), outage=True, names_schema=True)
    schema = lookup.schema
    payload = Payload(schema=schema, rejection=lookup.rejection, names_schema=True)
    if schema is None or schema.unusable is not None:
        payload.body = _likely_json(value, wire.start)
        if schema is None and wire.guessed:
            payload.unknown_guess = value
    elif wire.form is WireForm.JSON:
        payload.body, problem = json_or_problem(value, wire.start)
        payload.rejection = payload.rejection or problem
    else:
        body = schema.decode(value, wire.start)
        if body.__class__ is Rejection:
            payload.rejection = payload.rejection or body
        else:
            payload.body, payload.checked = body, True
            payload.record_name = schema.record_name(value, wire.start)
    return payload


def _is_coincidence(
    value: bytes, wire: WireFrame, lookup: SchemaLookup, streams: Sequence[str], catalog: SchemaCache
) -> bool:
    """Test whether a value only looks framed: a number, say, whose first byte is 0.

    Nothing says that the value names a schema if no subject is named after its stream, and the id is unknown, or
    belongs to other streams and its schema cannot read the value. JSON behind the id confirms it."""
    if any(catalog.has_subject(stream) for stream in streams) or _likely_json(value, wire.start) is not None:
        return False
    schema = lookup.schema
    return schema is None or schema.unusable is not None or schema.decode(value, wire.start).__class__ is Rejection


def _read_unframed(value: bytes, catalog: SchemaCache) -> Payload:
    """Read a value without any frame: it carries its own schema, or its encoding is unknown."""
    for schema_format in catalog.formats.values():
        described = schema_format.read_self_described(value)
        if described is not None:
            return Payload(body=described.value, self_described=True, record_name=described.name)
    return Payload(raw=value)


def json_or_problem(value: bytes, start: int = 0) -> tuple[Any, Rejection | None]:
    """Read the JSON from `start` on.

    A lone surrogate in a string is not valid Unicode, but many writers produce it: it is read as the text of its
    escape.

    Returns:
        The value and None, or None and the rejection: `decode.limit` for JSON nested too deeply or with too many
            values, else `decode.malformed`.
    """
    text = value[start:].removeprefix(BOM) if start else value
    if has_too_many_values(text):
        return None, Rejection("decode.limit", f"expected JSON of at most {MAX_JSON_VALUES} values, found more")
    try:
        try:
            return _read_json(text, read_json), None
        except msgspec.DecodeError:
            # A lone surrogate, or a number that no float or small integer holds (1e400 is JSON), or both.
            return _read_json(text, read_lenient_json), None
    except RecursionError:
        return None, Rejection("decode.limit", "expected JSON of ordinary depth, found it nested too deeply to read")
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
        return None, Rejection("decode.malformed", f"expected JSON, found invalid text: {str(error)[:500]}")


def _read_json(text: bytes, read: Callable[[bytes], Any]) -> Any:
    return read(text) if len(text) <= LARGE_RECORD_BYTES else read_long_json(text, read)


def _likely_json(value: bytes, start: int) -> Any:
    """Read a body behind an unknown schema id, or of an unknown format, if it is JSON: it may hold the event's ids."""
    at = json_start(value, start)
    return json_or_problem(value, at)[0] if at is not None else None


def flat_body(headers: Headers) -> dict[str, str | None]:
    """Build the body of an entry without a body field from its fields, as text.

    Bytes that are not UTF-8 are escaped, in names too. Of a repeated name the last counts.
    """
    return {
        name.encode("utf-8", "backslashreplace").decode(): (
            None if value is None else value.decode("utf-8", "backslashreplace")
        )
        for name, value in headers
    }


def unquote_fields(body: Any) -> Any:
    """Return a flat body without the quotes of values that are JSON strings; Jackson writes such fields."""
    if not any(value.__class__ is str and value[:1] == '"' for value in body.values()):
        return body
    return {
        name: unquote(value.encode("utf-8", "surrogatepass")) if value.__class__ is str and value[:1] == '"' else value
        for name, value in body.items()
    }


def convert_types(body: dict[str, Any], schema: BoundSchema) -> tuple[dict[str, Any], Rejection | None]:
    """Convert the texts of a flat body to the types of its schema.

    All values of such an entry are text. If the schema expects another type, the text is read as JSON (`3`, `true`,
    `null`, `[1, 2]`).

    Returns:
        The converted body, and the rejection of the first field that does not fit, if any.
    """
    body = dict(body)
    for _ in range(_MAX_TYPED_FIELDS):
        rejection = schema.check(body)
        field = rejection.path or "" if rejection is not None else ""
        text = body.get(field)
        if text.__class__ is not str:
            return body, rejection
        value, problem = json_or_problem(text.encode("utf-8", "surrogatepass"))
        if problem is not None or value.__class__ is str:
            return body, rejection
        body[field] = value
    return body, rejection


def digest(record: Record) -> int:
    """Compute the CRC-32 of a record's value; for an entry without a body field, of its fields; 0 for a tombstone."""
    if record.value is not None:
        return crc32(record.value)
    if not traits_of(record.position.system).bodyless_entries:
        return 0
    return crc32(
        b"\0".join(part for name, value in record.headers for part in (name.encode("utf-8", "replace"), value or b""))
    )


def header_text(headers: Headers, at: int) -> str | None:
    """Read a header as the text of an id; None if `at` is -1 or the value is not an id."""
    return to_text(headers[at][1]) if at >= 0 else None
