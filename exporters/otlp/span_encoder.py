"""Encodes spans as OTLP (`opentelemetry.proto.trace.v1.Span`), directly into bytes.

Fields (trace.proto): 1 trace_id, 2 span_id, 4 parent_span_id, 5 name, 6 kind, 7 start, 8 end, 9 attributes, 11 events,
13 links, 15 status.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from struct import Struct as Packing

from msgspec import Struct

from exporters import semantic_conventions as names
from exporters.otlp.protobuf_writer import (
    HEADER_COUNT,
    build_int_headers,
    build_text_headers,
    utf8,
    varint,
    write_attribute,
    write_attributes,
    write_field,
)
from exporters.semantic_conventions import Spelling, names_for
from exporters.tracing.span_mapper import VARYING, Attributes, ExportSpan, PartitionAttributes, SpanEvent, SpanLink

CLIENT = b"\x30\x03"
"""Span kind of a receiver, by the semantic conventions."""
ERROR = b"\x18\x02"
_NUMBERS = frozenset((names.KAFKA_OFFSET, names.BODY_SIZE))
_TEXTS = (
    names.MESSAGE_ID,
    names.CONVERSATION_ID,
    names.KAFKA_KEY,
    names.EVENT_TYPE,
    names.AGGREGATE_ID,
    names.PRODUCER,
)
MAX_ENTRY_CHARS = 41
"""Longest text after a position's last slash: two 64-bit numbers and a dash."""
_ID_AND_TIMES = Packing("<2s8sBQBQ").pack


class _PartitionPrefix(Struct, gc=False):
    """The bytes that all spans of a partition share."""

    header: bytes
    """Name, kind and attributes."""
    positions: list[str]
    """Header and beginning of the position attribute, by the length of the offset's text."""


class OtlpSpanEncoder:
    """Encodes spans with the attribute names of `spelling`.

    Nearly all events have short ASCII texts, each sent under one name. They are joined into one text, with their
    headers, and encoded at once. A header with a length above 127 is not ASCII, so one check of the whole text is
    enough. All other values are encoded one by one, which takes twice as long.
    """

    def __init__(self, spelling: Spelling) -> None:
        self._spelling = spelling
        self._varying: list[tuple[int, list[bytes]]] = []
        """Index of a value and its headers by length. A value that is sent under two names is listed twice."""
        heads: dict[str, list[bytes]] = {}
        for number, name in enumerate(VARYING):
            for each in names_for(spelling, name):
                self._varying.append((number, _build_headers(name, each)))
                heads[name] = self._varying[-1][1]
        self._sent_once = len(self._varying) == len(VARYING)
        self._text_headers = tuple(_decode_headers(heads[name]) for name in _TEXTS)
        self._offset_headers, self._size_headers = heads[names.KAFKA_OFFSET], heads[names.BODY_SIZE]
        self._position_headers = _decode_headers(heads[names.POSITION])
        self._places: dict[int, _PartitionPrefix] = {}

    def begin(self, spans: Sequence[ExportSpan]) -> None:
        """Encode the part of each span that does not depend on its trace and parent."""
        for span in spans:
            span.written = b"".join(
                self._encode_fields(span, self._places.get(span.place.base) or self._create_prefix(span.place))
            )

    def encode(self, spans: Sequence[ExportSpan]) -> list[bytes]:
        """Encode each span as field 2 of a `ScopeSpans`."""
        return [self._encode(span) for span in spans]

    def _encode(self, span: ExportSpan) -> bytes:
        event, parent, trace = span.event, span.parent_id, span.trace_id.to_bytes(16, "big")
        place = self._places.get(span.place.base) or self._create_prefix(span.place)
        parts = [b"\x0a\x10", trace, place.header]
        if span.written is None:
            parts += self._encode_fields(span, place)
        else:
            parts.append(span.written)
        if parent is not None:
            parts += b"\x22\x08", parent.to_bytes(8, "big")
        sender, its_trace = event.span_id, event.trace_id
        if sender is not None and its_trace is not None:
            if its_trace != span.trace_id:
                trace = its_trace.to_bytes(16, "big")
            parts += _LINK_HEADS["creation"], trace, b"\x12\x08", sender.to_bytes(8, "big"), _KINDS["creation"]
        if span.further or span.further_links or span.notes or span.error is not None:
            parts.append(self._encode_rare(span))
        data = b"".join(parts)
        return b"\x12" + varint(len(data)) + data

    def _encode_fields(self, span: ExportSpan, place: _PartitionPrefix) -> list[bytes]:
        """Encode the span id, the times, and the attributes in `VARYING`."""
        parts = [_ID_AND_TIMES(b"\x12\x08", span.span_id.to_bytes(8, "big"), 0x39, span.start, 0x41, span.end)]
        text = self._join_texts(span, place) if self._sent_once else None
        if text is None:
            parts += self._encode_each(span)
            return parts
        parts.append(text.encode())
        if span.place.counted:
            number = varint(span.event.position.offset)
            parts += self._offset_headers[len(number)], number
        if span.size is not None:
            number = varint(span.size)
            parts += self._size_headers[len(number)], number
        return parts

    def _join_texts(self, span: ExportSpan, place: _PartitionPrefix) -> str | None:
        """Join the text attributes; None if one is too long or not ASCII."""
        event, keyed = span.event, span.place.counted
        ids, conversations, keys, types, aggregates, producers = self._text_headers
        entry = span.place.entry(event.position.offset)
        id, conversation, type = event.event_id, event.correlation_id, event.type
        key, aggregate, producer = event.key if keyed else None, event.aggregate_id, event.producer
        if id is None and not keyed:
            id = entry
        try:
            text = (
                f"{place.positions[len(entry)]}{entry}"
                f"{'' if id is None else ids[len(id)]}{id or ''}"
                f"{'' if conversation is None else conversations[len(conversation)]}{conversation or ''}"
                f"{'' if key is None else keys[len(key)]}{key or ''}"
                f"{'' if type is None else types[len(type)]}{type or ''}"
                f"{'' if aggregate is None else aggregates[len(aggregate)]}{aggregate or ''}"
                f"{'' if producer is None else producers[len(producer)]}{producer or ''}"
            )
        except IndexError:  # longer than any value that is sent whole
            return None
        return text if text.isascii() else None

    def _encode_each(self, span: ExportSpan) -> Iterator[bytes]:
        """Encode the attributes in `VARYING` one by one."""
        values = span.values
        for number, heads in self._varying:
            value = values[number]
            if value is not None:
                data = utf8(value) if isinstance(value, str) else varint(value)
                yield heads[len(data)]
                yield data

    def _create_prefix(self, place: PartitionAttributes) -> _PartitionPrefix:
        head = write_field(5, utf8(place.name)) + CLIENT + self._encode_attributes(place.attributes, 9)
        lengths = range(len(place.prefix), min(len(place.prefix) + MAX_ENTRY_CHARS + 1, HEADER_COUNT))
        written = _PartitionPrefix(head, [self._position_headers[length] + place.prefix for length in lengths])
        self._places[place.base] = written
        return written

    def _encode_rare(self, span: ExportSpan) -> bytes:
        parts = [_encode_link(link) for link in span.further_links]
        parts += self._encode_attributes(span.further, 9), *(self._encode_note(note, span.end) for note in span.notes)
        if span.error is not None:
            parts.append(write_field(15, write_field(2, utf8(span.error)) + ERROR))
        return b"".join(parts)

    def _encode_note(self, note: SpanEvent, at: int) -> bytes:
        head = b"\x09" + at.to_bytes(8, "little") + write_field(2, note.name.encode())
        return write_field(11, head + self._encode_attributes(note.attributes, 3))

    def _encode_attributes(self, pairs: Attributes, field: int) -> bytes:
        return write_attributes(
            [(each, value) for name, value in pairs for each in names_for(self._spelling, name)], field
        )


def _decode_headers(heads: list[bytes]) -> list[str]:
    return [head.decode("latin-1") for head in heads]


def _build_headers(name: str, spelling: str) -> list[bytes]:
    return build_int_headers(spelling, 9) if name in _NUMBERS else build_text_headers(spelling, 9)


_KINDS = {kind: write_attribute(names.LINK, kind, 4) for kind in ("creation", "replay_of", "duplicate_of", "cause")}
_LINK_HEADS = {kind: b"\x6a" + varint(28 + len(data)) + b"\x0a\x10" for kind, data in _KINDS.items()}


def _encode_link(link: SpanLink) -> bytes:
    ids = link.trace_id.to_bytes(16, "big") + b"\x12\x08" + link.span_id.to_bytes(8, "big")
    return _LINK_HEADS[link.kind] + ids + _KINDS[link.kind]
