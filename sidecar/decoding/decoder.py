"""From a record to what it is: decoded, checked, its words found, or why not.

The judge reads batches in a loop that is short for what is common: records of one stream, with the header names of the
record before, in Confluent-framed Avro or plain JSON. Whatever else there is goes the careful way of `examination`,
which says the same of any record that both can judge.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import time_ns
from traceback import format_tb
from typing import Any

import structlog

from sidecar.config import schema as config
from sidecar.decoding.envelope.coercion import MAX_ID_CHARACTERS
from sidecar.decoding.envelope.extractor import EnvelopeExtractor, HeaderLayout, record_type
from sidecar.decoding.fast_path import Build, compile_fast_decoder, is_plain
from sidecar.decoding.payload import read_json
from sidecar.decoding.schema import BoundSchema
from sidecar.decoding.schema_cache import SchemaCache, SchemaNotCached
from sidecar.decoding.slow_path import examine, says_cloudevent
from sidecar.domain.errors import Outage, Refused
from sidecar.domain.model import Decoded, Event, Record, Rejection

_MAX_REMEMBERED = 1_024
"""Sequences of header names, and plans, that are remembered; then all are forgotten, for they cost little to make."""
_MAX_NAMES = 64
_MAX_NAME_CHARACTERS = 2_048
"""Larger sequences of names are worked out each time, so that what is remembered stays small."""
_MAX_FETCHES = 10
"""Schemas that are fetched for one record: more than any record can name."""
_OPEN_BRACE = ord("{")

_log = structlog.get_logger(__name__)


class EventDecoder:
    """Judges records by their schemas and finds the words of their events. Plain synchronous code, for one task."""

    def __init__(
        self, catalog: SchemaCache, envelope: config.EnvelopeConfig, *, clock: Callable[[], int] = time_ns
    ) -> None:
        """`clock` tells nanoseconds since 1970."""
        self._catalog = catalog
        self._envelope = EnvelopeExtractor(envelope)
        self._clock = clock
        self._headings: dict[tuple[str, ...], HeaderLayout] = {}
        self._plans: dict[tuple[tuple[str, ...], BoundSchema | tuple[str, ...]], Build | None] = {}
        self._logged: set[str] = set()

    def decode_batch(self, records: Sequence[Record], into: list[Decoded], *, unchecked: bool = False) -> None:
        """Append one `Decoded` a record, in order, beginning with `records[len(into)]`.

        Raises NeedsSchema where a schema must be fetched first: `into` then holds all records before, so fetch and call
        again. With `unchecked` it never does: an event whose schema is not at hand is unchecked. Nothing that a record
        holds raises anything."""
        now = self._clock() // 1_000
        append, required = into.append, self._envelope.required
        names: tuple[str, ...] = ()
        only: str | None = None
        stream: str | None = None
        prefix: bytes | None = None
        fields: tuple[str, ...] | None = None
        decode: Callable[[bytes, int], Any] = _no_avro
        build_avro: Build | None = None
        build_json: Build | None = None
        headings = self._named(())
        content_at, structured = -1, False
        content_type: bytes | None = None
        for record in records[len(into) :] if into else records:
            headers, value = record.headers, record.value
            if len(headers) != 1 or headers[0][0] != only or record.position.stream != stream:
                these = tuple([name for name, _ in headers])
                if these != names or record.position.stream != stream:
                    names, stream, prefix, fields = these, record.position.stream, None, None
                    only = these[0] if len(these) == 1 else None
                    headings = self._named(these)
                    content_at = headings.content_type
                    content_type, structured = None, False
            event: Event | None = None
            body: Any = None
            try:
                if content_at >= 0 and headers[content_at][1] != content_type:
                    content_type, structured = headers[content_at][1], says_cloudevent(headings, headers)
                if value and not structured:
                    first = value[0]
                    if first == 0:
                        if value[:5] != prefix:
                            decode, build_avro = self._avro(record, headings, names, unchecked)
                            prefix = value[:5]
                        if build_avro is not None:
                            body = decode(value, 5)
                            if body.__class__ is dict:
                                event = build_avro(record, value, headers, body, now)
                    elif first == _OPEN_BRACE:
                        body = read_json(value)
                        if body.__class__ is dict and len(body) <= _MAX_NAMES:
                            if tuple(body) != fields:
                                fields = tuple(body)
                                build_json = self._json(headings, names, fields)
                            if build_json is not None:
                                event = build_json(record, value, headers, body, now)
                                if event is not None and not self._check_json(event, body, unchecked):
                                    event = None
                if event is None or (required and any(getattr(event, word) is None for word in required)):
                    append(self._examined(record, headings, now, unchecked))
                else:
                    append(Decoded(record, event, body))
            except SchemaNotCached:
                raise
            except Exception:  # what surprises the short way is for the careful one to judge
                append(self._examined(record, headings, now, unchecked))

    def open(self, record: Record) -> Decoded:
        """One record, when somebody looks at it. Never raises: without its schema at hand it is unchecked."""
        into: list[Decoded] = []
        self.decode_batch((record,), into, unchecked=True)
        return into[0]

    async def opened(self, record: Record) -> Decoded:
        """The same, fetching the schemas it needs first, where that is possible."""
        into: list[Decoded] = []
        for _ in range(_MAX_FETCHES):
            try:
                self.decode_batch((record,), into)
                return into[0]
            except SchemaNotCached as needs:
                try:
                    await self._catalog.fetch(needs.key)
                except (Outage, Refused):
                    break
        return self.open(record)

    def _named(self, names: tuple[str, ...]) -> HeaderLayout:
        """What these header names mean."""
        headings = self._headings.get(names)
        if headings is None:
            headings = self._envelope.headings(names)
            if len(names) <= _MAX_NAMES and sum(map(len, names)) <= _MAX_NAME_CHARACTERS:
                if len(self._headings) >= _MAX_REMEMBERED:
                    self._headings.clear()
                self._headings[names] = headings
        return headings

    def _avro(
        self, record: Record, headings: HeaderLayout, names: tuple[str, ...], unchecked: bool
    ) -> tuple[Callable[[bytes, int], Any], Build | None]:
        """How to decode records that begin like this one and to make their events. No making where the careful way is
        needed: their schema id is not good, or their events are not plain."""
        value = record.value or b""
        id = int.from_bytes(value[1:5], "big")
        if id == 0 or len(value) < 5:
            return _no_avro, None
        try:
            resolved = self._catalog.by_id(record.position.stream, id)
        except SchemaNotCached:
            if not unchecked:
                raise
            return _no_avro, None
        schema = resolved.schema
        if schema is None or resolved.rejection is not None or schema.unusable is not None:
            return _no_avro, None
        key = (names, schema)
        if key not in self._plans:
            plain = schema.fields and is_plain(headings, schema.fields)
            self._remember(key, compile_fast_decoder(headings, schema.fields, schema) if plain else None)
        return schema.fast_decode, self._plans[key]

    def _json(self, headings: HeaderLayout, names: tuple[str, ...], fields: tuple[str, ...]) -> Build | None:
        """How to make the events of JSON objects with these fields; None where the careful way is needed."""
        key = (names, fields)
        if key not in self._plans:
            if sum(map(len, fields)) > _MAX_NAME_CHARACTERS:
                return None
            plain = is_plain(headings, fields) and headings.data_schema < 0 and not headings.names_version
            self._remember(key, compile_fast_decoder(headings, fields, None) if plain else None)
        return self._plans[key]

    def _remember(self, key: tuple[tuple[str, ...], Any], plan: Build | None) -> None:
        if len(self._plans) >= _MAX_REMEMBERED:
            self._plans.clear()
        self._plans[key] = plan

    def _check_json(self, event: Event, body: dict[str, Any], unchecked: bool) -> bool:
        """Check a plain JSON event against its stream's subject. False where the careful way is needed."""
        try:
            resolved = self._catalog.for_stream(event.position.stream, event.type, None)
        except SchemaNotCached:
            if not unchecked:
                raise
            resolved = None
        if resolved is None:
            event.unchecked = True
            return True
        schema = resolved.schema
        if schema is None or resolved.rejection is not None or schema.unusable is not None:
            return False
        if ("data" in body and "data" not in schema.fields) or schema.check(body) is not None:
            return False
        event.schema = schema.ref
        if event.type is None:
            event.type = record_type(schema.name)
        return True

    def _examined(self, record: Record, headings: HeaderLayout, now: int, unchecked: bool) -> Decoded:
        """The careful way, and what is left where even that is surprised."""
        try:
            return examine(record, headings, self._envelope, self._catalog, now, unchecked)
        except SchemaNotCached:
            raise
        except Exception as error:  # no record may stop the others
            kind = type(error).__name__
            if kind not in self._logged:
                self._logged.add(kind)
                # Where it happened, and no more: the error's own text, and locals, may hold what is to be redacted.
                where = "".join(format_tb(error.__traceback__))
                _log.error("a record that the judge cannot judge", position=str(record.position), kind=kind, at=where)
            rejection = Rejection("decode.malformed", f"expected a record, found one that raises {kind} when read")
            key = None if record.key is None else record.key[:MAX_ID_CHARACTERS].decode("utf-8", "replace")
            return Decoded(record, Event(record.position, key, record.timestamp, now, rejection=rejection))


def _no_avro(data: bytes, start: int) -> Any:
    raise AssertionError("there is no schema to read Avro with")
