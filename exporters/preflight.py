"""Trying where telemetry goes, for `tracecar check`: a request with nothing in it, to each backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from exporters.batch_queue import BatchTransport
from exporters.otlp.environment import disabled, exporters, protocol, said
from exporters.otlp.settings import check, signals, wanted
from sidecar.config.schema import Config, OtlpConfig
from sidecar.domain.errors import Outage, Refused
from sidecar.domain.ports.broker import Finding
from sidecar.domain.secrets import mask_url


def findings(config: Config) -> Iterator[Finding]:
    """One line for each backend and, of a collector, for each signal. Blocks. Raises ConfigError."""
    otlp = wanted(config.exporters.otlp)
    if otlp is not None:
        from exporters.otlp.transport import transport

        check(otlp)
        for signal in signals(otlp):
            what = f"exporters.otlp: {signal} by {protocol(otlp, signal)} to {_where(otlp, signal)}"
            yield _tried(what, partial(transport, otlp, signal, config.service))
    zipkin = config.exporters.zipkin
    if zipkin is not None and not disabled() and "none" not in exporters("traces"):
        from exporters.zipkin import ZipkinTransport

        yield _tried(f"exporters.zipkin: {mask_url(zipkin.endpoint)}", partial(ZipkinTransport, zipkin))


def _where(otlp: OtlpConfig, signal: str) -> str:
    if otlp.endpoint is not None:
        return mask_url(otlp.endpoint)
    address = said(signal, "ENDPOINT")
    return "localhost" if address is None else f"{mask_url(address[1])} ({address[0]})"


def _tried(what: str, make: Callable[[], BatchTransport]) -> Finding:
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
