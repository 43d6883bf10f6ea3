"""OTLP over HTTP with protobuf: sends encoded requests with the client of the official exporter."""

from __future__ import annotations

from typing import Any

import requests
from opentelemetry.exporter.otlp.common.http import _extract_retry_after, _is_retryable
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

from exporters.otlp.environment import compression, timeout
from exporters.otlp.settings import Signal, signal_address
from sidecar.config.schema import OtlpConfig
from sidecar.domain.errors import Outage, Refused


class _TrustingSession(requests.Session):
    """A session that trusts its configured certificate authorities.

    Requests would replace them with REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE if those are set.
    """

    def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
        """Merge the environment's settings, without its certificate authorities."""
        merged = super().merge_environment_settings(url, proxies, stream, verify, cert)
        return merged if self.verify is True else merged | {"verify": self.verify}


class _AnyHostnameAdapter(requests.adapters.HTTPAdapter):
    """An adapter that verifies certificates without checking the host name."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Create the pool without the host name check."""
        super().init_poolmanager(*args, **options, assert_hostname=False)


def http_options(otlp: OtlpConfig, signal: str) -> dict[str, Any]:
    """Return the arguments of the official exporter. Raises ConfigError.

    The exporter reads settings that the configuration omits from the environment.
    """
    session = _TrustingSession()
    gzip = compression(otlp, signal) == "gzip"
    options: dict[str, Any] = {
        "endpoint": signal_address(otlp, signal),
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
    """Sends requests with the client of an official exporter (`exporters.otlp.transport.OtlpSender`)."""

    def __init__(self, otlp: OtlpConfig, signal: Signal) -> None:
        self._client = _exporter_class(signal)(**http_options(otlp, signal))._client

    def __call__(self, request: bytes) -> bytes:
        """Send a request and return the response. Raises Outage or Refused."""
        client = self._client
        result = client._submit(client._compress(request), client._timeout)
        status = result.status_code
        if status is None:
            raise Outage(f"cannot connect to {client._endpoint}: {result.error}")
        if 200 <= status < 300:
            answer: bytes = result.content()
            return answer
        message = f"{client._endpoint} answers {status} {result.reason}: {result.text()[:300]}"
        if _is_retryable(status):
            wait = _extract_retry_after(result)
            raise Outage(message, None if not wait else min(wait, 60.0))
        raise Refused(message)

    def close(self) -> None:
        """Close the connections."""
        self._client._transport.close()


def _exporter_class(signal: Signal) -> Any:
    """Return the official exporter class of a signal. The one for metrics is imported only when needed."""
    if signal == "metrics":
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

        return OTLPMetricExporter
    return OTLPSpanExporter if signal == "traces" else OTLPLogExporter
