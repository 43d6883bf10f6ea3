"""Spans as OTLP has them: `opentelemetry.proto.trace.v1.Span`, written straight into bytes.

Fields (trace.proto): 1 trace_id, 2 span_id, 4 parent_span_id, 5 name, 6 kind, 7 start, 8 end, 9 attributes, 11 events,
13 links, 15 status.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from struct import Struct as Packing

from msgspec import Struct

from exporters import semantic_conventions as names
from exporters.otlp.protobuf_writer import (
    HEADS,
    attribute,
    attributes,
    delimited,
    int_heads,
    text_heads,
    utf8,
    varint,
)
from exporters.semantic_conventions import Spelling, spelled
from exporters.tracing.span_mapper import VARYING, Attributes, ExportSpan, PartitionAttributes, SpanEvent, SpanLink

CLIENT = b"\x30\x03"
"""The kind of a span that receives a message, by the conventions."""
ERROR = b"\x18\x02"
_NUMBERS = frozenset((names.KAFKA_OFFSET, names.BODY_SIZE))
_WORDS = (
    names.MESSAGE_ID,
    names.CONVERSATION_ID,
    names.KAFKA_KEY,
    names.EVENT_TYPE,
    names.AGGREGATE_ID,
    names.PRODUCER,
)
LONGEST_ENTRY = 41
"""Characters after a position's last slash: two numbers of 64 bits and a dash."""
_ID_AND_TIMES = Packing("<2s8sBQBQ").pack


class _PartitionPrefix(Struct, gc=False):
    """What the spans of one place have in common."""

    head: bytes
    """Name, kind and attributes."""
    positions: list[str]
    """What stands before the end of a position, and the position up to there, by the length of that end."""


class OtlpSpanEncoder:
    """Writes spans under the names that are asked for.

    Nearly all events hold short texts of ASCII, each sent under one name. Those are made as one text, with what stands
    before each, and become bytes at once; lengths above 127 are no ASCII, so one look at the whole text tells. All
    others are written value by value, which takes twice as long.
    """

    def __init__(self, spelling: Spelling) -> None:
        self._spelling = spelling
        self._varying: list[tuple[int, list[bytes]]] = []
        """Which of a span's values, and what stands before it: some are written twice, under two names."""
        heads: dict[str, list[bytes]] = {}
        for number, name in enumerate(VARYING):
            for each in spelled(spelling, name):
                self._varying.append((number, _heads(name, each)))
                heads[name] = self._varying[-1][1]
        self._once = len(self._varying) == len(VARYING)
        self._words = tuple(_as_text(heads[name]) for name in _WORDS)
        self._offset, self._size = heads[names.KAFKA_OFFSET], heads[names.BODY_SIZE]
        self._position = _as_text(heads[names.POSITION])
        self._places: dict[int, _PartitionPrefix] = {}

    def begin(self, spans: Sequence[ExportSpan]) -> None:
        """Write what is known before a span's place in its trace is."""
        for span in spans:
            span.written = b"".join(self._own(span, self._places.get(span.place.base) or self._write(span.place)))

    def encode(self, spans: Sequence[ExportSpan]) -> list[bytes]:
        """Each span as field 2 of a `ScopeSpans`."""
        return [self._encode(span) for span in spans]

    def _encode(self, span: ExportSpan) -> bytes:
        event, parent, trace = span.event, span.parent_id, span.trace_id.to_bytes(16, "big")
        place = self._places.get(span.place.base) or self._write(span.place)
        parts = [b"\x0a\x10", trace, place.head]
        if span.written is None:
            parts += self._own(span, place)
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
            parts.append(self._rare(span))
        data = b"".join(parts)
        return b"\x12" + varint(len(data)) + data

    def _own(self, span: ExportSpan, place: _PartitionPrefix) -> list[bytes]:
        """The span's id, its times, and the attributes in `VARYING`."""
        parts = [_ID_AND_TIMES(b"\x12\x08", span.span_id.to_bytes(8, "big"), 0x39, span.start, 0x41, span.end)]
        text = self._text(span, place) if self._once else None
        if text is None:
            parts += self._each(span)
            return parts
        parts.append(text.encode())
        if span.place.counted:
            number = varint(span.event.position.offset)
            parts += self._offset[len(number)], number
        if span.size is not None:
            number = varint(span.size)
            parts += self._size[len(number)], number
        return parts

    def _text(self, span: ExportSpan, place: _PartitionPrefix) -> str | None:
        """Those attributes, but the numbers; None where they are no text of ASCII."""
        event, keyed = span.event, span.place.counted
        ids, conversations, keys, types, aggregates, producers = self._words
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
        except IndexError:  # longer than any that is written whole
            return None
        return text if text.isascii() else None

    def _each(self, span: ExportSpan) -> Iterator[bytes]:
        """The same with the numbers, whatever they are."""
        values = span.values
        for number, heads in self._varying:
            value = values[number]
            if value is not None:
                data = utf8(value) if isinstance(value, str) else varint(value)
                yield heads[len(data)]
                yield data

    def _write(self, place: PartitionAttributes) -> _PartitionPrefix:
        head = delimited(5, utf8(place.name)) + CLIENT + self._attributes(place.attributes, 9)
        lengths = range(len(place.prefix), min(len(place.prefix) + LONGEST_ENTRY + 1, HEADS))
        written = _PartitionPrefix(head, [self._position[length] + place.prefix for length in lengths])
        self._places[place.base] = written
        return written

    def _rare(self, span: ExportSpan) -> bytes:
        parts = [_link(link) for link in span.further_links]
        parts += self._attributes(span.further, 9), *(self._note(note, span.end) for note in span.notes)
        if span.error is not None:
            parts.append(delimited(15, delimited(2, utf8(span.error)) + ERROR))
        return b"".join(parts)

    def _note(self, note: SpanEvent, at: int) -> bytes:
        head = b"\x09" + at.to_bytes(8, "little") + delimited(2, note.name.encode())
        return delimited(11, head + self._attributes(note.attributes, 3))

    def _attributes(self, found: Attributes, field: int) -> bytes:
        return attributes([(each, value) for name, value in found for each in spelled(self._spelling, name)], field)


def _as_text(heads: list[bytes]) -> list[str]:
    return [head.decode("latin-1") for head in heads]


def _heads(name: str, spelling: str) -> list[bytes]:
    return int_heads(spelling, 9) if name in _NUMBERS else text_heads(spelling, 9)


_KINDS = {kind: attribute(names.LINK, kind, 4) for kind in ("creation", "replay_of", "duplicate_of", "cause")}
_LINK_HEADS = {kind: b"\x6a" + varint(28 + len(data)) + b"\x0a\x10" for kind, data in _KINDS.items()}


def _link(link: SpanLink) -> bytes:
    ids = link.trace_id.to_bytes(16, "big") + b"\x12\x08" + link.span_id.to_bytes(8, "big")
    return _LINK_HEADS[link.kind] + ids + _KINDS[link.kind]
