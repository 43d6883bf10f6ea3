"""What is sent to an OpenTelemetry collector and how, by the configuration and the standard environment variables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from exporters.otlp.environment import disabled, exporters, mistakes, protocol, said, service_name
from sidecar.config.schema import CHECKED, OtlpConfig
from sidecar.domain.errors import ConfigError, Mistake

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

Signal = Literal["traces", "metrics", "logs"]
SIGNALS: tuple[Signal, ...] = ("traces", "metrics", "logs")


def wanted(otlp: OtlpConfig | None, environ: Mapping[str, str] = os.environ) -> OtlpConfig | None:
    """What is configured, by the file or by the environment alone; None where nothing is."""
    if disabled(environ):
        return None
    if otlp is None and not any(said(signal, "ENDPOINT", environ) for signal in SIGNALS):
        return None
    return otlp or OtlpConfig()


def signals(otlp: OtlpConfig, environ: Mapping[str, str] = os.environ) -> list[Signal]:
    """Which signals are sent: those of the file, but for the ones that `OTEL_TRACES_EXPORTER` and its like send
    elsewhere or turn off. Where the environment has endpoints of single signals only, none but those."""
    named = {name: exporters(name, environ) for name in SIGNALS}
    found = [name for name in SIGNALS if name in otlp.signals]
    found = [name for name in found if not named[name] or any(word.startswith("otlp") for word in named[name])]
    addressed = [name for name in SIGNALS if said(name, "ENDPOINT", environ) is not None]
    return [name for name in found if otlp.endpoint is not None or not addressed or name in addressed]


def check(otlp: OtlpConfig, environ: Mapping[str, str] = os.environ) -> None:
    """Raises ConfigError, with every mistake, where something cannot be sent as the file and the environment say."""
    sent = signals(otlp, environ)
    found = dict.fromkeys(mistake for signal in sent for mistake in mistakes(otlp, signal, environ))
    if found:
        raise ConfigError(list(found), "the environment")
    if otlp.tls is not None:
        certificates(otlp)
        if not otlp.tls.check_hostname and any(protocol(otlp, signal, environ) == "grpc" for signal in sent):
            raise ConfigError([Mistake("exporters.otlp.tls.check_hostname", CHECKED, "false")])


def resource(service: str, environ: Mapping[str, str] = os.environ, *, instance: bool = True) -> Resource:
    """Who reports: the sidecar, never the service beside it; `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` count.
    Without `instance` it is the same for all sidecars of a service, as their spans are."""
    from importlib.metadata import version

    from opentelemetry.sdk.resources import Resource

    own = {
        "service.name": service_name(environ),
        "service.version": version("tracecar"),
        "tracecar.service": service,
    }
    found = Resource.create(own)
    if instance or "service.instance.id=" in environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        return found
    kept = {name: value for name, value in found.attributes.items() if name != "service.instance.id"}
    return Resource(kept, found.schema_url)


def address(otlp: OtlpConfig, signal: str) -> str | None:
    """The full HTTP address of a signal; None where the environment's is to be taken."""
    return None if otlp.endpoint is None else f"{otlp.endpoint.rstrip('/')}/v1/{signal}"


def certificates(otlp: OtlpConfig) -> list[bytes | None]:
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
