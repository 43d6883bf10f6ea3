"""Which spans are sent: all, those of a share of the traces, or whole flows that failed, were slow or are asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from exporters.tracing.span_ids import MASK
from sidecar.config.schema import SamplingConfig
from sidecar.domain.model import Headers
from sidecar.domain.ports.index import Node
from sidecar.query import Query, parse

log = structlog.get_logger()

SAMPLER, ARGUMENT = "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"


def bound_of(ratio: float) -> int:
    """A trace is in the sample where the lower half of its id is below this, as OpenTelemetry's samplers by trace id
    have it: so sidecars agree, among each other and with services that sample by the same ratio."""
    return round(max(0.0, min(ratio, 1.0)) * (MASK + 1))


def in_sample(trace_id: int, bound: int) -> bool:
    return trace_id & MASK < bound


def from_environment(environ: Mapping[str, str] = os.environ) -> SamplingConfig:
    """What OTEL_TRACES_SAMPLER asks for. The parent's decision, which some samplers follow, is not in the events."""
    name = environ.get(SAMPLER, "").strip().lower().removeprefix("parentbased_")
    if name == "always_off":
        return SamplingConfig(keep="ratio", ratio=0.0)
    if name == "traceidratio":
        said = environ.get(ARGUMENT, "").strip() or "1"
        try:
            ratio = float(said)
        except ValueError:
            ratio = -1.0
        if 0 <= ratio <= 1:
            return SamplingConfig(keep="ratio", ratio=ratio)
        log.warning("every span is sent", reason=f"{ARGUMENT}: expected a share from 0 to 1, found {said!r}")
    elif name not in ("", "always_on"):
        known = "always_on, always_off, traceidratio, or one of these after parentbased_"
        log.warning("every span is sent", reason=f"{SAMPLER}: expected {known}, found {environ[SAMPLER]!r}")
    return SamplingConfig()


class TailSampler:
    """Whole flows, decided once they are quiet."""

    def __init__(self, sampling: SamplingConfig) -> None:
        self._failed, self._slow = sampling.failed, sampling.slow
        self._bound = bound_of(sampling.ratio or 0.0)
        self.query: Query | None = parse(sampling.query) if sampling.query else None

    def keeps(self, nodes: Sequence[Node], payloads: Mapping[int, tuple[Headers | None, Any]]) -> bool:
        """Whether a flow is sent. `payloads`: headers and body by the identity of the event, where they are at hand."""
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
    """Seconds from the first event to the last, as the broker appended them."""
    times = [node.event.appended_at for node in nodes]
    return (max(times) - min(times)) / 1000
