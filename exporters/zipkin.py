"""Sends spans to Zipkin as JSON (API v2): https://zipkin.io/zipkin-api/#/default/post_spans."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from typing import Any

import httpx2
import msgspec

from exporters.semantic_conventions import Spelling, names_for
from exporters.tracing.span_mapper import ExportSpan, SpanLink, Value, all_attributes
from sidecar.config.schema import TlsConfig, ZipkinConfig
from sidecar.domain.errors import ConfigError, Mistake, Outage, Refused

SERVICE = "tracecar"
_RETRYABLE = frozenset((408, 429, 500, 502, 503, 504))


class ZipkinSpanEncoder:
    """Encodes spans as Zipkin JSON. Zipkin has no links; they become tags `tracecar.link.KIND`."""

    def __init__(self, spelling: Spelling, service: str = SERVICE) -> None:
        self._spelling, self._service = spelling, service
        self._encode = msgspec.json.Encoder().encode

    def begin(self, spans: Sequence[ExportSpan]) -> None:
        """Do nothing: JSON is encoded in one step."""

    def encode(self, spans: Sequence[ExportSpan]) -> list[bytes]:
        """Encode each span as a JSON object."""
        return [self._encode(self.to_json(span)) for span in spans]

    def to_json(self, span: ExportSpan) -> dict[str, Any]:
        """Convert a span to JSON types. Zipkin's times are microseconds; a duration is at least one."""
        tags = {
            each: _format_tag(value) for name, value in all_attributes(span) for each in names_for(self._spelling, name)
        } | {f"tracecar.link.{link.kind}": _format_context(link) for link in span.links}
        if span.error is not None:
            tags["error"] = _encodable(span.error)
        start = span.start // 1000
        document: dict[str, Any] = {
            "traceId": f"{span.trace_id:032x}",
            "id": f"{span.span_id:016x}",
            "name": _encodable(span.place.name),
            # Zipkin's kind for the receiver of a message.
            "kind": "CONSUMER",
            "timestamp": max(1, start),
            "duration": max(1, span.end // 1000 - start),
            "localEndpoint": {"serviceName": self._service},
            "remoteEndpoint": {"serviceName": span.place.log.system},
            "tags": tags,
        }
        if span.parent_id is not None:
            document["parentId"] = f"{span.parent_id:016x}"
        if span.notes:
            document["annotations"] = [
                {"timestamp": max(1, span.end // 1000), "value": note.name} for note in span.notes
            ]
            for note in span.notes:
                tags |= {name: _format_tag(value) for name, value in note.attributes}
        return document


def _format_tag(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return _encodable(value) if isinstance(value, str) else str(value)


def _encodable(text: str) -> str:
    """Escape surrogates, which UTF-8 cannot encode, and cut long texts."""
    return text[:1_024].encode("utf-8", "backslashreplace").decode()


def _format_context(link: SpanLink) -> str:
    return f"{link.trace_id:032x}-{link.span_id:016x}"


class ZipkinTransport:
    """Sends spans to Zipkin (`exporters.batch_queue.BatchTransport`)."""

    def __init__(self, zipkin: ZipkinConfig) -> None:
        self._endpoint = zipkin.endpoint
        self._client = httpx2.Client(
            timeout=float(zipkin.timeout),
            headers={**zipkin.headers, "content-type": "application/json"},
            # Without TLS the system's certificates are not loaded, which would cost time and memory.
            verify=_create_tls_context(zipkin.tls)
            if zipkin.endpoint.startswith("https:")
            else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            trust_env=False,
        )

    def send(self, items: Sequence[bytes]) -> int:
        """Send these spans; Zipkin accepts all or none. Raises Outage or Refused."""
        try:
            answer = self._client.post(self._endpoint, content=b"[" + b",".join(items) + b"]")
        except (httpx2.TransportError, RuntimeError) as error:  # RuntimeError: the client was closed meanwhile
            raise Outage(f"cannot connect to {self._endpoint}: {error or type(error).__name__}") from error
        if answer.is_success:
            return 0
        message = f"{self._endpoint} answers {answer.status_code}: {answer.text[:300]}"
        if answer.status_code in _RETRYABLE:
            after = answer.headers.get("retry-after", "")
            raise Outage(message, min(float(after), 60.0) if after.isdigit() and after != "0" else None)
        raise Refused(message)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _create_tls_context(tls: TlsConfig | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=None if tls is None else tls.ca)
        if tls is not None and tls.cert is not None:
            context.load_cert_chain(tls.cert, tls.key)
        if tls is not None and not tls.check_hostname:
            context.check_hostname = False
    except OSError as error:
        raise ConfigError([Mistake("exporters.zipkin.tls", "certificates that can be read", str(error))]) from error
    return context
