"""Sampling of spans: all, a share of the traces, or whole flows that failed, were slow or match a query."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from exporters.tracing.span_ids import ID_MASK
from sidecar.config.schema import SamplingConfig
from sidecar.domain.model import Headers
from sidecar.domain.ports.index import Node
from sidecar.query import Query, parse

log = structlog.get_logger()

SAMPLER, ARGUMENT = "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"


def sample_bound(ratio: float) -> int:
    """Return the bound below which the lower half of a trace id is sampled.

    This is the rule of OpenTelemetry's trace id ratio samplers, so that all sidecars, and services that sample by the
    same ratio, agree.
    """
    return round(max(0.0, min(ratio, 1.0)) * (ID_MASK + 1))


def in_sample(trace_id: int, bound: int) -> bool:
    """Check whether a trace is sampled."""
    return trace_id & ID_MASK < bound


def sampling_from_environment(environ: Mapping[str, str] = os.environ) -> SamplingConfig:
    """Read the sampling settings from OTEL_TRACES_SAMPLER.

    A parent's decision, which some samplers follow, is not recorded in events.
    """
    name = environ.get(SAMPLER, "").strip().lower().removeprefix("parentbased_")
    if name == "always_off":
        return SamplingConfig(keep="ratio", ratio=0.0)
    if name == "traceidratio":
        argument = environ.get(ARGUMENT, "").strip() or "1"
        try:
            ratio = float(argument)
        except ValueError:
            ratio = -1.0
        if 0 <= ratio <= 1:
            return SamplingConfig(keep="ratio", ratio=ratio)
        log.warning(
            "sampling is off: every span is sent",
            reason=f"{ARGUMENT}: expected a share from 0 to 1, found {argument!r}",
        )
    elif name not in ("", "always_on"):
        known = "always_on, always_off, traceidratio, or one of these after parentbased_"
        log.warning(
            "sampling is off: every span is sent", reason=f"{SAMPLER}: expected {known}, found {environ[SAMPLER]!r}"
        )
    return SamplingConfig()


class TailSampler:
    """Decides about whole flows once they are quiet."""

    def __init__(self, sampling: SamplingConfig) -> None:
        self._failed, self._slow = sampling.failed, sampling.slow
        self._bound = sample_bound(sampling.ratio or 0.0)
        self.query: Query | None = parse(sampling.query) if sampling.query else None

    def keeps(self, nodes: Sequence[Node], payloads: Mapping[int, tuple[Headers | None, Any]]) -> bool:
        """Check whether a flow is sent. `payloads`: headers and body by `id()` of the event, where available."""
        if self._failed and any(node.event.rejection is not None for node in nodes):
            return True
        if self._slow is not None and duration(nodes) >= float(self._slow):
            return True
        if self.query is not None:
            query = self.query
            if any(query.matches(node, *payloads.get(id(node.event), (None, None))) for node in nodes):
                return True
        return in_sample(nodes[0].trace_id, self._bound)


def duration(nodes: Sequence[Node]) -> float:
    """Return the seconds from the first to the last append time."""
    times = [node.event.appended_at for node in nodes]
    return (max(times) - min(times)) / 1000
