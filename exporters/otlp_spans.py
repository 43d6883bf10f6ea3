"""Spans as OTLP has them: `opentelemetry.proto.trace.v1.Span`, written straight into bytes.

Fields (trace.proto): 1 trace_id, 2 span_id, 4 parent_span_id, 5 name, 6 kind, 7 start, 8 end, 9 attributes, 11 events,
13 links, 15 status.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct as Packing

from exporters import conventions as names
from exporters.conventions import Spelling, spelled
from exporters.otlp_wire import HEADS, attribute, attributes, delimited, int_heads, text_heads, utf8, varint
from exporters.spans import VARYING, Attributes, Link, Note, Place, Span

CLIENT = b"\x30\x03"
"""The kind of a span that receives a message, by the conventions."""
ERROR = b"\x18\x02"
_NUMBERS = frozenset((names.KAFKA_OFFSET, names.BODY_SIZE))
_WITH_PARENT = Packing("<2s16s2s8s2s8sBQBQ").pack
_WITHOUT_PARENT = Packing("<2s16s2s8sBQBQ").pack


class SpanEncoder:
    """Writes spans under the names that are asked for."""

    def __init__(self, spelling: Spelling) -> None:
        self._spelling = spelling
        self._varying: list[list[bytes]] = []
        self._again: list[int] = []
        """Which of a span's values are written once more, under their second name."""
        self._places: dict[int, bytes] = {}
        for name in VARYING:
            self._varying.append(_heads(name, spelled(spelling, name)[0]))
        for number, name in enumerate(VARYING):
            for further in spelled(spelling, name)[1:]:
                self._varying.append(_heads(name, further))
                self._again.append(number)

    def encode(self, spans: Sequence[Span]) -> list[bytes]:
        """Each span as field 2 of a `ScopeSpans`."""
        return [self._encode(span) for span in spans]

    def _encode(self, span: Span) -> bytes:
        trace, id = span.trace_id.to_bytes(16, "big"), span.span_id.to_bytes(8, "big")
        parent, start, end = span.parent_id, span.start, span.end
        if parent is None:
            ids = _WITHOUT_PARENT(b"\x0a\x10", trace, b"\x12\x08", id, 0x39, start, 0x41, end)
        else:
            above = parent.to_bytes(8, "big")
            ids = _WITH_PARENT(b"\x0a\x10", trace, b"\x12\x08", id, b"\x22\x08", above, 0x39, start, 0x41, end)
        place = self._places.get(span.place.base)
        parts = [ids, self._place(span.place) if place is None else place]
        append, values = parts.append, span.values
        if self._again:
            values = (*values, *(values[number] for number in self._again))
        for heads, value in zip(self._varying, values, strict=True):
            if value.__class__ is str:
                data = value.encode("utf-8", "replace")
                if len(data) >= HEADS:
                    data = utf8(value)
                append(heads[len(data)] + data)
            elif value is not None:
                data = varint(value)  # type: ignore[arg-type]  # no text, as just asked
                append(heads[len(data)] + data)
        for link in span.links:
            append(_link(link))
        if span.further or span.notes or span.error is not None:
            append(self._rare(span))
        data = b"".join(parts)
        return b"\x12" + varint(len(data)) + data

    def _rare(self, span: Span) -> bytes:
        parts = [self._attributes(span.further, 9), *(self._note(note, span.end) for note in span.notes)]
        if span.error is not None:
            parts.append(delimited(15, delimited(2, utf8(span.error)) + ERROR))
        return b"".join(parts)

    def _place(self, place: Place) -> bytes:
        head = delimited(5, utf8(place.name)) + CLIENT + self._attributes(place.attributes, 9)
        self._places[place.base] = head
        return head

    def _note(self, note: Note, at: int) -> bytes:
        head = b"\x09" + at.to_bytes(8, "little") + delimited(2, note.name.encode())
        return delimited(11, head + self._attributes(note.attributes, 3))

    def _attributes(self, found: Attributes, field: int) -> bytes:
        return attributes([(each, value) for name, value in found for each in spelled(self._spelling, name)], field)


def _heads(name: str, spelling: str) -> list[bytes]:
    return int_heads(spelling, 9) if name in _NUMBERS else text_heads(spelling, 9)


_KINDS = {kind: attribute(names.LINK, kind, 4) for kind in ("creation", "replay_of", "duplicate_of", "cause")}
_LINK_HEADS = {kind: b"\x6a" + varint(28 + len(data)) + b"\x0a\x10" for kind, data in _KINDS.items()}


def _link(link: Link) -> bytes:
    ids = link.trace_id.to_bytes(16, "big") + b"\x12\x08" + link.span_id.to_bytes(8, "big")
    return _LINK_HEADS[link.kind] + ids + _KINDS[link.kind]
