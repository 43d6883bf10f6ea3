"""To Zipkin, as its own JSON (API v2): https://zipkin.io/zipkin-api/#/default/post_spans."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from typing import Any

import httpx2
import msgspec

from exporters.semantic_conventions import Spelling, spelled
from exporters.tracing.span_mapper import ExportSpan, SpanLink, Value, all_attributes
from sidecar.config.schema import TlsConfig, ZipkinConfig
from sidecar.domain.errors import ConfigError, Mistake, Outage, Refused

SERVICE = "tracecar"
_RETRYABLE = frozenset((408, 429, 500, 502, 503, 504))


class ZipkinSpanEncoder:
    """Writes spans as Zipkin has them. Links, which it does not have, become tags `tracecar.link.KIND`."""

    def __init__(self, spelling: Spelling, service: str = SERVICE) -> None:
        self._spelling, self._service = spelling, service
        self._encode = msgspec.json.Encoder().encode

    def begin(self, spans: Sequence[ExportSpan]) -> None:
        """JSON is written at once."""

    def encode(self, spans: Sequence[ExportSpan]) -> list[bytes]:
        return [self._encode(self.plain(span)) for span in spans]

    def plain(self, span: ExportSpan) -> dict[str, Any]:
        """A span as JSON's own types. Zipkin's times are microseconds; a duration is at least one."""
        tags = {each: _tag(value) for name, value in all_attributes(span) for each in spelled(self._spelling, name)} | {
            f"tracecar.link.{link.kind}": _context(link) for link in span.links
        }
        if span.error is not None:
            tags["error"] = _clean(span.error)
        start = span.start // 1000
        plain: dict[str, Any] = {
            "traceId": f"{span.trace_id:032x}",
            "id": f"{span.span_id:016x}",
            "name": _clean(span.place.name),
            # A consumer, in Zipkin's own words: who received a message from a broker.
            "kind": "CONSUMER",
            "timestamp": max(1, start),
            "duration": max(1, span.end // 1000 - start),
            "localEndpoint": {"serviceName": self._service},
            "remoteEndpoint": {"serviceName": span.place.log.system},
            "tags": tags,
        }
        if span.parent_id is not None:
            plain["parentId"] = f"{span.parent_id:016x}"
        if span.notes:
            plain["annotations"] = [{"timestamp": max(1, span.end // 1000), "value": note.name} for note in span.notes]
            for note in span.notes:
                tags |= {name: _tag(value) for name, value in note.attributes}
        return plain


def _tag(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return _clean(value) if isinstance(value, str) else str(value)


def _clean(text: str) -> str:
    """Without surrogates, which JSON in UTF-8 cannot hold, and not too long."""
    return text[:1_024].encode("utf-8", "backslashreplace").decode()


def _context(link: SpanLink) -> str:
    return f"{link.trace_id:032x}-{link.span_id:016x}"


class ZipkinTransport:
    """Spans to Zipkin (`exporters.batch_queue.BatchTransport`)."""

    def __init__(self, zipkin: ZipkinConfig) -> None:
        self._endpoint = zipkin.endpoint
        self._client = httpx2.Client(
            timeout=float(zipkin.timeout),
            headers={**zipkin.headers, "content-type": "application/json"},
            # A context without certificates where none is needed: loading the system's costs time and memory.
            verify=_tls(zipkin.tls)
            if zipkin.endpoint.startswith("https:")
            else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            trust_env=False,
        )

    def send(self, items: Sequence[bytes]) -> int:
        try:
            answer = self._client.post(self._endpoint, content=b"[" + b",".join(items) + b"]")
        except (httpx2.TransportError, RuntimeError) as error:  # RuntimeError: the client was closed under us
            raise Outage(f"{self._endpoint} cannot be reached: {error or type(error).__name__}") from error
        if answer.is_success:
            return 0
        sentence = f"{self._endpoint} answers {answer.status_code}: {answer.text[:300]}"
        if answer.status_code in _RETRYABLE:
            after = answer.headers.get("retry-after", "")
            raise Outage(sentence, min(float(after), 60.0) if after.isdigit() and after != "0" else None)
        raise Refused(sentence)

    def close(self) -> None:
        self._client.close()


def _tls(tls: TlsConfig | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=None if tls is None else tls.ca)
        if tls is not None and tls.cert is not None:
            context.load_cert_chain(tls.cert, tls.key)
        if tls is not None and not tls.check_hostname:
            context.check_hostname = False
    except OSError as error:
        raise ConfigError([Mistake("exporters.zipkin.tls", "certificates that can be read", str(error))]) from error
    return context
