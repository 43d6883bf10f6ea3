"""Edits of messages that a framework wraps into the fields of a Redis entry (`sidecar.decoding.envelope.transport`)."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from sidecar.decoding.envelope.transport import find_binary_body, unwrap_message
from sidecar.decoding.payload import json_or_problem
from sidecar.domain.model import Record
from sidecar.domain.transport_fields import FASTSTREAM_FIELD, WATERMILL_BODY_FIELD
from sidecar.replay.edit.json_patch import set_in_text, value_text
from sidecar.replay.models import UnsendableLetter


def unwrap_entry(record: Record) -> Record | None:
    """Return the message inside of an entry's fields; None where none is, or the entry's own value is its body."""
    message = unwrap_message(record) if record.value is None else None
    if message is None or message.record.value is None:
        return None
    wrapped = dict(record.headers).get(FASTSTREAM_FIELD)
    if wrapped is not None and find_binary_body(wrapped) is None and not _is_text_message(wrapped):
        return replace(message.record, value=value_text(wrapped, ("data",)))  # as it is written there
    return message.record


def rewrap_entry(record: Record, value: bytes) -> Record:
    """Return an entry whose message has another body. The entry has a message (`unwrap_entry`)."""
    fields = dict(record.headers)
    wrapped = fields.get(FASTSTREAM_FIELD)
    if wrapped is None:
        return _replace_field(record, WATERMILL_BODY_FIELD, value)
    body_at = find_binary_body(wrapped)
    if body_at is not None:
        return _replace_field(record, FASTSTREAM_FIELD, wrapped[:body_at] + value)
    if _is_text_message(wrapped):
        try:
            value = msgspec.json.encode(value.decode())
        except UnicodeDecodeError:
            raise UnsendableLetter(f"the message in {FASTSTREAM_FIELD} is text, and the edited body is none") from None
    return _replace_field(record, FASTSTREAM_FIELD, set_in_text(wrapped, ("data",), value))


def _is_text_message(wrapped: bytes) -> bool:
    """Return True if the body of FastStream's JSON message is a text, and no JSON value itself."""
    return json_or_problem(wrapped)[0]["data"].__class__ is str


def _replace_field(record: Record, name: str, value: bytes) -> Record:
    """Replace the last field of a name: it is the one that counts."""
    last = max(index for index, header in enumerate(record.headers) if header[0] == name)
    return replace(record, headers=(*record.headers[:last], (name, value), *record.headers[last + 1 :]))
