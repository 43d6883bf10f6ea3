"""Confluent's data-contract rules with the action `DLQ`: headers `__rule.*` in UTF-8 (`DlqAction`).

A serializer or deserializer writes the dead letter, so there is neither a partition nor an offset, and the value is
the message that the rule saw.
"""

from __future__ import annotations

from sidecar.dead_letters.dialects.dialect import Dialect
from sidecar.dead_letters.dialects.foreign_letter import FailureHeaders, HeaderValues, build_letter
from sidecar.domain.model import DeadLetter, Record
from sidecar.domain.stream_names import StreamNames

_PREFIX = "__rule."
_MARKERS = ("__rule.name", "__rule.exception")


def _read(record: Record, naming: StreamNames) -> DeadLetter | None:
    values = HeaderValues(record.headers)
    if not values.has_any(_MARKERS):
        return None
    rule, mode = values.text(f"{_PREFIX}name"), values.text(f"{_PREFIX}mode")
    message = values.text(f"{_PREFIX}exception") or "the rule failed"
    where = " ".join(part for part in ("rule", rule, mode) if part)
    failure = FailureHeaders(
        stream=values.text(f"{_PREFIX}topic"),
        message=f"{message} ({where})",
        failed_at=record.timestamp * 1000,
    )
    return build_letter(record, naming, "confluent-rules", failure, _is_own)


def _is_own(name: str) -> bool:
    return name.startswith(_PREFIX)


DIALECT = Dialect(name="confluent-rules", framework="Confluent data contract rules", read=_read, markers=_MARKERS)
