"""Rejections as OTLP log records (`opentelemetry.proto.logs.v1.LogRecord`) with the trace they belong to.

Fields (logs.proto): 1 time, 2 severity number, 3 severity text, 5 body, 6 attributes, 8 flags, 9 trace_id, 10 span_id,
11 observed time, 12 event_name.
"""

from __future__ import annotations

from exporters import conventions as names
from exporters.conventions import Spelling, spelled
from exporters.otlp_wire import attributes, delimited, utf8
from exporters.outbox import Outbox
from exporters.spans import Mapper, Value, rejection_attributes, times
from sidecar.model import Event
from sidecar.redaction import Redactor

ERROR = b"\x10\x11" + delimited(3, b"ERROR")
EVENT_NAME = delimited(12, b"tracecar.rejection")


class RejectionLogs:
    """Sends a log record for every rejection (`sidecar.ports.Destination`)."""

    name = "otlp.logs"

    def __init__(self, outbox: Outbox, mapper: Mapper, spelling: Spelling, redactor: Redactor | None = None) -> None:
        self.outbox, self._mapper, self._spelling = outbox, mapper, spelling
        self._redactor = redactor if redactor is not None and redactor.active else None

    def rejected(self, event: Event, trace_id: int | None) -> None:
        """Take a rejected event, and the trace that its span is in."""
        if self.outbox.full:
            self.outbox.drop(1)
        else:
            self.outbox.put([self._record(event, trace_id)])

    def _record(self, event: Event, trace_id: int | None) -> bytes:
        """As field 2 of a `ScopeLogs`."""
        shown = event if self._redactor is None else self._redactor.event(event)
        rejection = shown.rejection
        assert rejection is not None
        place = self._mapper.place(event.position)
        found: list[tuple[str, Value]] = [(names.POSITION, str(event.position)), *place.attributes]
        found += rejection_attributes(shown)
        found += self._mapper.dead_letter(shown) or ()
        for name, value in ((names.MESSAGE_ID, shown.event_id), (names.EVENT_TYPE, shown.type)):
            if value is not None:
                found.append((name, value))
        parts = [
            b"\x09" + times(event)[1].to_bytes(8, "little"),
            b"\x59" + (max(0, event.observed_at) * 1000).to_bytes(8, "little"),
            ERROR,
            delimited(5, delimited(1, utf8(f"{event.position} rejected: {rejection.code}: {rejection.message}"))),
            attributes([(each, value) for name, value in found for each in spelled(self._spelling, name)], 6),
            EVENT_NAME,
        ]
        if trace_id is not None:
            span_id = self._mapper.span_id_at(event.position)
            parts += [delimited(9, trace_id.to_bytes(16, "big")), delimited(10, span_id.to_bytes(8, "big"))]
        return delimited(2, b"".join(parts))

    @property
    def trouble(self) -> str | None:
        return self.outbox.trouble

    def counts(self) -> tuple[int, int, int]:
        return self.outbox.sent, self.outbox.dropped, self.outbox.failed
