"""Encoder of a body with a registered schema, which the record then names in the way in which it named its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from sidecar.decoding.formats.avro.avro_format import parse_registered
from sidecar.decoding.formats.avro.fingerprint import fingerprint
from sidecar.decoding.formats.schema_format import CompiledSchema, EditedPayload, UnusableSchema, ValueEdit
from sidecar.decoding.payload import resolve
from sidecar.decoding.schema_cache import SchemaCache
from sidecar.decoding.wire_format import (
    APICURIO_CONTENT_ID,
    APICURIO_GLOBAL_ID,
    VALUE_SCHEMA_ID,
    SchemaId,
    WireFrame,
)
from sidecar.domain.json_path import PathFault
from sidecar.domain.model import Decoded, Headers, SchemaRef
from sidecar.domain.ports.registry import RegisteredSchema
from sidecar.domain.redaction import Redactor
from sidecar.replay.models import UnsendableLetter


class WriterSchema(Struct, frozen=True):
    """The schema with which a body is written."""

    registered: RegisteredSchema
    compiled: CompiledSchema
    ref: SchemaRef
    named: bool
    """True if the record names this schema already, or was read with it without naming any."""
    read_by: CompiledSchema | None = None
    """The schema with which the record was read, if its format can be edited in place, as Avro can."""

    @property
    def label(self) -> str:
        ref = self.ref
        return f"schema id {ref.id}" if ref.subject is None else f"{ref.subject} v{ref.version}"


class BodyEncoder:
    """Finds schemas, and encodes bodies with them."""

    def __init__(self, catalog: SchemaCache, redactor: Redactor) -> None:
        self._catalog, self._redactor = catalog, redactor

    async def schema(self, stream: str, framed: WireFrame, decoded: Decoded) -> WriterSchema | None:
        """Find the schema for writing a record on `stream`.

        It is the one that the record names, if that is registered for the stream; the one with which it was read, if it
        names none; else the stream's latest. Returns None if nothing is registered. Raises UnsendableLetter, Outage,
        Refused.
        """
        event, read_by = decoded.event, None
        if framed.ids:
            resolved = await self._catalog.look_up(lambda: resolve(self._catalog, stream, framed.ids))
            if resolved is not None and resolved.schema is not None:
                if resolved.rejection is None:
                    return await self._writing(resolved.schema.ref, named=True)
                read_by = resolved.schema.ref
        elif event.schema is not None:
            return await self._writing(event.schema, named=decoded.has_body)
        latest = await self._catalog.look_up(lambda: self._catalog.for_stream(stream, event.type, None))
        if latest is None or latest.schema is None:
            return None
        writing = await self._writing(latest.schema.ref, named=False)
        return writing if read_by is None else replace(writing, read_by=await self._compile(read_by))

    async def _compile(self, ref: SchemaRef) -> CompiledSchema | None:
        registered = await self._catalog.text_of(ref)
        compiled = None if registered is None else self._catalog.compile(registered)
        return None if isinstance(compiled, UnusableSchema) else compiled

    async def _writing(self, ref: SchemaRef, *, named: bool) -> WriterSchema:
        registered = await self._catalog.text_of(ref)
        if registered is None:
            raise UnsendableLetter(
                f"the schema {ref.subject or ref.id} is no longer in the registry: register it again"
            )
        compiled = self._catalog.compile(registered)
        if isinstance(compiled, UnusableSchema):
            label = f"schema id {ref.id}" if ref.subject is None else f"{ref.subject} v{ref.version}"
            raise UnsendableLetter(
                f"{label} cannot be used for encoding: {compiled}; correct the record at its producer"
            )
        return WriterSchema(registered, compiled, ref, named, compiled if named else None)

    async def encode(self, writing: WriterSchema, body: Any) -> bytes:
        """Encode a whole body. Raises UnsendableLetter with the path and what was expected there."""
        try:
            return await asyncio.to_thread(writing.compiled.encode, body)
        except PathFault as fault:
            raise self._unsendable(writing.label, fault) from None

    async def edit(self, writing: WriterSchema, payload: bytes, edits: Sequence[ValueEdit]) -> EditedPayload:
        """Edit an encoded body. Raises UnsendableLetter with the path and what was expected there."""
        try:
            return await asyncio.to_thread(writing.compiled.edit, payload, edits)
        except PathFault as fault:
            raise self._unsendable(writing.label, fault) from None

    async def edit_self_described(self, payload: bytes, edits: Sequence[ValueEdit]) -> EditedPayload | None:
        """Edit a body that carries its own schema. Returns None for any other body. Raises as `edit` does."""
        for schema_format in self._catalog.formats.values():
            try:
                edited = await asyncio.to_thread(schema_format.edit_self_described, payload, edits)
            except PathFault as fault:
                raise self._unsendable("its own schema", fault) from None
            if edited is not None:
                return edited
        return None

    async def encode_edited(
        self, writing: WriterSchema, body: Any, payload: bytes, edits: Sequence[ValueEdit]
    ) -> bytes:
        """Encode an edited body that another schema wrote. Raises UnsendableLetter, as `edit` does."""
        assert writing.read_by is not None
        try:
            return await asyncio.to_thread(writing.compiled.encode_edited, body, payload, writing.read_by, edits)
        except PathFault as fault:
            raise self._unsendable(writing.label, fault) from None

    def _unsendable(self, schema: str, fault: PathFault) -> UnsendableLetter:
        message = self._redactor.message(fault.message, fault.path, fault.code)
        return UnsendableLetter(f"{self._redactor.path(fault.path) or 'the body'}: {message} ({schema})")


def rebuild_frame(framed: WireFrame, writing: WriterSchema, value: bytes, headers: Headers) -> tuple[bytes, Headers]:
    """Return the bytes before the body, and the headers, for the schema that the body is written with.

    If the record named this schema already, they stay unchanged; else they name it in the same way as the previous one.
    Raises UnsendableLetter.
    """
    if writing.named:
        return value[: framed.start], headers
    first = framed.ids[0] if framed.ids else None
    if first is not None and first.kind == "fingerprint":
        return b"\xc3\x01" + fingerprint(parse_registered(writing.registered)).to_bytes(8, "little"), headers
    if first is None or framed.start:
        return b"\x00" + _schema_id(writing).to_bytes(4, "big"), headers
    return b"", name_schema_in_headers(first, headers, writing)


def name_schema_in_headers(first: SchemaId, headers: Headers, writing: WriterSchema) -> Headers:
    """Return the headers with another schema's id, in the same kind of header as the `first` name."""
    if first.kind in ("id", "guid"):
        stated = b"\x00" + _schema_id(writing).to_bytes(4, "big")
        return tuple([(name, stated if name.lower() == VALUE_SCHEMA_ID else value) for name, value in headers])
    kept = [header for header in headers if header[0].lower() not in (APICURIO_GLOBAL_ID, APICURIO_CONTENT_ID)]
    return (*kept, ("apicurio.value.contentId", _schema_id(writing).to_bytes(8, "big")))


def _schema_id(writing: WriterSchema) -> int:
    id = writing.ref.id if writing.ref.id is not None else writing.registered.ref.id
    if id is None:
        raise UnsendableLetter(f"{writing.label}: the registry does not tell its id, so the record cannot name it")
    return id
