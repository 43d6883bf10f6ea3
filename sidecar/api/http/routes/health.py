"""Probes and metrics. These routes need no token."""

from __future__ import annotations

from collections.abc import Sequence

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from sidecar.api.http.routes.parameters import AnyRequest
from sidecar.api.services.ports import MetricsWriter, StatusProvider

PROMETHEUS_TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPEN_METRICS_TEXT = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def routes(status: StatusProvider, metrics: MetricsWriter) -> Sequence[HTTPRouteHandler]:
    """Build `/healthz`, `/readyz` and `/metrics`."""

    @get(
        "/healthz",
        summary="Liveness probe",
        media_type="text/plain",
        security=[{}],  # OpenAPI: the empty requirement is no token
        description="200 while the process runs.",
    )
    async def healthz() -> str:
        return "ok\n"

    @get(
        "/readyz",
        summary="Readiness probe",
        media_type="text/plain",
        security=[{}],  # OpenAPI: the empty requirement is no token
        description="200 once every broker is connected, else 503.",
    )
    async def readyz() -> Response[str]:
        if status.ready:
            return Response("ready\n", status_code=200)
        return Response(f"not ready: {status.unready_reason}\n", status_code=503)

    @get(
        "/metrics",
        summary="Metrics",
        media_type="text/plain",
        security=[{}],  # OpenAPI: the empty requirement is no token
        description="All metrics as Prometheus text; with exemplars for scrapers that accept OpenMetrics.",
    )
    async def get_metrics(request: AnyRequest) -> Response[str]:
        # Only OpenMetrics has exemplars, which link a latency to its trace.
        open_metrics = "application/openmetrics-text" in request.headers.get("accept", "")
        media_type = OPEN_METRICS_TEXT if open_metrics else PROMETHEUS_TEXT
        return Response(await metrics.exposition(open_metrics=open_metrics), headers={"content-type": media_type})

    return healthz, readyz, get_metrics
