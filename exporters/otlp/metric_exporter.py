"""Metrics to an OpenTelemetry collector, every minute, with the official exporter."""

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
from exporters.otlp.settings import resource
from sidecar.config.schema import OtlpConfig

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import Metric

log = structlog.get_logger()

INTERVAL = "OTEL_METRIC_EXPORT_INTERVAL"
"""Milliseconds from one export to the next."""
SECONDS = 60.0
CLOSE_SECONDS = 5.0


def interval(environ: Mapping[str, str] = os.environ) -> float:
    """Seconds from one export to the next."""
    said = environ.get(INTERVAL, "").strip()
    try:
        found = float(said) / 1000 if said else SECONDS
    except ValueError:
        found = 0.0
    if 0 < found < 1e6:
        return found
    log.warning("metrics are sent every minute", reason=f"{INTERVAL}: expected milliseconds, found {said!r}")
    return SECONDS


class OtlpMetricExporter:
    """Collects and sends, in a task of its own. The sending itself is a thread's."""

    name = "otlp.metrics"

    def __init__(self, otlp: OtlpConfig, metrics: MetricsRegistry, service: str) -> None:
        self._otlp, self._metrics, self._service = otlp, metrics, service
        self._interval = interval()
        self._exporter: Any = None
        self._reader: MetricsReader | None = None
        self._resource: Any = None
        self._task: asyncio.Task[None] | None = None
        self._sent = self._failed = 0
        self._under_way = False
        """A collector was asked and has not answered."""
        self.trouble: str | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="sending metrics")

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            try:
                await self.export()
            except Exception as error:  # a mistake, ours or the library's, must not end the task in silence
                self.trouble = str(error) or type(error).__name__
                log.error("metrics could not be sent", exporter=self.name, exc_info=error)

    async def export(self) -> None:
        """Collect and send once. Never raises for a collector that does not answer."""
        if self._exporter is None:
            self._exporter = await asyncio.to_thread(self._made)
            self._resource = resource(self._service)
            self._reader = await self._metrics.reader(self._exporter._preferred_temporality)
        assert self._reader is not None
        found = await self._metrics.collect(self._reader)
        self._under_way = True
        ok = await _apart(partial(self._send, found))
        self._under_way = False
        if ok:
            self._sent += len(found)
        else:
            self._failed += len(found)
        if ok is (self.trouble is not None):
            self.trouble = None if ok else "the collector does not take them"
            log.info("metrics are taken again") if ok else log.warning("metrics are not taken", exporter=self.name)

    def _made(self) -> Any:
        """The official exporter."""
        otlp: Any = self._otlp
        if protocol(otlp, "metrics") == "grpc":
            from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as Grpc

            from exporters.otlp.grpc_transport import grpc_options

            return Grpc(**grpc_options(otlp, "metrics"))
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as Http

        from exporters.otlp.http_transport import http_options

        return Http(**http_options(otlp, "metrics"))

    def _send(self, found: list[Metric]) -> bool:
        from opentelemetry.sdk.metrics.export import (
            MetricExportResult,
            MetricsData,
            ResourceMetrics,
            ScopeMetrics,
        )
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        scope = ScopeMetrics(InstrumentationScope("tracecar"), found, "")
        data = MetricsData([ResourceMetrics(self._resource, [scope], self._resource.schema_url)])
        outcome: bool = self._exporter.export(data) is MetricExportResult.SUCCESS
        return outcome

    def counts(self) -> tuple[int, int, int]:
        return self._sent, 0, self._failed

    async def close(self) -> None:
        """Send once more, within a few seconds; not to a collector that has not even answered the last time."""
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        await asyncio.wait((task,))
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                if not self._under_way:
                    await self.export()
        except TimeoutError:
            pass
        if self._under_way:
            log.warning("the last metrics could not be sent", exporter=self.name)
        if self._exporter is not None:
            await asyncio.to_thread(self._exporter.shutdown)
        if self._reader is not None:
            self._reader.close()


def _apart(work: Callable[[], bool]) -> asyncio.Future[bool]:
    """Do this in a thread that nobody waits for at the end of the process, as they do for those of the event loop."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[bool] = loop.create_future()

    def tell(outcome: bool | Exception) -> None:
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
            loop.call_soon_threadsafe(tell, outcome)

    threading.Thread(target=run, name="sending otlp.metrics", daemon=True).start()
    return done
