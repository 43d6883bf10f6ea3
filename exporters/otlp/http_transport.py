"""OTLP over HTTP with protobuf: the client of the official exporter, and requests with bytes over it."""

from __future__ import annotations

from typing import Any

import requests
from opentelemetry.exporter.otlp.common.http import _extract_retry_after, _is_retryable
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

from exporters.otlp.environment import compression, timeout
from exporters.otlp.settings import Signal, address
from sidecar.config.schema import OtlpConfig
from sidecar.domain.errors import Outage, Refused


class _TrustingSession(requests.Session):
    """A session that trusts the authorities it was told to: with REQUESTS_CA_BUNDLE (or CURL_CA_BUNDLE) set, requests
    takes those in place of the session's own."""

    def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
        merged = super().merge_environment_settings(url, proxies, stream, verify, cert)
        return merged if self.verify is True else merged | {"verify": self.verify}


class _AnyHostnameAdapter(requests.adapters.HTTPAdapter):
    """Connections whose certificate must be good, but need not name the host."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options, assert_hostname=False)


def http_options(otlp: OtlpConfig, signal: str) -> dict[str, Any]:
    """What the file says, as arguments of an official exporter; what it leaves out they take from the environment.
    Raises ConfigError."""
    session = _TrustingSession()
    gzip = compression(otlp, signal) == "gzip"
    options: dict[str, Any] = {
        "endpoint": address(otlp, signal),
        "headers": otlp.headers,
        "session": session,
        "compression": Compression.Gzip if gzip else Compression.NoCompression,
        "timeout": timeout(otlp, signal),
    }
    if otlp.tls is not None:
        options["certificate_file"] = otlp.tls.ca
        options["client_key_file"], options["client_certificate_file"] = otlp.tls.key, otlp.tls.cert
        if not otlp.tls.check_hostname:
            session.mount("https://", _AnyHostnameAdapter())
    return options


class HttpSender:
    """Sends requests with the client that an official exporter has made (`exporters.otlp.Sending`)."""

    def __init__(self, otlp: OtlpConfig, signal: Signal) -> None:
        self._client = _exporter(signal)(**http_options(otlp, signal))._client

    def __call__(self, request: bytes) -> bytes:
        client = self._client
        result = client._submit(client._compress(request), client._timeout)
        status = result.status_code
        if status is None:
            raise Outage(f"{client._endpoint} cannot be reached: {result.error}")
        if 200 <= status < 300:
            answer: bytes = result.content()
            return answer
        sentence = f"{client._endpoint} answers {status} {result.reason}: {result.text()[:300]}"
        if _is_retryable(status):
            wait = _extract_retry_after(result)
            raise Outage(sentence, None if not wait else min(wait, 60.0))
        raise Refused(sentence)

    def close(self) -> None:
        self._client._transport.close()


def _exporter(signal: Signal) -> Any:
    """The official exporter of a signal. That of metrics is loaded where it is wanted only."""
    if signal == "metrics":
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

        return OTLPMetricExporter
    return OTLPSpanExporter if signal == "traces" else OTLPLogExporter
