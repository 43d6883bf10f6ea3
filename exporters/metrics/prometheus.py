"""Renderer of collected metrics for Prometheus, in its text format or as OpenMetrics, which also has exemplars.

Names and units follow OpenTelemetry's specification of compatibility with Prometheus: dots become underscores, seconds
are a suffix, counters end in `_total`. Timestamps are the scraper's. docs/decisions/0006-prometheus-text-writer.md
explains why this code does not use a library.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import HistogramDataPoint, Metric

_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_:]")


def render(metrics: Iterable[Metric], *, open_metrics: bool) -> str:
    """Render metrics."""
    lines = [line for metric in metrics for line in _render_metric(metric, open_metrics)]
    if open_metrics:
        lines.append("# EOF")
    return "\n".join(lines) + "\n"


def family(name: str, unit: str) -> str:
    """Return the family name: `messaging.process.duration` in `s` is `messaging_process_duration_seconds`."""
    plain = _NOT_IN_NAMES.sub("_", name)
    return f"{plain}_seconds" if unit == "s" and not plain.endswith("_seconds") else plain


def _render_metric(metric: Metric, open_metrics: bool) -> Iterator[str]:
    data: Any = metric.data
    name = family(metric.name, metric.unit or "")
    histogram = hasattr(data.data_points[0], "bucket_counts") if data.data_points else False
    counter = not histogram and bool(getattr(data, "is_monotonic", False))
    kind = "histogram" if histogram else "counter" if counter else "gauge"
    head = name if not counter or open_metrics else f"{name}_total"
    yield f"# HELP {head} {_escape(metric.description or '', quotes=open_metrics)}"
    yield f"# TYPE {head} {kind}"
    for point in data.data_points:
        labels = _render_labels(point.attributes)
        if histogram:
            yield from _render_histogram(name, labels, point, open_metrics)
        else:
            yield f"{name}{'_total' if counter else ''}{_enclose(labels)} {_format_number(point.value)}"


def _render_histogram(name: str, labels: list[str], point: HistogramDataPoint, open_metrics: bool) -> Iterator[str]:
    exemplars = _render_exemplars(point) if open_metrics else {}
    cumulated = 0
    for number, count in enumerate(point.bucket_counts):
        cumulated += count
        last = number == len(point.explicit_bounds)
        bound = "+Inf" if last else _format_number(float(point.explicit_bounds[number]))
        within = f'le="{bound}"'
        line = f"{name}_bucket{_enclose([*labels, within])} {cumulated}"
        yield line + exemplars.get(number, "")
    yield f"{name}_sum{_enclose(labels)} {_format_number(point.sum)}"
    yield f"{name}_count{_enclose(labels)} {point.count}"


def _render_exemplars(point: HistogramDataPoint) -> Mapping[int, str]:
    from bisect import bisect_left

    return {
        bisect_left(point.explicit_bounds, exemplar.value): (
            f' # {{trace_id="{exemplar.trace_id:032x}",span_id="{exemplar.span_id:016x}"}}'
            f" {_format_number(exemplar.value)} {exemplar.time_unix_nano / 1e9:.3f}"
        )
        for exemplar in point.exemplars
        if exemplar.trace_id
    }


def _render_labels(attributes: Mapping[str, Any] | None) -> list[str]:
    return [f'{_NOT_IN_NAMES.sub("_", name)}="{_escape(str(value))}"' for name, value in (attributes or {}).items()]


def _enclose(labels: list[str]) -> str:
    return f"{{{','.join(labels)}}}" if labels else ""


def _escape(text: str, *, quotes: bool = True) -> str:
    """Escape a label value or a help text. In the help texts of the text format, quotes stay as they are."""
    text = text.encode("utf-8", "backslashreplace").decode().replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quotes else text


def _format_number(value: float) -> str:
    return repr(float(value)) if isinstance(value, float) and not value.is_integer() else str(int(value))
