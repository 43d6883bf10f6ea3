"""Exporter that sends metrics to an OpenTelemetry collector every minute, with the official exporter."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from exporters.metrics.instruments import MetricsReader, MetricsRegistry
from exporters.otlp.environment import protocol
from exporters.otlp.settings import build_resource
from sidecar.config.schema import OtlpConfig

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import Metric

log = structlog.get_logger()

INTERVAL = "OTEL_METRIC_EXPORT_INTERVAL"
"""Variable with the milliseconds between two exports."""
DEFAULT_INTERVAL_S = 60.0
CLOSE_TIMEOUT_S = 5.0


def read_interval(environ: Mapping[str, str] = os.environ) -> float:
    """Return the seconds between two exports."""
    text = environ.get(INTERVAL, "").strip()
    try:
        interval_s = float(text) / 1000 if text else DEFAULT_INTERVAL_S
    except ValueError:
        interval_s = 0.0
    if 0 < interval_s < 1e6:
        return interval_s
    log.warning("sending metrics every minute", reason=f"{INTERVAL}: expected milliseconds, found {text!r}")
    return DEFAULT_INTERVAL_S


class MetricDestination:
    """State of the export of metrics (`sidecar.domain.ports.exporter.Destination`).

    It exists before its exporter, because the exported metrics include this state.
    """

    name = "otlp.metrics"

    def __init__(self) -> None:
        self.sent = self.failed = 0
        self.trouble: str | None = None

    def counts(self) -> tuple[int, int, int]:
        """Return the numbers of sent, dropped and failed metrics."""
        return self.sent, 0, self.failed


class OtlpMetricExporter:
    """Collects and sends metrics in a task; the request itself runs in a thread."""

    def __init__(
        self, otlp: OtlpConfig, metrics: MetricsRegistry, service: str, destination: MetricDestination
    ) -> None:
        self._otlp, self._metrics, self._service, self._destination = otlp, metrics, service, destination
        self._interval = read_interval()
        self._exporter: Any = None
        self._reader: MetricsReader | None = None
        self._resource: Any = None
        self._task: asyncio.Task[None] | None = None
        self._in_flight = False
        """True while a request has no response."""

    def start(self) -> None:
        """Start sending in the background, until `close`."""
        self._task = asyncio.create_task(self._run(), name="sending metrics")

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            try:
                await self.export()
            except Exception as error:  # a bug, ours or the library's, must not end the task silently
                self._destination.trouble = str(error) or type(error).__name__
                log.error("cannot send metrics", exporter=self._destination.name, exc_info=error)

    async def export(self) -> None:
        """Collect and send once. Does not raise if the collector does not reply."""
        if self._exporter is None:
            self._exporter = await asyncio.to_thread(self._create_exporter)
            self._resource = build_resource(self._service)
            self._reader = await self._metrics.reader(self._exporter._preferred_temporality)
        assert self._reader is not None
        metrics = await self._metrics.collect(self._reader)
        self._in_flight = True
        ok = await _run_in_daemon_thread(partial(self._send, metrics))
        self._in_flight = False
        if ok:
            self._destination.sent += len(metrics)
        else:
            self._destination.failed += len(metrics)
        if ok is (self._destination.trouble is not None):
            self._destination.trouble = None if ok else "the collector does not accept metrics"
            if ok:
                log.info("collector accepts metrics again", exporter=self._destination.name)
            else:
                log.warning("collector does not accept metrics; retrying", exporter=self._destination.name)

    def _create_exporter(self) -> Any:
        """Create the official exporter."""
        otlp: Any = self._otlp
        if protocol(otlp, "metrics") == "grpc":
            from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as Grpc

            from exporters.otlp.grpc_transport import grpc_options

            return Grpc(**grpc_options(otlp, "metrics"))
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as Http

        from exporters.otlp.http_transport import http_options

        return Http(**http_options(otlp, "metrics"))

    def _send(self, metrics: list[Metric]) -> bool:
        from opentelemetry.sdk.metrics.export import (
            MetricExportResult,
            MetricsData,
            ResourceMetrics,
            ScopeMetrics,
        )
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        scope = ScopeMetrics(InstrumentationScope("tracecar"), metrics, "")
        data = MetricsData([ResourceMetrics(self._resource, [scope], self._resource.schema_url)])
        outcome: bool = self._exporter.export(data) is MetricExportResult.SUCCESS
        return outcome

    async def close(self) -> None:
        """Send once more, within a few seconds, unless the collector did not reply to the last request."""
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        await asyncio.wait((task,))
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                if not self._in_flight:
                    await self.export()
        except TimeoutError:
            pass
        if self._in_flight:
            log.warning("cannot send the last metrics", exporter=self._destination.name)
        if self._exporter is not None:
            await asyncio.to_thread(self._exporter.shutdown)
        if self._reader is not None:
            self._reader.close()


def _run_in_daemon_thread(work: Callable[[], bool]) -> asyncio.Future[bool]:
    """Run a blocking function in a daemon thread.

    Unlike the event loop's own threads, the process does not wait for it at exit.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[bool] = loop.create_future()

    def resolve(outcome: bool | Exception) -> None:
        if done.done():
            return
        if isinstance(outcome, Exception):
            done.set_exception(outcome)
        else:
            done.set_result(outcome)

    def run() -> None:
        try:
            outcome: bool | Exception = work()
        except Exception as error:
            outcome = error
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(resolve, outcome)

    threading.Thread(target=run, name="sending otlp.metrics", daemon=True).start()
    return done
