"""Rejections as OTLP log records (`opentelemetry.proto.logs.v1.LogRecord`) with the trace they belong to.

Fields (logs.proto): 1 time, 2 severity number, 3 severity text, 5 body, 6 attributes, 8 flags, 9 trace_id, 10 span_id,
11 observed time, 12 event_name.
"""

from __future__ import annotations

from exporters import semantic_conventions as names
from exporters.batch_queue import BatchQueue
from exporters.otlp.protobuf_writer import attributes, delimited, utf8
from exporters.semantic_conventions import Spelling, spelled
from exporters.tracing.span_mapper import SpanMapper, Value, rejection_attributes, times
from sidecar.domain.model import Event
from sidecar.domain.redaction import Redactor

ERROR = b"\x10\x11" + delimited(3, b"ERROR")
EVENT_NAME = delimited(12, b"tracecar.rejection")


class RejectionLogExporter:
    """Sends a log record for every rejection (`sidecar.domain.ports.exporter.Destination`)."""

    name = "otlp.logs"

    def __init__(
        self, outbox: BatchQueue, mapper: SpanMapper, spelling: Spelling, redactor: Redactor | None = None
    ) -> None:
        self.outbox, self._mapper, self._spelling = outbox, mapper, spelling
        self._redactor = redactor if redactor is not None and redactor.active else None

    def rejected(self, event: Event, trace_id: int | None) -> None:
        """Take a rejected event, and the trace that its span is in."""
        if self.outbox.full:
            self.outbox.drop(1)
        else:
            self.outbox.put([self._record(event, trace_id)])

    def dead_lettered(self, event: Event, trace_id: int | None, group: str, id: str) -> None:
        """Take an event that failed later, at a group that uses it, and whose dead letter has this id."""
        if self.outbox.full:
            self.outbox.drop(1)
        else:
            self.outbox.put([self._record(event, trace_id, (group, id))])

    def _record(self, event: Event, trace_id: int | None, later: tuple[str, str] | None = None) -> bytes:
        """As field 2 of a `ScopeLogs`. `later`: the group that it failed at, and its dead letter's id."""
        shown = event if self._redactor is None else self._redactor.event(event)
        rejection = shown.rejection
        assert rejection is not None
        at, when = str(event.position), times(event)[1]
        found: dict[str, Value] = {names.POSITION: at, **dict(self._mapper.place(event.position).attributes)}
        found |= dict(rejection_attributes(shown)) | dict(self._mapper.dead_letter(shown) or ())
        lies = True
        if later is not None:
            found[names.GROUP], found[names.DEAD_LETTER_ID] = later
            when = max(0, event.observed_at) * 1000
            lies = later[1].endswith(f"@{at}")
            if not lies:  # the service handed over the record itself
                at = event.position.stream
                found = {name: value for name, value in found.items() if name not in (names.POSITION, names.PARTITION)}
        for name, value in ((names.MESSAGE_ID, shown.event_id), (names.EVENT_TYPE, shown.type)):
            if value is not None:
                found[name] = value
        parts = [
            b"\x09" + when.to_bytes(8, "little"),
            b"\x59" + (max(0, event.observed_at) * 1000).to_bytes(8, "little"),
            ERROR,
            delimited(5, delimited(1, utf8(f"{at} rejected: {rejection.code}: {rejection.message}"))),
            attributes([(each, value) for name, value in found.items() for each in spelled(self._spelling, name)], 6),
            EVENT_NAME,
        ]
        if trace_id is not None:
            parts.append(delimited(9, trace_id.to_bytes(16, "big")))
            if lies:
                parts.append(delimited(10, self._mapper.span_id_at(event.position).to_bytes(8, "big")))
        return delimited(2, b"".join(parts))

    @property
    def trouble(self) -> str | None:
        return self.outbox.trouble

    def counts(self) -> tuple[int, int, int]:
        return self.outbox.sent, self.outbox.dropped, self.outbox.failed
