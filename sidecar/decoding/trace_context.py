"""Trace context in headers: the trace that a record belongs to, and the span that sent it.

Formats are tried in this order; the first with a valid trace id wins, and a malformed one is skipped:

1. W3C Trace Context (level 1 and 2): `traceparent`. `tracestate` is not read.
2. B3 single header: `b3`
3. B3 multiple headers: `X-B3-TraceId`, `X-B3-SpanId`, `X-B3-ParentSpanId`, `X-B3-Sampled`, `X-B3-Flags`
4. Jaeger: `uber-trace-id`
5. Datadog: `x-datadog-trace-id`, `x-datadog-parent-id`, and the upper half of the id from `x-datadog-tags`
6. AWS X-Ray: `X-Amzn-Trace-Id`
7. CloudEvents' distributed tracing extension: `ce_traceparent`

Names compare without case. Of a repeated name the last value counts, as in Kafka's own `lastHeader`: a hop that adds
its header appends it. Quotes around a value are ignored: some serializers write header values as JSON.

Meaning of the ids on an event
------------------------------
`span_id` is the span that sent the record: W3C calls it parent-id, B3 SpanId, X-Ray Parent and Datadog parent-id.
`parent_span_id` is the parent of that span, which only B3 and Jaeger carry. So the cause of an event is the event with
a `span_id` equal to this one's `parent_span_id`; two events with the same `span_id` were sent by one span and are
siblings. CloudEvents' extension names the trace in which a chain of hops *started*, and no span of the sender.
"""

from __future__ import annotations

from binascii import unhexlify
from collections.abc import Callable, Mapping
from re import IGNORECASE
from re import compile as pattern
from urllib.parse import unquote_to_bytes

from msgspec import Struct

from sidecar.domain.model import Headers, TraceOrigin

MAX_HEADER_BYTES = 1024
"""Longest header to read. None of these formats needs more, so a longer one is malformed."""

DIGITS_TO_ZERO = bytes(ord("0") if byte in b"0123456789abcdef" else byte for byte in range(256))
"""A table for `bytes.translate`: every lower-case hex digit becomes 0."""
TRACEPARENT_SHAPE = b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-00"
"""Result of that table for every `traceparent` of 55 bytes: one comparison checks digits, dashes and length."""

_MAX_64_BIT_ID = (1 << 64) - 1
_B3 = pattern(rb"([0-9a-f]{32}|[0-9a-f]{16})-([0-9a-f]{16})(?:-([01d]))?(?:-([0-9a-f]{16}))?")
_B3_TRACE = pattern(rb"[0-9a-f]{32}|[0-9a-f]{16}")
_B3_SPAN = pattern(rb"[0-9a-f]{16}")
_JAEGER = pattern(rb"([0-9a-f]{1,32}):([0-9a-f]{1,16}):([0-9a-f]{1,16}):([0-9a-f]{1,2})", IGNORECASE)
_DECIMAL = pattern(rb"[0-9]{1,20}")
_TID = pattern(rb"(?:^|,)\s*_dd\.p\.tid=([0-9a-f]{16})\s*(?:,|$)")
_XRAY_ROOT = pattern(rb"1-([0-9a-f]{8})-([0-9a-f]{24})", IGNORECASE)
_XRAY_PARENT = pattern(rb"[0-9a-f]{16}", IGNORECASE)


class TraceContext(Struct, frozen=True, gc=False):
    """The trace that a record belongs to, and the spans that it names."""

    trace_id: int
    """128 bits, never 0. Formats with 64 bits leave the upper half 0."""
    span_id: int | None
    """Id of the span that sent the record, 64 bits."""
    parent_span_id: int | None
    """Id of the parent of that span, 64 bits, if the format carries it."""
    origin: TraceOrigin
    sampled: bool | None
    """The sender's sampling decision; None if the sender deferred it."""


def read_trace_context(headers: Headers) -> TraceContext | None:
    """Return the trace context in these headers; None if there is no valid one."""
    trace_headers: dict[str, bytes] = {}
    for name, value in headers:
        lower = name.lower()
        if lower in TRACE_HEADERS and value is not None and len(value) <= MAX_HEADER_BYTES:
            trace_headers[lower] = value.strip(b' \t"')
    if trace_headers:
        for read in _READERS:
            context = read(trace_headers)
            if context is not None:
                return context
    return None


def parse_traceparent(value: bytes) -> tuple[int, int] | None:
    """Return the trace id and the sender's span id of a W3C `traceparent`; None if it is invalid.

    By W3C Trace Context, section 3.2: version ff and ids of zeros are invalid; a version above 00 may be longer.
    """
    if len(value) == 55 and value.translate(DIGITS_TO_ZERO) == TRACEPARENT_SHAPE and value[:2] != b"ff":
        trace_id, span_id = int.from_bytes(unhexlify(value[3:35])), int.from_bytes(unhexlify(value[36:52]))
        return (trace_id, span_id) if trace_id and span_id else None
    if 55 < len(value) <= MAX_HEADER_BYTES and value[55:56] == b"-" and value[:2] != b"00":
        return parse_traceparent(value[:55])
    return None


def _w3c(headers: Mapping[str, bytes]) -> TraceContext | None:
    value = headers.get("traceparent")
    ids = parse_traceparent(value) if value else None
    if not value or ids is None:
        return None
    return TraceContext(ids[0], ids[1], None, TraceOrigin.W3C, bool(int(value[53:55], 16) & 1))


def _b3_single(headers: Mapping[str, bytes]) -> TraceContext | None:
    """Read `{TraceId}-{SpanId}[-{SamplingState}[-{ParentSpanId}]]`; a sampling state alone carries no trace."""
    match = _B3.fullmatch(headers.get("b3", b""))
    if match is None:
        return None
    sampled = None if match[3] is None else match[3] != b"0"
    return _context(int(match[1], 16), int(match[2], 16), _hex(match[4]), TraceOrigin.B3, sampled)


def _b3_multi(headers: Mapping[str, bytes]) -> TraceContext | None:
    trace, span, parent = (headers.get(f"x-b3-{name}", b"") for name in ("traceid", "spanid", "parentspanid"))
    if not _B3_TRACE.fullmatch(trace) or (span and not _B3_SPAN.fullmatch(span)):
        return None
    parent_id = _hex(parent) if _B3_SPAN.fullmatch(parent) else None
    sampled = {b"1": True, b"true": True, b"0": False, b"false": False}.get(headers.get("x-b3-sampled", b"").lower())
    if headers.get("x-b3-flags") == b"1":
        sampled = True
    return _context(int(trace, 16), _hex(span), parent_id, TraceOrigin.B3, sampled)


def _jaeger(headers: Mapping[str, bytes]) -> TraceContext | None:
    """Read `{trace-id}:{span-id}:{parent-span-id}:{flags}`: colons may be URL-encoded, leading zeros missing."""
    match = _JAEGER.fullmatch(unquote_to_bytes(headers.get("uber-trace-id", b"")))
    if match is None:
        return None
    sampled = bool(int(match[4], 16) & 1)
    return _context(int(match[1], 16), int(match[2], 16), int(match[3], 16), TraceOrigin.JAEGER, sampled)


def _datadog(headers: Mapping[str, bytes]) -> TraceContext | None:
    """Read decimal 64-bit ids; the trace id's upper half, where there is one, is the tag `_dd.p.tid`."""
    low = _decimal(headers.get("x-datadog-trace-id", b""))
    if not low:
        return None
    high = _TID.search(headers.get("x-datadog-tags", b""))
    trace_id = (int(high[1], 16) << 64 if high else 0) | low
    priority = headers.get("x-datadog-sampling-priority")
    sampled = None if priority is None else priority in (b"1", b"2")
    return _context(trace_id, _decimal(headers.get("x-datadog-parent-id", b"")), None, TraceOrigin.DATADOG, sampled)


def _xray(headers: Mapping[str, bytes]) -> TraceContext | None:
    """Read `Root=1-{8 hex}-{24 hex};Parent={16 hex};Sampled={0|1|?}`, in any order, ignoring other parts."""
    parts = dict(part.strip().partition(b"=")[::2] for part in headers.get("x-amzn-trace-id", b"").split(b";"))
    root = _XRAY_ROOT.fullmatch(parts.get(b"Root", b""))
    parent = parts.get(b"Parent", b"")
    if root is None or (parent and not _XRAY_PARENT.fullmatch(parent)):
        return None
    sampled = {b"1": True, b"0": False}.get(parts.get(b"Sampled", b""))
    return _context(int(root[1] + root[2], 16), _hex(parent), None, TraceOrigin.XRAY, sampled)


def _cloudevents(headers: Mapping[str, bytes]) -> TraceContext | None:
    value = headers.get("ce_traceparent")
    return parse_starting_trace(value) if value else None


def parse_starting_trace(value: bytes) -> TraceContext | None:
    """Read CloudEvents' `traceparent` extension: the trace in which the chain started, without the sender's span."""
    ids = parse_traceparent(value)
    return TraceContext(ids[0], None, None, TraceOrigin.CLOUDEVENTS, None) if ids else None


def _context(
    trace_id: int, span_id: int | None, parent_id: int | None, origin: TraceOrigin, sampled: bool | None
) -> TraceContext | None:
    """Build a context; 0 is no id. None without a trace id."""
    return TraceContext(trace_id, span_id or None, parent_id or None, origin, sampled) if trace_id else None


def _hex(digits: bytes | None) -> int | None:
    return int(digits, 16) if digits else None


def _decimal(digits: bytes) -> int | None:
    number = int(digits) if _DECIMAL.fullmatch(digits) else 0
    return number if 0 < number <= _MAX_64_BIT_ID else None


_READERS: tuple[Callable[[Mapping[str, bytes]], TraceContext | None], ...] = (
    _w3c,
    _b3_single,
    _b3_multi,
    _jaeger,
    _datadog,
    _xray,
    _cloudevents,
)

TRACE_HEADERS = frozenset(
    (
        "traceparent",
        "b3",
        "x-b3-traceid",
        "x-b3-spanid",
        "x-b3-parentspanid",
        "x-b3-sampled",
        "x-b3-flags",
        "uber-trace-id",
        "x-datadog-trace-id",
        "x-datadog-parent-id",
        "x-datadog-tags",
        "x-datadog-sampling-priority",
        "x-amzn-trace-id",
        "ce_traceparent",
    )
)
"""Headers that carry trace context, in lower case."""
