"""For probes and scrapers: no token is asked for here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from sidecar.answers import Facts
from sidecar.api import models

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Prometheus' text format."""


def routes(facts: Facts) -> Sequence[HTTPRouteHandler]:
    @get("/healthz", summary="Alive", media_type="text/plain")
    async def healthz() -> str:
        return "ok\n"

    @get("/readyz", summary="Ready: the brokers are reached", media_type="text/plain")
    async def readyz() -> Response[str]:
        if facts.ready:
            return Response("ready\n", status_code=200)
        return Response("not ready: a broker is not reached yet\n", status_code=503)

    @get("/metrics", summary="Counters in Prometheus' text format", media_type="text/plain")
    async def metrics() -> Response[str]:
        return Response("\n".join(_metrics(await facts.status())) + "\n", headers={"content-type": METRICS_TYPE})

    return healthz, readyz, metrics


_STREAM = (
    ("tracecar_events_total", "counter", "Events seen.", lambda one: one.events),
    ("tracecar_rejected_total", "counter", "Events that were rejected.", lambda one: one.rejected),
    ("tracecar_gaps_total", "counter", "How often records were gone before they were read.", lambda one: one.gaps),
    ("tracecar_lag", "gauge", "Records that are not settled yet.", lambda one: one.lag),
    ("tracecar_held", "gauge", "1 where the stream is held.", lambda one: int(one.held is not None)),
    ("tracecar_partitions_settled_here", "gauge", "Partitions that are settled here.", lambda one: one.settled_here),
)


def _metrics(status: models.ServiceStatus) -> Iterator[str]:
    for name, kind, description, value in _STREAM:
        yield from _head(name, kind, description)
        for one in status.streams:
            number = value(one)
            if number is not None:
                yield f'{name}{{system="{_label(one.system)}",stream="{_label(one.stream)}"}} {number}'
    single = (
        ("tracecar_ready", "gauge", "1 where the brokers are reached.", int(status.ready)),
        ("tracecar_index_events", "gauge", "Events that the index holds.", status.index.events),
        ("tracecar_index_evicted_total", "counter", "Events that the bound pushed out.", status.index.evicted),
        ("tracecar_schemas", "gauge", "Schemas in memory.", status.registry.schemas),
        (
            "tracecar_live_dropped_total",
            "counter",
            "Events that listeners missed.",
            status.live.dropped if status.live else 0,
        ),
        ("tracecar_uptime_seconds", "gauge", "Seconds since start.", status.uptime_s),
    )
    for name, kind, description, number in single:
        yield from _head(name, kind, description)
        yield f"{name} {number}"


def _head(name: str, kind: str, description: str) -> Iterator[str]:
    yield f"# HELP {name} {description}"
    yield f"# TYPE {name} {kind}"


def _label(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
