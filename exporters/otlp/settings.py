"""Settings of the OTLP export, from the configuration and the standard environment variables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from exporters.otlp.environment import (
    find_mistakes,
    is_sdk_disabled,
    protocol,
    read_variable,
    selected_exporters,
    service_name,
)
from sidecar.config.schema import CHECKED, OtlpConfig
from sidecar.domain.errors import ConfigError, Mistake

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

Signal = Literal["traces", "metrics", "logs"]
SIGNALS: tuple[Signal, ...] = ("traces", "metrics", "logs")


def effective_config(otlp: OtlpConfig | None, environ: Mapping[str, str] = os.environ) -> OtlpConfig | None:
    """Return the OTLP configuration of the file or the environment; None if OTLP is not configured."""
    if is_sdk_disabled(environ):
        return None
    if otlp is None and not any(read_variable(signal, "ENDPOINT", environ) for signal in SIGNALS):
        return None
    return otlp or OtlpConfig()


def enabled_signals(otlp: OtlpConfig, environ: Mapping[str, str] = os.environ) -> list[Signal]:
    """Return the signals to send.

    These are the signals of the file, without those that `OTEL_TRACES_EXPORTER` (or the variable of another signal)
    turns off or sends elsewhere. If the environment has only endpoints for single signals, no others are sent.
    """
    named = {name: selected_exporters(name, environ) for name in SIGNALS}
    enabled = [name for name in SIGNALS if name in otlp.signals]
    enabled = [name for name in enabled if not named[name] or any(word.startswith("otlp") for word in named[name])]
    addressed = [name for name in SIGNALS if read_variable(name, "ENDPOINT", environ) is not None]
    return [name for name in enabled if otlp.endpoint is not None or not addressed or name in addressed]


def check_settings(otlp: OtlpConfig, environ: Mapping[str, str] = os.environ) -> None:
    """Check file and environment. Raises ConfigError with every mistake."""
    sent = enabled_signals(otlp, environ)
    mistakes = dict.fromkeys(mistake for signal in sent for mistake in find_mistakes(otlp, signal, environ))
    if mistakes:
        raise ConfigError(list(mistakes), "the environment")
    if otlp.tls is not None:
        read_certificates(otlp)
        if not otlp.tls.check_hostname and any(protocol(otlp, signal, environ) == "grpc" for signal in sent):
            raise ConfigError([Mistake("exporters.otlp.tls.check_hostname", CHECKED, "false")])


def build_resource(service: str, environ: Mapping[str, str] = os.environ, *, instance: bool = True) -> Resource:
    """Build the resource, which describes the sidecar and not the service beside it.

    `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` apply. Without `instance` it is the same for all sidecars of a
    service, because their spans are the same.
    """
    from importlib.metadata import version

    from opentelemetry.sdk.resources import Resource

    own = {
        "service.name": service_name(environ),
        "service.version": version("tracecar"),
        "tracecar.service": service,
    }
    created = Resource.create(own)
    if instance or "service.instance.id=" in environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        return created
    kept = {name: value for name, value in created.attributes.items() if name != "service.instance.id"}
    return Resource(kept, created.schema_url)


def signal_address(otlp: OtlpConfig, signal: str) -> str | None:
    """Return the full HTTP address of a signal; None to use that of the environment."""
    return None if otlp.endpoint is None else f"{otlp.endpoint.rstrip('/')}/v1/{signal}"


def read_certificates(otlp: OtlpConfig) -> list[bytes | None]:
    """Read the certificate authorities, the client's key and its certificate chain. Raises ConfigError."""
    tls = otlp.tls
    contents: list[bytes | None] = []
    for name in ("ca", "key", "cert"):
        path = None if tls is None else getattr(tls, name)
        try:
            contents.append(None if path is None else _read(path))
        except OSError as error:
            mistake = Mistake(f"exporters.otlp.tls.{name}", "a readable file", f"{path!r} ({error.strerror})")
            raise ConfigError([mistake]) from error
    return contents


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
