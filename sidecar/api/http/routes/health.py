"""For probes and scrapers: no token is asked for here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler

from sidecar.api.services.answers import StatusProvider

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Prometheus' text format."""
OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def routes(facts: StatusProvider) -> Sequence[HTTPRouteHandler]:
    @get("/healthz", summary="Alive", media_type="text/plain")
    async def healthz() -> str:
        return "ok\n"

    @get("/readyz", summary="Ready: the brokers are reached", media_type="text/plain")
    async def readyz() -> Response[str]:
        if facts.ready:
            return Response("ready\n", status_code=200)
        return Response("not ready: a broker is not reached yet\n", status_code=503)

    @get("/metrics", summary="Everything that is measured, for Prometheus (or OpenMetrics)", media_type="text/plain")
    async def metrics(request: Request[Any, Any, Any]) -> Response[str]:
        # Exemplars, which lead from a latency to its trace, only OpenMetrics can have.
        accepted = "application/openmetrics-text" in request.headers.get("accept", "")
        kind = OPEN_METRICS if accepted else METRICS_TYPE
        return Response(await facts.exposition(open_metrics=accepted), headers={"content-type": kind})

    return healthz, readyz, metrics
