"""What the standard environment variables say of sending to a collector, as far as the official exporters' own reading
will not do: they end the process for some values that they cannot use, pass others over in silence, and take a timeout
for seconds that the specification counts in milliseconds.

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
MILLISECONDS = 500.0
"""A timeout from here on is milliseconds, as the specification says; below it seconds, as Python's SDK takes it. Nobody
waits eight minutes for a request, or a hundredth of a second only."""


def said(signal: str, word: str, environ: Mapping[str, str] = os.environ) -> tuple[str, str] | None:
    """The variable that counts for a signal, its own before the general one, and its value."""
    for name in (f"{PREFIX}{signal.upper()}_{word}", f"{PREFIX}{word}"):
        if found := environ.get(name, "").strip():
            return name, found
    return None


def protocol(otlp: OtlpConfig, signal: str, environ: Mapping[str, str] = os.environ) -> str:
    """`grpc` or `http/protobuf`. Raises ConfigError where the environment asks for another one."""
    return otlp.protocol or _one_of(PROTOCOLS, said(signal, "PROTOCOL", environ)) or "grpc"


def compression(otlp: OtlpConfig, signal: str, environ: Mapping[str, str] = os.environ) -> str:
    """`none` or `gzip`. Raises ConfigError where the environment asks for another one."""
    return otlp.compression or _one_of(COMPRESSIONS, said(signal, "COMPRESSION", environ)) or "none"


def timeout(otlp: OtlpConfig, signal: str, environ: Mapping[str, str] = os.environ) -> float | None:
    """Seconds that one request may take; None where nobody says. Raises ConfigError."""
    if otlp.timeout is not None:
        return float(otlp.timeout)
    found = said(signal, "TIMEOUT", environ)
    if found is None:
        return None
    try:
        number = float(found[1])
    except ValueError:
        number = 0.0
    if not 0 < number < 1e9:
        raise _wrong(found, "a number of milliseconds, such as 10000")
    return number / 1000 if number >= MILLISECONDS else number


def mistakes(otlp: OtlpConfig, signal: str, environ: Mapping[str, str] = os.environ) -> Iterator[Mistake]:
    """What the environment says of a signal and cannot be used."""
    for read in (protocol, compression, timeout):
        try:
            read(otlp, signal, environ)
        except ConfigError as error:
            yield from error.mistakes
    if otlp.tls is None:
        yield from _unreadable(signal, environ)


def service_name(environ: Mapping[str, str] = os.environ) -> str:
    """Who reports: what the environment calls it, else `tracecar`."""
    if found := environ.get("OTEL_SERVICE_NAME", "").strip():
        return found
    for pair in environ.get("OTEL_RESOURCE_ATTRIBUTES", "").split(","):
        name, _, value = pair.partition("=")
        if name.strip() == "service.name" and value.strip():
            return unquote(value.strip())
    return "tracecar"


def disabled(environ: Mapping[str, str] = os.environ) -> bool:
    """Nothing is to be sent by anybody."""
    return environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def exporters(signal: str, environ: Mapping[str, str] = os.environ) -> set[str]:
    """What `OTEL_TRACES_EXPORTER` or its like names; empty where it is not set."""
    return {word.strip().lower() for word in environ.get(f"OTEL_{signal.upper()}_EXPORTER", "").split(",")} - {""}


def _one_of(wanted: tuple[str, ...], found: tuple[str, str] | None) -> str | None:
    if found is None:
        return None
    if found[1].lower() not in wanted:
        raise _wrong(found, " or ".join(wanted))
    return found[1].lower()


def _unreadable(signal: str, environ: Mapping[str, str]) -> Iterator[Mistake]:
    for word in FILES:
        found = said(signal, word, environ)
        if found is not None:
            try:
                with open(found[1], "rb"):
                    pass
            except OSError as error:
                yield Mistake(found[0], "a file that can be read", f"{found[1]!r} ({error.strerror})")


def _wrong(found: tuple[str, str], expected: str) -> ConfigError:
    return ConfigError([Mistake(found[0], expected, repr(found[1]))], "the environment")
