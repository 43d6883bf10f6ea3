"""Editor of a record's body before it is sent.

The schema is the one that the record names or with which it was read, if it is registered for the target stream; else
the latest of that stream. An Avro body is edited as an encoded datum, JSON in its text, a flat Redis entry field by
field: values that are not edited keep their bytes. Finally the decoder validates the record as if it were on its target
stream. A record that it would reject is not sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import UNSET, Struct
from msgspec.structs import replace

from sidecar.dead_letters.ledger_entries import PathChange
from sidecar.decoding.envelope import cloudevents
from sidecar.decoding.formats.schema_format import RetypedValue, ValueEdit
from sidecar.decoding.payload import flat_body, json_or_problem
from sidecar.decoding.schema_cache import SchemaCache
from sidecar.decoding.wire_format import BOM, HEADERS, WireForm, WireFrame, bare_frame, frame
from sidecar.domain.broker_traits import traits_of
from sidecar.domain.errors import Outage
from sidecar.domain.json_safe import encode_json
from sidecar.domain.model import Decoded, Headers, Record, Rejection
from sidecar.domain.ports.record_decoder import RecordDecoder
from sidecar.domain.position import Position
from sidecar.domain.redaction import Redactor
from sidecar.replay.edit.diff import list_changes
from sidecar.replay.edit.encoder import BodyEncoder, WriterSchema, name_schema_in_headers, rebuild_frame
from sidecar.replay.edit.json_patch import remove_from_text, set_in_text
from sidecar.replay.edit.paths import parse_edit_path, remove_value, set_value
from sidecar.replay.edit.wrapped_message import rewrap_entry, unwrap_entry
from sidecar.replay.models import BodyEdit, UnsendableLetter
from sidecar.replay.validation import describe_registry_trouble

NO_BODY = "the body could not be decoded, so no path in it can be set: give a whole new body (--edit)"


class AvroEditResult(Struct, frozen=True):
    """A record after an edit."""

    value: bytes | None
    headers: Headers
    changes: tuple[PathChange, ...]
    """Changes, in a form that may be shown. Empty: the record is unchanged."""


class _ChangedRecord(Struct, frozen=True):
    """A record before and after, as bytes and as bodies."""

    value: bytes | None
    headers: Headers
    before: Any
    after: Any
    same: bool
    """The body and how it is framed did not change."""
    retyped: tuple[RetypedValue, ...] = ()
    """Values that are of another branch of their union."""


class RecordEditor:
    """Edits bodies. Implements `sidecar.replay.step_planner.BodyEditor`."""

    def __init__(self, payloads: RecordDecoder, catalog: SchemaCache, redactor: Redactor) -> None:
        self._payloads, self._catalog, self._redactor = payloads, catalog, redactor
        self._rewriting = BodyEncoder(catalog, redactor)

    async def __call__(self, record: Record, edit: BodyEdit, target: str) -> AvroEditResult:
        """Edit a record for a target stream. Raises UnsendableLetter with the next step, Outage and Refused."""
        there = replace(record, position=Position(record.position.system, target, record.position.partition, 0))
        try:
            changed = await self._edit_record(there, edit)
        except RecursionError:
            raise UnsendableLetter("the body, or its new value, is nested too deeply for an edit") from None
        if changed.same and changed.headers == record.headers:
            return AvroEditResult(record.value, record.headers, ())
        (judged,) = await self._payloads.open([replace(there, value=changed.value, headers=changed.headers)])
        if judged.event.rejection is not None:
            raise UnsendableLetter(f"the edited event would be rejected: {self._describe(judged.event.rejection)}")
        trouble = describe_registry_trouble(self._catalog) if judged.event.unchecked else None
        if trouble is not None:
            raise Outage(f"the edited event cannot be checked now, so it is not sent: {trouble}")
        differences = await asyncio.to_thread(self._differences, record, changed)
        return AvroEditResult(changed.value, changed.headers, (*differences, *self._of_headers(record, changed)))

    def _differences(self, record: Record, changed: _ChangedRecord) -> list[PathChange]:
        """List the changes of the body, as they may be shown: of values, and of the types of values."""
        before, after = (
            self._redactor.body(body, flat=record.value is None) for body in (changed.before, changed.after)
        )
        changes = list(list_changes(changed.before, changed.after, before, after))
        for value in changed.retyped:
            if not self._redactor.touches(value.path):
                changes.append(PathChange(f"{value.path or 'the body'} (type)", value.before, value.after))
        return changes

    def _describe(self, rejection: Rejection) -> str:
        shown = self._redactor.rejection(rejection)
        return f"{shown.code}: {shown.message}"

    def _of_headers(self, record: Record, changed: _ChangedRecord) -> list[PathChange]:
        """Return the changes of header values, such as of the schema id."""
        if record.value is None:
            return []
        before, after = dict(record.headers), dict(changed.headers)
        return [
            PathChange(f"header:{name}", _hex(before.get(name)), _hex(after.get(name)))
            for name in dict.fromkeys((*before, *after))
            if before.get(name) != after.get(name)
        ]

    async def _edit_record(self, record: Record, edit: BodyEdit) -> _ChangedRecord:
        message = unwrap_entry(record)
        if message is not None:
            changed = await self._edit_record(message, edit)
            if changed.headers != message.headers or changed.value is None:
                raise UnsendableLetter("the body could be written only with another schema id in the message's headers")
            whole = rewrap_entry(record, changed.value)
            return replace(changed, value=None, headers=whole.headers)
        value = record.value
        if value is None:
            return await asyncio.to_thread(_edit_flat_entry, record, edit, self._redactor)
        stated = {name.lower(): value for name, value in record.headers if value and name.lower() in HEADERS}
        framed = frame(value, stated)
        if isinstance(framed, Rejection):
            # These headers name no readable schema: judge the record without them.
            kept = [header for header in record.headers if header[0].lower() not in HEADERS or not header[1]]
            record, framed = replace(record, headers=tuple(kept)), bare_frame(value)
        if framed.form is WireForm.JSON:
            return await self._json(record, value, framed, edit)
        return await self._by_schema(record, value, framed, edit)

    async def _json(self, record: Record, value: bytes, framed: WireFrame, edit: BodyEdit) -> _ChangedRecord:
        start = framed.start
        before = await asyncio.to_thread(_decode_json, value[start:])
        text, after = await asyncio.to_thread(_edit_json, value[start:], before, edit, self._redactor)
        if cloudevents.has_two_data(after) and not cloudevents.has_two_data(before):
            raise UnsendableLetter("a CloudEvent has either data or data_base64: edit data_base64, or remove it too")
        headers = record.headers
        if framed.ids:
            (decoded,) = await self._payloads.open([record])
            writing = await self._rewriting.schema(record.position.stream, framed, decoded)
            if writing is not None and not writing.named:
                headers = name_schema_in_headers(framed.ids[0], headers, writing)
        same = before is not None and _is_same_json(before, after)
        return _ChangedRecord(value[:start] + text, headers, before, after, same)

    async def _by_schema(self, record: Record, value: bytes, framed: WireFrame, edit: BodyEdit) -> _ChangedRecord:
        (decoded,) = await self._payloads.open([record])
        before = decoded.body
        edits = _value_edits(edit)
        if framed.form is WireForm.OPAQUE:
            edited = await self._rewriting.edit_self_described(value, edits)
            if edited is not None:
                changed = replace(record, value=edited.data)
                (decoded_after,) = await self._payloads.open([changed])
                same = edited.data == value
                return _ChangedRecord(edited.data, record.headers, before, decoded_after.body, same, edited.retyped)
        writing = await self._rewriting.schema(record.position.stream, framed, decoded)
        if writing is not None and before is not None and writing.read_by is writing.compiled:
            return await self._datum(record, value, framed, decoded, writing, edits)
        after = await asyncio.to_thread(_apply_edit, before, edit, self._redactor)
        if writing is None:
            if framed.form is WireForm.OPAQUE and isinstance(after, dict | list):
                # Nothing says what the bytes were; who writes a whole new body as JSON says what they shall be.
                return _ChangedRecord(_encode_json(after), record.headers, before, after, same=False)
            raise UnsendableLetter("no schema is registered for the edited body: register one")
        if before is None or writing.read_by is None:
            body = await self._rewriting.encode(writing, after)
        else:
            body = await self._rewriting.encode_edited(writing, after, value[framed.start :], edits)
        start, headers = rebuild_frame(framed, writing, value, record.headers)
        return _ChangedRecord(start + body, headers, before, after, same=False)

    async def _datum(
        self,
        record: Record,
        value: bytes,
        framed: WireFrame,
        decoded: Decoded,
        writing: WriterSchema,
        edits: Sequence[ValueEdit],
    ) -> _ChangedRecord:
        """Edit an encoded body by the schema that wrote it: values that are not edited keep their bytes."""
        payload = value[framed.start :]
        edited = await self._rewriting.edit(writing, payload, edits)
        start, headers = rebuild_frame(framed, writing, value, record.headers)
        changed = replace(record, value=start + edited.data, headers=headers)
        (after,) = await self._payloads.open([changed])
        same = writing.named and edited.data == payload
        return _ChangedRecord(changed.value, headers, decoded.body, after.body, same, edited.retyped)


def _value_edits(edit: BodyEdit) -> list[ValueEdit]:
    """List the edits of single values. Raises UnsendableLetter for what is no path."""
    if edit.body is not UNSET:
        return [ValueEdit((), edit.body)]
    removed = [ValueEdit(parse_edit_path(path), removed=True) for path in edit.remove]
    return [*removed, *(ValueEdit(parse_edit_path(path), value) for path, value in edit.set.items())]


def _apply_edit(body: Any, edit: BodyEdit, redactor: Redactor) -> Any:
    """Apply an edit to a decoded body. Names below a redacted place are not listed in errors."""
    if edit.body is not UNSET:
        return edit.body
    if body is None:
        raise UnsendableLetter(NO_BODY)
    for text in edit.remove:
        path = parse_edit_path(text)
        try:
            body = remove_value(body, path)
        except UnsendableLetter as error:
            raise _redact_error(error, text, redactor) from None
    for text, value in edit.set.items():
        path = parse_edit_path(text)
        try:
            body = set_value(body, path, value)
        except UnsendableLetter as error:
            raise _redact_error(error, text, redactor) from None
    return body


def _redact_error(error: UnsendableLetter, path: str, redactor: Redactor) -> UnsendableLetter:
    reason = "there is no such path in the body" if redactor.touches(path) else str(error)
    return UnsendableLetter(f"{redactor.path(path)}: {reason}")


def _edit_json(text: bytes, body: Any, edit: BodyEdit, redactor: Redactor) -> tuple[bytes, Any]:
    """Apply an edit to a JSON text. Returns the text and what it says then."""
    after = _apply_edit(body, edit, redactor)
    if edit.body is not UNSET:
        return _encode_json(after), after
    head = len(text) - len(text.removeprefix(BOM))
    start, text = text[:head], text[head:]
    for path in edit.remove:
        text = remove_from_text(text, parse_edit_path(path))
    for path, value in edit.set.items():
        text = set_in_text(text, parse_edit_path(path), _encode_json(value))
    return start + text, after


def _edit_flat_entry(record: Record, edit: BodyEdit, redactor: Redactor) -> _ChangedRecord:
    """Edit a Redis entry without a body field: its fields are its body."""
    if not traits_of(record.position.system).bodyless_entries:
        raise UnsendableLetter("the record has no value (a tombstone): there is nothing to edit")
    before = flat_body(record.headers)
    after = _apply_edit(before, edit, redactor)
    if not isinstance(after, dict) or not after:
        raise UnsendableLetter("the entry's fields are its body: expected an object of fields")
    # Of a repeated name the last field counts, so that one is edited; the others stay, unless the name is removed.
    shown = [next(iter(flat_body(((name, None),)))) for name, _ in record.headers]
    last = {name: index for index, name in enumerate(shown)}
    fields: list[tuple[str, bytes | None]] = []
    for index, (name, value) in enumerate(record.headers):
        field = shown[index]
        if field in after:
            is_edited = last[field] == index and after[field] != before[field]
            fields.append((name, _encode_field(after[field]) if is_edited else value))
    fields += [(name, _encode_field(value)) for name, value in after.items() if name not in last]
    return _ChangedRecord(None, tuple(fields), before, after, same=tuple(fields) == record.headers)


def _encode_field(value: Any) -> bytes:
    """Encode a field of a flat entry: text as it is, anything else as JSON."""
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else _encode_json(value)


def _decode_json(value: bytes) -> Any:
    """Decode JSON; return None if it is invalid."""
    try:
        return json_or_problem(value.removeprefix(BOM))[0]
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None


def _encode_json(value: Any) -> bytes:
    return encode_json(value)


def _is_same_json(before: Any, after: Any) -> bool:
    """Compare two values as JSON, where `1` and `true` differ, unlike in Python."""
    return encode_json(before) == encode_json(after)


def _hex(value: bytes | None) -> str | None:
    return None if value is None else f"0x{value[:20].hex()}"
