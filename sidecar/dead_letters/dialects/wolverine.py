"""Wolverine (.NET): headers `exception-*`, `failed-at` (ms) and lately `original-*`, in UTF-8.

See `DeadLetterQueueConstants`. The names are plain ones, so an exception type with a time or a stack trace is required.
"""

from __future__ import annotations

import re

from sidecar.dead_letters.dialects.dialect import Dialect
from sidecar.dead_letters.dialects.foreign_letter import FailureHeaders, HeaderValues, build_letter
from sidecar.domain.model import DeadLetter, Record, RootCause
from sidecar.domain.stream_names import StreamNames

_MARKERS = ("exception-type",)
_OWN = frozenset(
    [f"exception-{name}" for name in ("type", "message", "stack")]
    + [f"original-{name}" for name in ("destination", "partition", "offset")]
    + ["failed-at"]
)
_TOPIC = re.compile(r"[^:/]+://topic/([^/]+)")


def _read(record: Record, naming: StreamNames) -> DeadLetter | None:
    values = HeaderValues(record.headers)
    if not values.all("exception-type") or not values.has_any(("failed-at", "exception-stack")):
        return None
    destination = _TOPIC.fullmatch(values.text("original-destination") or "")
    failed_at = values.number("failed-at")
    exception, message = values.text("exception-type"), values.text("exception-message")
    failure = FailureHeaders(
        stream=destination[1] if destination else None,
        partition=values.number("original-partition", 4),
        offset=values.number("original-offset"),
        exception=exception,
        message=message,
        failed_at=(record.timestamp if failed_at is None else failed_at) * 1000,
        stacktrace=values.stacktrace("exception-stack"),
        root_cause=RootCause(exception, message) if exception else None,
    )
    return build_letter(record, naming, "wolverine", failure, _OWN.__contains__)


DIALECT = Dialect(
    name="wolverine",
    framework="Wolverine",
    read=_read,
    markers=_MARKERS,
    streams=("wolverine-dead-letter-queue",),
)
