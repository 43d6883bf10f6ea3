"""Watermill's poison queue (Go): `reason_poisoned`, `topic_poisoned`, `handler_poisoned`, `subscriber_poisoned`.

On Kafka they are headers. On Redis they are in the message's metadata, a MessagePack map in the field `metadata`. The
original partition, offset and timestamp are not kept.
"""

from __future__ import annotations

from msgspec.structs import replace

from sidecar.dead_letters.dialects.dialect import Dialect
from sidecar.dead_letters.dialects.foreign_letter import FailureHeaders, HeaderValues, build_letter
from sidecar.decoding.envelope.transport import read_watermill_metadata, replace_watermill_metadata
from sidecar.domain.model import DeadLetter, Record
from sidecar.domain.stream_names import StreamNames
from sidecar.domain.transport_fields import WATERMILL_ID_FIELD

_REASON = "reason_poisoned"
_OWN = frozenset((_REASON, "topic_poisoned", "handler_poisoned", "subscriber_poisoned"))
_MARKERS = (_REASON, WATERMILL_ID_FIELD)


def _read(record: Record, naming: StreamNames) -> DeadLetter | None:
    metadata = read_watermill_metadata(record)
    values = HeaderValues(record.headers if metadata is None else metadata)
    if not values.has_any((_REASON,)):
        return None
    handler, reason = values.text("handler_poisoned"), values.text(_REASON) or "no reason is given"
    failure = FailureHeaders(
        stream=values.text("topic_poisoned"),
        message=f"{reason} (in handler {handler})" if handler else reason,
        failed_at=record.timestamp * 1000,
    )
    letter = build_letter(record, naming, "watermill", failure, _OWN.__contains__)
    if metadata is not None and letter.record is not None:
        own = tuple([header for header in metadata if header[0] not in _OWN])
        letter.record = replace(letter.record, headers=replace_watermill_metadata(record.headers, own))
    return letter


DIALECT = Dialect(name="watermill", framework="Watermill", read=_read, markers=_MARKERS)
