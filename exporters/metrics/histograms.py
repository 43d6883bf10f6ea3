"""Histograms of many measurements: kept here in plain lists, handed to the SDK's data classes when somebody collects.

The SDK's own `record` takes five microseconds, too much for what happens with every event; counting into a bucket takes
half of one. Every bucket remembers its latest measurement with a trace, as its exemplar.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from time import time_ns

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0)
"""Seconds."""
MOST_SERIES = 500
"""Sets of labels of one histogram; what comes beyond is counted under `OTHER`."""
OTHER = "_other"

Labels = tuple[str, ...]
Exemplar = tuple[float, int, int, int]
"""Seconds, when (nanoseconds since 1970), trace id, span id."""


class HistogramSeries:
    """One set of labels."""

    __slots__ = ("count", "counts", "exemplars", "highest", "lowest", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.count, self.total = 0, 0.0
        self.lowest, self.highest = float("inf"), float("-inf")
        self.exemplars: dict[int, Exemplar] = {}

    def add(self, seconds: float, trace_id: int | None, span_id: int) -> None:
        bucket = bisect_left(BOUNDS, seconds)
        self.counts[bucket] += 1
        self.count += 1
        self.total += seconds
        if seconds < self.lowest:
            self.lowest = seconds
        if seconds > self.highest:
            self.highest = seconds
        if trace_id is not None:
            self.exemplars[bucket] = (seconds, time_ns(), trace_id, span_id)


class LabeledHistogram:
    """A histogram by labels, whose names `names` gives."""

    def __init__(self, name: str, description: str, names: Labels) -> None:
        self.name, self.description, self.names = name, description, names
        self._series: dict[Labels, HistogramSeries] = {}

    def add(self, labels: Labels, seconds: float, trace_id: int | None = None, span_id: int = 0) -> None:
        """Count one measurement. Below zero, which clocks that disagree make, it is zero."""
        series = self._series.get(labels)
        if series is None:
            if len(self._series) >= MOST_SERIES:
                labels = (OTHER,) * len(self.names)
            series = self._series.setdefault(labels, HistogramSeries())
        series.add(max(0.0, seconds), trace_id, span_id)

    @property
    def series(self) -> Mapping[Labels, HistogramSeries]:
        return self._series
