"""Histograms for measurements of every event, kept in plain lists and converted to the SDK's classes on collection.

The SDK's own `record` takes five microseconds, too much for every event; counting into a bucket takes half a
microsecond. Every bucket keeps its latest measurement with a trace as exemplar.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from time import time_ns

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0)
"""Bucket bounds in seconds."""
MAX_SERIES = 500
"""Label sets of a histogram; further ones are counted under `OTHER`."""
OTHER = "_other"

Labels = tuple[str, ...]
Exemplar = tuple[float, int, int, int]
"""Value in seconds, time in nanoseconds since 1970, trace id, span id."""


class HistogramSeries:
    """Counts of one label set."""

    __slots__ = ("count", "counts", "exemplars", "highest", "lowest", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.count, self.total = 0, 0.0
        self.lowest, self.highest = float("inf"), float("-inf")
        self.exemplars: dict[int, Exemplar] = {}

    def add(self, seconds: float, trace_id: int | None, span_id: int) -> None:
        """Count a measurement."""
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
    """A histogram with label sets. `names`: label names."""

    def __init__(self, name: str, description: str, names: Labels) -> None:
        self.name, self.description, self.names = name, description, names
        self._series: dict[Labels, HistogramSeries] = {}

    def add(self, labels: Labels, seconds: float, trace_id: int | None = None, span_id: int = 0) -> None:
        """Count a measurement. Negative values, which result from clock skew, count as zero."""
        series = self._series.get(labels)
        if series is None:
            if len(self._series) >= MAX_SERIES:
                labels = (OTHER,) * len(self.names)
            series = self._series.setdefault(labels, HistogramSeries())
        series.add(max(0.0, seconds), trace_id, span_id)

    @property
    def series(self) -> Mapping[Labels, HistogramSeries]:
        """The counts by label set."""
        return self._series
