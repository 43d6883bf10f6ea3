"""Changing a record's body before it is sent: read as it was written, changed, checked, and written again in the same
way, with the right schema's id.

Which schema: the one that the record names, where it is registered for the stream it goes to; else the stream's own
latest. JSON stays JSON, a flat Redis entry stays flat. In the end the judge looks at the record as if it lay on its
stream already: what it would reject is not sent."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

import fastavro
import msgspec
from msgspec import UNSET, Struct
from msgspec.structs import replace

from sidecar.api.plain import plain
from sidecar.dead_letters.entries import Change
from sidecar.decoding.catalog import Catalog, NeedsSchema, Resolved
from sidecar.decoding.conforming import conform
from sidecar.decoding.contents import flat_body, resolve
from sidecar.decoding.fingerprint import fingerprint
from sidecar.decoding.framing import (
    APICURIO_CONTENT_ID,
    APICURIO_GLOBAL_ID,
    BOM,
    HEADERS,
    VALUE_SCHEMA_ID,
    Form,
    Frame,
    SchemaId,
    frame,
)
from sidecar.decoding.paths import Fault
from sidecar.decoding.schema import Schema, parsed, texts
from sidecar.errors import Outage
from sidecar.model import Decoded, Headers, Position, Record, Rejection
from sidecar.ports import RegisteredSchema
from sidecar.redaction import Redactor
from sidecar.replaying.checking import Opening
from sidecar.replaying.differences import differences
from sidecar.replaying.paths import with_value, without
from sidecar.replaying.wishes import Edit, Unsendable

MOST_FETCHES = 10


class Edited(Struct, frozen=True):
    """A record after an edit."""

    value: bytes | None
    headers: Headers
    changes: tuple[Change, ...]
    """What changed, as it may be shown. Empty: nothing did, and the record is as it was."""


class Editor:
    """Changes bodies (`sidecar.replaying.preparing.Editor`)."""

    def __init__(self, payloads: Opening, catalog: Catalog, redactor: Redactor) -> None:
        self._payloads, self._catalog, self._redactor = payloads, catalog, redactor

    async def __call__(self, record: Record, edit: Edit, target: str) -> Edited:
        """The record as it shall be sent to `target`. Raises Unsendable, with what to do, Outage and Refused."""
        there = replace(record, position=Position(record.position.system, target, record.position.partition, 0))
        if record.value is None:
            value, headers, before, after = await self._flat(there, edit)
        else:
            value, headers, before, after = await self._valued(there, record.value, edit)
        if plain(before) == plain(after) and edit.body is UNSET:
            return Edited(record.value, record.headers, ())
        (judged,) = await self._payloads.open([replace(there, value=value, headers=headers)])
        if judged.event.rejection is not None:
            raise Unsendable(f"the edited event would be rejected: {self._said(judged.event.rejection)}")
        hidden = self._redactor.body
        return Edited(value, headers, differences(before, after, hidden(before), hidden(after)))

    def _said(self, rejection: Rejection) -> str:
        shown = self._redactor.rejection(rejection)
        return f"{shown.code}: {shown.message}"

    # --- a flat Redis entry: its fields are its body

    async def _flat(self, record: Record, edit: Edit) -> tuple[None, Headers, Any, Any]:
        if record.position.system != "redis":
            raise Unsendable("the record has no value (a tombstone): there is nothing to edit")
        before: Any = flat_body(record.headers)
        after = _changed(before, edit)
        if not isinstance(after, dict) or not after:
            raise Unsendable("the entry's fields are its body: expected an object of fields")
        kept = [(name, value) for name, value in record.headers if name in after and after[name] == before[name]]
        names = {name for name, _ in kept}
        added = [(name, _field(value)) for name, value in after.items() if name not in names]
        return None, _in_order(record.headers, [*kept, *added]), before, after

    # --- a record with a value

    async def _valued(self, record: Record, value: bytes, edit: Edit) -> tuple[bytes, Headers, Any, Any]:
        framed = frame(value, {name.lower(): v for name, v in record.headers if v and name.lower() in HEADERS})
        if isinstance(framed, Rejection):
            framed = Frame(Form.OPAQUE)
        if framed.form is Form.JSON:
            before = _json(value, framed.start)
            after = _changed(before, edit)
            return value[: framed.start] + msgspec.json.encode(plain(after)), record.headers, before, after
        (decoded,) = await self._payloads.open([record])
        after = _changed(decoded.body, edit)
        schema, named = await self._schema(record, framed, decoded)
        if schema is None:
            if framed.form is Form.OPAQUE and isinstance(after, dict | list):
                # Nothing says what the bytes were; who writes a whole new body as JSON says what they shall be.
                return msgspec.json.encode(plain(after)), record.headers, decoded.body, after
            raise Unsendable("no schema is registered by which the edited body could be written")
        body, registered = await self._written(schema, after)
        bare = not framed.ids and decoded.body is not None
        start, headers = _framing(framed, named, bare, value, record.headers, schema, registered)
        return start + body, headers, decoded.body, after

    async def _schema(self, record: Record, framed: Frame, decoded: Decoded) -> tuple[Schema | None, bool]:
        """The schema to write by, and whether it is the one that the record names."""
        stream = record.position.stream
        if framed.ids:
            resolved = await self._looked_up(lambda: resolve(self._catalog, stream, framed.ids))
            if resolved is not None and resolved.schema is not None and resolved.rejection is None:
                return resolved.schema, True
        latest = await self._looked_up(lambda: self._catalog.for_stream(stream, decoded.event.type, None))
        return (None, False) if latest is None else (latest.schema, False)

    async def _looked_up(self, look: Any) -> Resolved | None:
        for _ in range(MOST_FETCHES):
            try:
                found: Resolved | None = look()
                return found
            except NeedsSchema as needs:
                await self._catalog.fetch(needs.key)
        raise Outage("the schema could not be had from the registry: try again")

    async def _written(self, schema: Schema, body: Any) -> tuple[bytes, RegisteredSchema]:
        if schema.unusable is not None:
            raise Unsendable(f"{schema.label} cannot be written by: {schema.unusable}")
        registered = await self._catalog.text_of(schema.ref)
        if registered is None:
            raise Unsendable(f"{schema.label} is not in the registry any more")
        try:
            made = conform(body, parsed(registered))
        except Fault as fault:
            where = fault.path or "the body"
            raise Unsendable(f"{where}: {self._hidden(fault)} ({schema.label})") from None
        try:
            named: dict[str, Any] = {}
            *references, own = [json.loads(text) for text in texts(registered)]
            for one in references:
                fastavro.parse_schema(one, named_schemas=named)
            out = io.BytesIO()
            fastavro.schemaless_writer(out, fastavro.parse_schema(own, named_schemas=named), made)
            return out.getvalue(), registered
        except Exception as error:  # a writer raises whatever it meets in a schema that anyone may have written
            raise Unsendable(f"{schema.label}: the body cannot be written by it: {type(error).__name__}") from error

    def _hidden(self, fault: Fault) -> str:
        return self._redactor.message(fault.message, fault.path, fault.code)


def _changed(body: Any, edit: Edit) -> Any:
    if edit.body is not UNSET:
        return edit.body
    if body is None:
        raise Unsendable("the body could not be decoded, so no place in it can be set: give a whole new body (--edit)")
    for path in edit.remove:
        body = without(body, path)
    for path, value in edit.set.items():
        body = with_value(body, path, value)
    return body


def _json(value: bytes, start: int) -> Any:
    try:
        return msgspec.json.decode(value[start:].removeprefix(BOM))
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None


def _field(value: Any) -> bytes | None:
    """A field of a flat entry: text as it is, anything else as JSON."""
    if value is None:
        return b"null"
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else msgspec.json.encode(plain(value))


def _in_order(before: Headers, after: Sequence[tuple[str, bytes | None]]) -> Headers:
    """The fields in the order that they had, new ones last."""
    order = {name: n for n, (name, _) in reversed(list(enumerate(before)))}
    return tuple(sorted(after, key=lambda one: order.get(one[0], len(order))))


def _framing(
    framed: Frame,
    named: bool,
    bare: bool,
    value: bytes,
    headers: Headers,
    schema: Schema,
    registered: RegisteredSchema,
) -> tuple[bytes, Headers]:
    """What stands before the body, and the headers: as they were where the schema is the one that was named, else of
    the same kind with the other schema's id. `bare`: the value had no framing, and could be read."""
    if named or bare:
        return value[: framed.start], headers
    id = schema.ref.id if schema.ref.id is not None else registered.ref.id
    first = framed.ids[0] if framed.ids else None
    if first is not None and first.kind == "fingerprint":
        return b"\xc3\x01" + fingerprint(parsed(registered)).to_bytes(8, "little"), headers
    if id is None:
        raise Unsendable(f"{schema.label}: the registry does not tell its id, so the record cannot name it")
    if first is None or framed.start:
        return b"\x00" + id.to_bytes(4, "big"), headers
    return b"", _headers_naming(first, headers, id)


def _headers_naming(first: SchemaId, headers: Headers, id: int) -> Headers:
    if first.kind in ("id", "guid"):
        stated = b"\x00" + id.to_bytes(4, "big")
        return tuple((name, stated if name.lower() == VALUE_SCHEMA_ID else value) for name, value in headers)
    kept = [one for one in headers if one[0].lower() not in (APICURIO_GLOBAL_ID, APICURIO_CONTENT_ID)]
    return (*kept, ("apicurio.value.contentId", id.to_bytes(8, "big")))
