"""Wolverine (.NET): `exception-*`, `failed-at` (ms) and, of late, `original-*`, all in UTF-8
(`DeadLetterQueueConstants`). The names are plain ones, so that a type and a time or a stack must be there."""

from __future__ import annotations

import re

from sidecar.dead_letters.dialects.foreign_reader import FailureHeaders, HeaderValues, letter
from sidecar.domain.model import DeadLetter, Record
from sidecar.domain.stream_names import StreamNames

MARKS = ("exception-type",)
_OWN = frozenset(
    [f"exception-{what}" for what in ("type", "message", "stack")]
    + [f"original-{what}" for what in ("destination", "partition", "offset")]
    + ["failed-at"]
)
_TOPIC = re.compile(r"[^:/]+://topic/([^/]+)")


def read(record: Record, naming: StreamNames) -> DeadLetter | None:
    values = HeaderValues(record.headers)
    if not values.all("exception-type") or not (values.all("failed-at") or values.all("exception-stack")):
        return None
    destination = _TOPIC.fullmatch(values.text("original-destination") or "")
    failed_at = values.number("failed-at")
    told = FailureHeaders(
        stream=destination[1] if destination else None,
        partition=values.number("original-partition", 4),
        offset=values.number("original-offset"),
        exception=values.text("exception-type"),
        message=values.text("exception-message"),
        failed_at=(record.timestamp if failed_at is None else failed_at) * 1000,
    )
    return letter(record, naming, "wolverine", told, _OWN.__contains__)
