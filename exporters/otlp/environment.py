"""Reader of the standard environment variables for export to a collector, where the official exporters mishandle them.

The official exporters end the process for some invalid values, ignore others silently, and read the timeout as seconds,
which the specification defines in milliseconds.

https://opentelemetry.io/docs/specs/otel/protocol/exporter/
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from urllib.parse import unquote

from sidecar.config.schema import OtlpConfig
from sidecar.domain.errors import ConfigError, Mistake

PREFIX = "OTEL_EXPORTER_OTLP_"
PROTOCOLS, COMPRESSIONS = ("grpc", "http/protobuf"), ("none", "gzip")
FILES = ("CERTIFICATE", "CLIENT_KEY", "CLIENT_CERTIFICATE")
MIN_TIMEOUT_MS = 500.0
"""Smallest timeout that is read as milliseconds, as the specification says. A smaller value is in seconds, as Python's
SDK reads it: timeouts of eight minutes or of some milliseconds make no sense."""


def read_variable(signal: str, suffix: str, environ: Mapping[str, str] = os.environ) -> tuple[str, str] | None:
    """Return name and value of the variable for a signal. The signal's own variable precedes the general one."""
    for name in (f"{PREFIX}{signal.upper()}_{suffix}", f"{PREFIX}{suffix}"):
        if value := environ.get(name, "").strip():
            return name, value
    return None


def protocol(otlp: OtlpConfig, signal: str, environ: Mapping[str, str] = os.environ) -> str:
    """Return `grpc` or `http/protobuf`. Raises ConfigError if the environment names another protocol."""
    return otlp.protocol or _choose(PROTOCOLS, read_variable(signal, "PROTOCOL", environ)) or "grpc"


def compression(otlp: OtlpConfig, signal: str, environ: Mapping[str, str] = os.environ) -> str:
    """Return `none` or `gzip`. Raises ConfigError if the environment names another compression."""
    return otlp.compression or _choose(COMPRESSIONS, read_variable(signal, "COMPRESSION", environ)) or "none"


def timeout(otlp: OtlpConfig, signal: str, environ: Mapping[str, str] = os.environ) -> float | None:
    """Return the request timeout in seconds; None if it is not configured. Raises ConfigError."""
    if otlp.timeout is not None:
        return float(otlp.timeout)
    variable = read_variable(signal, "TIMEOUT", environ)
    if variable is None:
        return None
    try:
        number = float(variable[1])
    except ValueError:
        number = 0.0
    if not 0 < number < 1e9:
        raise _invalid(variable, "a number of milliseconds, such as 10000")
    return number / 1000 if number >= MIN_TIMEOUT_MS else number


def find_mistakes(otlp: OtlpConfig, signal: str, environ: Mapping[str, str] = os.environ) -> Iterator[Mistake]:
    """List the invalid variables of a signal."""
    for read in (protocol, compression, timeout):
        try:
            read(otlp, signal, environ)
        except ConfigError as error:
            yield from error.mistakes
    if otlp.tls is None:
        yield from _find_unreadable_files(signal, environ)


def service_name(environ: Mapping[str, str] = os.environ) -> str:
    """Return the reporting service's name from the environment, else `tracecar`."""
    if name := environ.get("OTEL_SERVICE_NAME", "").strip():
        return name
    for pair in environ.get("OTEL_RESOURCE_ATTRIBUTES", "").split(","):
        name, _, value = pair.partition("=")
        if name.strip() == "service.name" and value.strip():
            return unquote(value.strip())
    return "tracecar"


def is_sdk_disabled(environ: Mapping[str, str] = os.environ) -> bool:
    """Check whether OTEL_SDK_DISABLED turns all exports off."""
    return environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def selected_exporters(signal: str, environ: Mapping[str, str] = os.environ) -> set[str]:
    """Return the exporters that `OTEL_TRACES_EXPORTER` (or its like) names; empty if it is not set."""
    return {word.strip().lower() for word in environ.get(f"OTEL_{signal.upper()}_EXPORTER", "").split(",")} - {""}


def _choose(choices: tuple[str, ...], variable: tuple[str, str] | None) -> str | None:
    if variable is None:
        return None
    if variable[1].lower() not in choices:
        raise _invalid(variable, " or ".join(choices))
    return variable[1].lower()


def _find_unreadable_files(signal: str, environ: Mapping[str, str]) -> Iterator[Mistake]:
    for suffix in FILES:
        variable = read_variable(signal, suffix, environ)
        if variable is not None:
            try:
                with open(variable[1], "rb"):
                    pass
            except OSError as error:
                yield Mistake(variable[0], "a readable file", f"{variable[1]!r} ({error.strerror})")


def _invalid(variable: tuple[str, str], expected: str) -> ConfigError:
    return ConfigError([Mistake(variable[0], expected, repr(variable[1]))], "the environment")
