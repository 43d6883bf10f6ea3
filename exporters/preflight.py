"""Checks the telemetry backends for `tracecar check` by sending each an empty request."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from exporters.batch_queue import BatchTransport
from exporters.otlp.environment import is_sdk_disabled, protocol, read_variable, selected_exporters
from exporters.otlp.settings import check_settings, effective_config, enabled_signals
from sidecar.config.schema import Config, OtlpConfig
from sidecar.domain.errors import Outage, Refused
from sidecar.domain.ports.broker import Finding
from sidecar.domain.secrets import mask_url


def check_backends(config: Config) -> Iterator[Finding]:
    """Check each backend, and each signal of a collector. Blocks. Raises ConfigError."""
    otlp = effective_config(config.exporters.otlp)
    if otlp is not None:
        from exporters.otlp.transport import create_transport

        check_settings(otlp)
        for signal in enabled_signals(otlp):
            what = f"exporters.otlp: {signal} by {protocol(otlp, signal)} to {_describe_address(otlp, signal)}"
            yield _try_backend(what, partial(create_transport, otlp, signal, config.service))
    zipkin = config.exporters.zipkin
    if zipkin is not None and not is_sdk_disabled() and "none" not in selected_exporters("traces"):
        from exporters.zipkin import ZipkinTransport

        yield _try_backend(f"exporters.zipkin: {mask_url(zipkin.endpoint)}", partial(ZipkinTransport, zipkin))


def _describe_address(otlp: OtlpConfig, signal: str) -> str:
    if otlp.endpoint is not None:
        return mask_url(otlp.endpoint)
    address = read_variable(signal, "ENDPOINT")
    return "localhost" if address is None else f"{mask_url(address[1])} ({address[0]})"


def _try_backend(what: str, make: Callable[[], BatchTransport]) -> Finding:
    create_transport = make()
    try:
        create_transport.send([])
    except Outage as error:
        return Finding(what, False, f"{error}; events are processed without it, but their telemetry is lost")
    except Refused as error:
        return Finding(what, False, str(error))
    finally:
        create_transport.close()
    return Finding(what, True, "accepts telemetry")
