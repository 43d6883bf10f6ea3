"""Metric instruments of the history that a sidecar writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from sidecar.domain.ports.metrics import Instrument, Point
from sidecar.pipeline.history_recorder import HistoryCounters
from sidecar.runtime.history_wiring import HistoryRecording

_COUNTERS: tuple[tuple[str, str, Callable[[HistoryCounters], int]], ...] = (
    ("tracecar.history_written", "Events that were written to the history.", lambda counters: counters.written),
    (
        "tracecar.history_missed",
        "Events that did not fit into the history's queue; they are read again from the broker.",
        lambda counters: counters.missed,
    ),
    (
        "tracecar.history_filled",
        "Events that were read again from the broker for the history.",
        lambda counters: counters.filled,
    ),
    (
        "tracecar.history_lost",
        "Offsets that the broker no longer had when they were to be read for the history.",
        lambda counters: counters.lost,
    ),
)


class HistoryMetrics:
    """Instruments of the writing side of the history; none without one."""

    def __init__(self, recording: HistoryRecording | None) -> None:
        self._recording = recording

    async def refresh(self) -> None:
        """Do nothing: all values are in memory."""

    def instruments(self) -> Sequence[Instrument]:
        """Return the instruments."""
        recording = self._recording
        if recording is None:
            return ()
        recorder, writer = recording.recorder, recording.writer

        def read(value: Callable[[HistoryCounters], int]) -> Iterable[Point]:
            return [(value(recorder.counters), {})]

        return (
            *(Instrument(name, "counter", about, partial(read, value)) for name, about, value in _COUNTERS),
            Instrument(
                "tracecar.history_queued_bytes",
                "gauge",
                "Bytes of events that wait to be written to the history.",
                lambda: [(recorder.queued_bytes + writer.staged_bytes, {})],
            ),
            Instrument(
                "tracecar.history_failing",
                "gauge",
                "1 if the last attempt to write the history failed.",
                lambda: [(int(writer.problem is not None), {})],
            ),
        )
