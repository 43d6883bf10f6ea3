"""Encodes rejections as OTLP log records (`opentelemetry.proto.logs.v1.LogRecord`) with their trace.

Fields (logs.proto): 1 time, 2 severity number, 3 severity text, 5 body, 6 attributes, 8 flags, 9 trace_id, 10 span_id,
11 observed time, 12 event_name.
"""

from __future__ import annotations

from exporters import semantic_conventions as names
from exporters.batch_queue import BatchQueue
from exporters.otlp.protobuf_writer import utf8, write_attributes, write_field
from exporters.semantic_conventions import Spelling, names_for
from exporters.tracing.span_mapper import SpanMapper, Value, rejection_attributes, span_times
from sidecar.domain.model import Event
from sidecar.domain.redaction import Redactor

ERROR = b"\x10\x11" + write_field(3, b"ERROR")
EVENT_NAME = write_field(12, b"tracecar.rejection")


class RejectionLogExporter:
    """Sends a log record for every rejection (`sidecar.domain.ports.exporter.Destination`)."""

    name = "otlp.logs"

    def __init__(
        self, outbox: BatchQueue, mapper: SpanMapper, spelling: Spelling, redactor: Redactor | None = None
    ) -> None:
        self.outbox, self._mapper, self._spelling = outbox, mapper, spelling
        self._redactor = redactor if redactor is not None and redactor.active else None

    def record_rejection(self, event: Event, trace_id: int | None) -> None:
        """Queue the log record of a rejected event. `trace_id`: trace of its span."""
        if self.outbox.full:
            self.outbox.drop(1)
        else:
            self.outbox.put([self._encode(event, trace_id)])

    def dead_lettered(self, event: Event, trace_id: int | None, group: str, id: str) -> None:
        """Queue the log record of an event that failed later in a consumer group. `id`: id of its dead letter."""
        if self.outbox.full:
            self.outbox.drop(1)
        else:
            self.outbox.put([self._encode(event, trace_id, (group, id))])

    def _encode(self, event: Event, trace_id: int | None, later: tuple[str, str] | None = None) -> bytes:
        """Encode a log record as field 2 of a `ScopeLogs`. `later`: the group that failed, and the dead letter's id."""
        shown = event if self._redactor is None else self._redactor.event(event)
        rejection = shown.rejection
        assert rejection is not None
        at, when = str(event.position), span_times(event)[1]
        fields: dict[str, Value] = {names.POSITION: at, **dict(self._mapper.place(event.position).attributes)}
        fields |= dict(rejection_attributes(shown)) | dict(self._mapper.dead_letter(shown) or ())
        has_position = True
        if later is not None:
            fields[names.GROUP], fields[names.DEAD_LETTER_ID] = later
            when = max(0, event.observed_at) * 1000
            has_position = later[1].endswith(f"@{at}")
            if not has_position:  # the service handed over the record itself
                at = event.position.stream
                fields = {
                    name: value for name, value in fields.items() if name not in (names.POSITION, names.PARTITION)
                }
        for name, value in ((names.MESSAGE_ID, shown.event_id), (names.EVENT_TYPE, shown.type)):
            if value is not None:
                fields[name] = value
        parts = [
            b"\x09" + when.to_bytes(8, "little"),
            b"\x59" + (max(0, event.observed_at) * 1000).to_bytes(8, "little"),
            ERROR,
            write_field(5, write_field(1, utf8(f"{at} rejected: {rejection.code}: {rejection.message}"))),
            write_attributes(
                [(each, value) for name, value in fields.items() for each in names_for(self._spelling, name)], 6
            ),
            EVENT_NAME,
        ]
        if trace_id is not None:
            parts.append(write_field(9, trace_id.to_bytes(16, "big")))
            if has_position:
                parts.append(write_field(10, self._mapper.span_id_at(event.position).to_bytes(8, "big")))
        return write_field(2, b"".join(parts))

    @property
    def trouble(self) -> str | None:
        """Reason why the collector currently accepts nothing, or None."""
        return self.outbox.trouble

    def counts(self) -> tuple[int, int, int]:
        """Return the numbers of sent, dropped and failed log records."""
        return self.outbox.sent, self.outbox.dropped, self.outbox.failed
