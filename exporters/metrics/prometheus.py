"""What the SDK collected as Prometheus reads it: its text format, and OpenMetrics, which has exemplars too.

Names and units as OpenTelemetry's specification of compatibility with Prometheus says: dots become underscores, seconds
are a suffix, counters end in `_total`. Timestamps are the scraper's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import HistogramDataPoint, Metric

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_NO_NAME = re.compile(r"[^a-zA-Z0-9_:]")


def wants_open_metrics(accept: str) -> bool:
    """Whether a scraper takes OpenMetrics."""
    return "application/openmetrics-text" in accept


def render(metrics: Iterable[Metric], *, open_metrics: bool) -> str:
    """The exposition of these metrics."""
    lines = [line for metric in metrics for line in _metric(metric, open_metrics)]
    if open_metrics:
        lines.append("# EOF")
    return "\n".join(lines) + "\n"


def family(name: str, unit: str) -> str:
    """The name of a metric's family: `messaging.process.duration` in `s` is `messaging_process_duration_seconds`."""
    plain = _NO_NAME.sub("_", name)
    return f"{plain}_seconds" if unit == "s" and not plain.endswith("_seconds") else plain


def _metric(metric: Metric, open_metrics: bool) -> Iterator[str]:
    data: Any = metric.data
    name = family(metric.name, metric.unit or "")
    histogram = hasattr(data.data_points[0], "bucket_counts") if data.data_points else False
    counter = not histogram and bool(getattr(data, "is_monotonic", False))
    kind = "histogram" if histogram else "counter" if counter else "gauge"
    head = name if not counter or open_metrics else f"{name}_total"
    yield f"# HELP {head} {_escaped(metric.description or '')}"
    yield f"# TYPE {head} {kind}"
    for point in data.data_points:
        labels = _labels(point.attributes)
        if histogram:
            yield from _histogram(name, labels, point, open_metrics)
        else:
            yield f"{name}{'_total' if counter else ''}{_braces(labels)} {_number(point.value)}"


def _histogram(name: str, labels: list[str], point: HistogramDataPoint, open_metrics: bool) -> Iterator[str]:
    exemplars = _by_bucket(point) if open_metrics else {}
    reached = 0
    for number, count in enumerate(point.bucket_counts):
        reached += count
        last = number == len(point.explicit_bounds)
        bound = "+Inf" if last else _number(float(point.explicit_bounds[number]))
        within = f'le="{bound}"'
        line = f"{name}_bucket{_braces([*labels, within])} {reached}"
        yield line + exemplars.get(number, "")
    yield f"{name}_sum{_braces(labels)} {_number(point.sum)}"
    yield f"{name}_count{_braces(labels)} {point.count}"


def _by_bucket(point: HistogramDataPoint) -> Mapping[int, str]:
    from bisect import bisect_left

    return {
        bisect_left(point.explicit_bounds, exemplar.value): (
            f' # {{trace_id="{exemplar.trace_id:032x}",span_id="{exemplar.span_id:016x}"}}'
            f" {_number(exemplar.value)} {exemplar.time_unix_nano / 1e9:.3f}"
        )
        for exemplar in point.exemplars
        if exemplar.trace_id
    }


def _labels(attributes: Mapping[str, Any] | None) -> list[str]:
    return [f'{_NO_NAME.sub("_", name)}="{_escaped(str(value))}"' for name, value in (attributes or {}).items()]


def _braces(labels: list[str]) -> str:
    return f"{{{','.join(labels)}}}" if labels else ""


def _escaped(text: str) -> str:
    text = text.encode("utf-8", "backslashreplace").decode()
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return repr(float(value)) if isinstance(value, float) and not value.is_integer() else str(int(value))
