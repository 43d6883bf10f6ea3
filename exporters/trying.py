"""Trying where telemetry goes, for `tracecar check`: a request with nothing in it, to each backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal

from exporters.otlp import check, signals, wanted
from exporters.otlp_environment import disabled, exporters, protocol
from exporters.outbox import Transport
from sidecar.config import Config
from sidecar.errors import Outage, Refused
from sidecar.masking import mask_url
from sidecar.ports import Finding

_RAW: tuple[Literal["traces"], Literal["logs"]] = ("traces", "logs")


def findings(config: Config) -> Iterator[Finding]:
    """One line for each backend and, of a collector, for each signal. Blocks. Raises ConfigError."""
    otlp = wanted(config.exporters.otlp)
    if otlp is not None:
        from exporters.otlp_transport import transport

        check(otlp)
        where = mask_url(otlp.endpoint) if otlp.endpoint else "the endpoint of OTEL_EXPORTER_OTLP_ENDPOINT"
        for signal in _RAW:
            if signal in signals(otlp):
                what = f"exporters.otlp: {signal} by {protocol(otlp, signal)} to {where}"
                yield _tried(what, partial(transport, otlp, signal, config.service))
    zipkin = config.exporters.zipkin
    if zipkin is not None and not disabled() and "none" not in exporters("traces"):
        from exporters.zipkin import ZipkinTransport

        yield _tried(f"exporters.zipkin: {mask_url(zipkin.endpoint)}", partial(ZipkinTransport, zipkin))


def _tried(what: str, make: Callable[[], Transport]) -> Finding:
    transport = make()
    try:
        transport.send([])
    except Outage as error:
        return Finding(what, False, f"{error}; events are not touched by it, but their telemetry is lost")
    except Refused as error:
        return Finding(what, False, str(error))
    finally:
        transport.close()
    return Finding(what, True, "takes what is sent")
