"""What is sent to an OpenTelemetry collector and how, by the configuration and the standard environment variables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from sidecar.config import Otlp
from sidecar.errors import ConfigError, Mistake

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

SIGNALS = ("traces", "metrics", "logs")
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
Raw = Literal["traces", "logs"]
"""The signals that are encoded here."""


def wanted(otlp: Otlp | None, environ: Mapping[str, str] = os.environ) -> Otlp | None:
    """What is configured, by the file or by the environment alone; None where nothing is."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    if otlp is None and not any(environ.get(name) for name in _ENDPOINTS):
        return None
    return otlp or Otlp()


def signals(otlp: Otlp, environ: Mapping[str, str] = os.environ) -> list[str]:
    """Which signals are sent: those of the file, but for the ones that `OTEL_TRACES_EXPORTER` and its like turn off."""
    off = {name for name in SIGNALS if environ.get(f"OTEL_{name.upper()}_EXPORTER", "").strip().lower() == "none"}
    return [name for name in SIGNALS if name in otlp.signals and name not in off]


def protocol(otlp: Otlp, signal: str, environ: Mapping[str, str] = os.environ) -> str:
    """`grpc` or `http/protobuf`. Raises ConfigError where the environment asks for another one."""
    if otlp.protocol is not None:
        return otlp.protocol
    for name in (f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if found := environ.get(name, "").strip():
            if found not in ("grpc", "http/protobuf"):
                raise ConfigError([Mistake(name, "grpc or http/protobuf", repr(found))], "the environment")
            return found
    return "grpc"


def resource(service: str, environ: Mapping[str, str] = os.environ, *, instance: bool = True) -> Resource:
    """Who reports: the sidecar, never the service beside it; `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` count.
    Without `instance` it is the same for all sidecars of a service, as their spans are."""
    from importlib.metadata import version

    from opentelemetry.sdk.resources import Resource

    own = {
        "service.name": environ.get("OTEL_SERVICE_NAME") or "tracecar",
        "service.version": version("tracecar"),
        "tracecar.service": service,
    }
    found = Resource.create(own)
    if instance or "service.instance.id=" in environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        return found
    kept = {name: value for name, value in found.attributes.items() if name != "service.instance.id"}
    return Resource(kept, found.schema_url)


def address(otlp: Otlp, signal: str) -> str | None:
    """The full HTTP address of a signal; None where the environment's is to be taken."""
    return None if otlp.endpoint is None else f"{otlp.endpoint.rstrip('/')}/v1/{signal}"


def certificates(otlp: Otlp) -> list[bytes | None]:
    """The authorities, the client's key and its chain, as bytes. Raises ConfigError."""
    tls = otlp.tls
    found: list[bytes | None] = []
    for name in ("ca", "key", "cert"):
        path = None if tls is None else getattr(tls, name)
        try:
            found.append(None if path is None else _read(path))
        except OSError as error:
            mistake = Mistake(f"exporters.otlp.tls.{name}", "a file that can be read", f"{path!r} ({error.strerror})")
            raise ConfigError([mistake]) from error
    return found


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
