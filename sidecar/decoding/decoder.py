"""Decoder of batches of records: their bodies, their events, and the rejection of each record that fails.

The loop over a batch is short for common records: records of one stream, with the header names of the previous record,
in Confluent-framed Avro or plain JSON (`fast_path`). All other records take the general path (`slow_path`), which gives
the same result for every record that both can decode.
"""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Callable, Sequence
from time import perf_counter, time_ns
from traceback import format_tb
from typing import Any

import structlog
from msgspec import Struct

from sidecar.config import schema as config
from sidecar.decoding.decoding_plans import FRAME_BYTES, NO_AVRO_PLAN, NO_JSON_PLAN, AvroPlan, build_avro_plan
from sidecar.decoding.envelope.coercion import MAX_ID_CHARACTERS
from sidecar.decoding.envelope.extractor import EnvelopeExtractor, HeaderLayout, record_type
from sidecar.decoding.fast_path import EventPlan, compile_plan, is_plain, select
from sidecar.decoding.long_json import read_long_json
from sidecar.decoding.payload import read_json
from sidecar.decoding.schema import BoundSchema
from sidecar.decoding.schema_cache import SchemaCache
from sidecar.decoding.schema_lookup import SchemaKey, SchemaNotCached
from sidecar.decoding.slow_path import examine, says_cloudevent
from sidecar.domain.broker_traits import is_time_observed, traits_of
from sidecar.domain.errors import Outage, Refused
from sidecar.domain.json_limits import has_too_many_values
from sidecar.domain.large_records import LARGE_RECORD_BYTES, NeedsThread, count_value_bytes
from sidecar.domain.model import Decoded, Event, Record, Rejection

STEP_S = 0.005
"""Seconds of work after which the decoder yields to other tasks of the event loop."""
MAX_FETCHES_PER_RECORD = 10
"""Schemas to fetch for one record at most: more than any record can name."""
_MAX_PLANS = 1_024
"""Header layouts, and plans, that are kept; then all are dropped, because they cost little to build again."""
_MAX_NAMES = 64
_MAX_NAME_CHARACTERS = 2_048
"""Larger sequences of names are not kept, so that the memory for layouts and plans stays small."""
_OPEN_BRACE = ord("{")

_log = structlog.get_logger(__name__)

OutagePolicy = Callable[[SchemaKey, Exception], None]
"""Function that a reader calls if the registry does not return a schema, once in a batch, with the Outage, Refused or
TimeoutError. It raises to stop, or returns to decode the rest of the batch with the schemas in memory."""


def stop_on_outage(key: SchemaKey, error: Exception) -> None:
    """Raise the error. The caller decodes the batch later."""
    raise error


def pass_unchecked(key: SchemaKey, error: Exception) -> None:
    """Return, so that events whose schema is not in memory are `unchecked`."""


class DecodeResult(Struct):
    """Records of a batch that are decoded so far."""

    decoded: list[Decoded]
    """Decoded records in order, from the first requested one on."""
    missing: SchemaKey | None = None
    """The schema to fetch (`SchemaCache.fetch`) before the next record can be decoded."""
    is_large: bool = False
    """The next record is too large for a step of the event loop: `decode_with_schemas` decodes it in a thread."""


class EventDecoder:
    """Decodes records, checks them against their schemas and extracts their envelopes.

    For use within one event loop. Large records are decoded in a thread beside it, one at a time. Both share caches
    only, whose single operations are atomic: a look-up that finds nothing computes or fetches the entry again.
    """

    def __init__(
        self,
        catalog: SchemaCache,
        envelope: config.EnvelopeConfig,
        *,
        clock: Callable[[], int] = time_ns,
        hides: Callable[[str], bool] = lambda place: False,
    ) -> None:
        """Create a decoder over a schema cache.

        `clock` returns nanoseconds since 1970; `hides` tells whether a location such as `body:subject` is redacted.
        """
        self._catalog = catalog
        self._envelope = EnvelopeExtractor(envelope, hides)
        self._clock = clock
        self._headings: dict[tuple[str, ...], HeaderLayout] = {}
        self._avro_plans: dict[tuple[tuple[str, ...], BoundSchema], AvroPlan] = {}
        self._json_plans: dict[tuple[tuple[str, ...], tuple[str, ...]], EventPlan | None] = {}
        self._logged: set[str] = set()
        self._thread = asyncio.Lock()
        """Held while a record is decoded in a thread."""

    async def decode_with_schemas(
        self,
        records: Sequence[Record],
        on_outage: OutagePolicy = pass_unchecked,
        *,
        timeout_s: float | None = None,
        unchecked: bool = False,
    ) -> list[Decoded]:
        """Decode records, and fetch the schemas that they need. Yields to the event loop in between.

        A missing schema is no fault of the events: unless the policy raises, they are `unchecked`, and the rest of the
        batch is decoded with the schemas in memory, so that a batch waits for an outage only once.

        Args:
            records: Any records, usually of one partition.
            on_outage: Reaction if the registry does not return a schema.
            timeout_s: Longest wait for all schemas of the batch together; None: the limits of the registry's client.
            unchecked: Decode without the schemas that are not in memory.

        Returns:
            One for each record, in order.
        """
        decoded: list[Decoded] = []
        fetches, seen_at = 0, math.inf
        until = None if timeout_s is None else asyncio.get_running_loop().time() + timeout_s
        while True:
            result = self._decode(records, len(decoded), unchecked, LARGE_RECORD_BYTES, seen_at)
            if result.is_large and not result.decoded:
                result = await self._decode_in_thread(records, len(decoded), unchecked, seen_at)
            decoded += result.decoded
            if len(decoded) == len(records):
                return decoded
            if result.decoded:
                fetches, seen_at = 0, math.inf
            if result.missing is None:
                await asyncio.sleep(0)
                continue
            try:
                if fetches >= MAX_FETCHES_PER_RECORD:
                    raise Outage(
                        f"a record still lacks a schema after {MAX_FETCHES_PER_RECORD} requests to the registry: "
                        "try again"
                    )
                fetches += 1
                seen_at = min(seen_at, self._catalog.clock())
                async with asyncio.timeout_at(until):
                    await self._catalog.fetch(result.missing)
            except (Outage, Refused, TimeoutError) as error:
                on_outage(result.missing, error)
                unchecked = True

    def decode_batch(self, records: Sequence[Record], start: int = 0, *, unchecked: bool = False) -> DecodeResult:
        """Decode `records[start:]`, for up to STEP_S seconds, until a schema is missing.

        To continue, increase `start` by the number of decoded records: at once after yielding to other tasks, or after
        fetching the missing schema. At least one record is decoded unless its schema is missing or it is large. Never
        raises for a record's content.

        Args:
            records: The batch.
            start: Index of the first record to decode.
            unchecked: Decode without the schemas that are not in memory; their events are `unchecked`.
        """
        return self._decode(records, start, unchecked, LARGE_RECORD_BYTES, math.inf)

    async def _decode_in_thread(
        self, records: Sequence[Record], start: int, unchecked: bool, seen_at: float
    ) -> DecodeResult:
        """Decode like `decode_batch`, records of any size."""
        async with self._thread:
            return await asyncio.to_thread(self._decode, records, start, unchecked, sys.maxsize, seen_at)

    def _decode(
        self, records: Sequence[Record], start: int, unchecked: bool, max_bytes: int, seen_at: float
    ) -> DecodeResult:
        """Decode like `decode_batch`, up to a record of more than `max_bytes`.

        `seen_at`: when the first record was tried before, of the schema cache's clock; infinity if it was not.
        """
        now = self._clock() // 1_000
        catalog = self._catalog if seen_at == math.inf else self._catalog.for_events_of(seen_at)
        result = self._decode_step(records, start, unchecked, now, max_bytes, catalog)
        if result.decoded and traits_of(records[0].position.system).time_of is not None:
            for decoded in result.decoded:
                position = decoded.event.position
                if is_time_observed(position.system, position.offset):
                    decoded.event.appended_at = now // 1_000
        return result

    def _decode_step(
        self,
        records: Sequence[Record],
        start: int,
        unchecked: bool,
        now: int,
        max_bytes: int,
        catalog: SchemaCache,
    ) -> DecodeResult:
        result = DecodeResult([])
        append, required = result.decoded.append, self._envelope.required
        clock, deadline = perf_counter, perf_counter() + STEP_S
        names: tuple[str, ...] = ()
        only: str | None = None
        stream: str | None = None
        prefix: bytes | None = None
        fields: tuple[str, ...] | None = None
        plan = NO_AVRO_PLAN
        json_plan: EventPlan | None = None
        headings = self._layout(())
        content_at, schema_at, structured = -1, -1, False
        content_type: bytes | None = None
        layouts: dict[tuple[str, ...], tuple[Any, ...]] = {}
        """State of the loop by sequence of header names, because producers of one stream often use several in turns."""
        for record in records[start:] if start else records:
            headers, value = record.headers, record.value
            if (len(value) if value is not None else count_value_bytes(record)) > max_bytes:
                result.is_large = True
                return result
            if len(headers) != 1 or headers[0][0] != only or record.position.stream != stream:
                these = tuple([name for name, _ in headers])
                if record.position.stream != stream:
                    stream, prefix, fields, plan, json_plan = record.position.stream, None, None, NO_AVRO_PLAN, None
                    content_type, structured = None, False
                    layouts.clear()
                if these != names:
                    layouts[names] = (headings, prefix, plan, fields, json_plan, content_type, structured)
                    names, only = these, these[0] if len(these) == 1 else None
                    (headings, prefix, plan, fields, json_plan, content_type, structured) = layouts.get(these) or (
                        *(self._layout(these), None, NO_AVRO_PLAN, None, None, None, False),
                    )
                    content_at, schema_at = headings.content_type, headings.value_schema
            event: Event | None = None
            body: Any = None
            try:
                if content_at >= 0 and headers[content_at][1] != content_type:
                    content_type, structured = headers[content_at][1], says_cloudevent(headings, headers)
                if value and not structured:
                    first = value[0]
                    if first == 0 or schema_at >= 0:
                        framed = value[:FRAME_BYTES] if schema_at < 0 else headers[schema_at][1]
                        if framed != prefix:
                            plan = self._avro_plan(stream, headings, names, framed)
                            prefix = framed
                        if plan.build is not None:
                            body = plan.decode(value, FRAME_BYTES if schema_at < 0 else 0)
                            if body.__class__ is tuple:
                                event = plan.build(record, value, headers, body, now)
                                body = plan.content or body[-1]
                    elif first == _OPEN_BRACE and not has_too_many_values(value):
                        body = (
                            read_json(value) if len(value) <= LARGE_RECORD_BYTES else read_long_json(value, read_json)
                        )
                        if body.__class__ is dict and len(body) <= _MAX_NAMES:
                            if tuple(body) != fields:
                                fields = tuple(body)
                                json_plan = self._json_plan(headings, names, fields)
                            if json_plan is not None:
                                values = select(body, json_plan.selection)
                                event = json_plan.build(record, value, headers, values, now)
                                if event is not None and not self._check_json(event, body, unchecked, catalog):
                                    event = None
                                body = json_plan.content
                if event is None or (required and any(getattr(event, word) is None for word in required)):
                    append(self._decode_slowly(record, headings, now, unchecked, catalog))
                else:
                    append(Decoded(record, event, body))
            except SchemaNotCached as needs:
                result.missing = needs.key
                return result
            except NeedsThread:
                result.is_large = True
                return result
            except Exception:  # a record that the fast path cannot decode: the general decoder says why
                try:
                    append(self._decode_slowly(record, headings, now, unchecked, catalog))
                except SchemaNotCached as needs:
                    result.missing = needs.key
                    return result
                except NeedsThread:
                    result.is_large = True
                    return result
            if clock() > deadline:
                return result
        return result

    def _layout(self, names: tuple[str, ...]) -> HeaderLayout:
        """Find out what these header names mean."""
        headings = self._headings.get(names)
        if headings is None:
            headings = self._envelope.headings(names)
            if len(names) <= _MAX_NAMES and sum(map(len, names)) <= _MAX_NAME_CHARACTERS:
                if len(self._headings) >= _MAX_PLANS:
                    self._headings.clear()
                self._headings[names] = headings
        return headings

    def _avro_plan(self, stream: str, headings: HeaderLayout, names: tuple[str, ...], framed: bytes | None) -> AvroPlan:
        """Find how to decode records whose value or header names this schema, and how to build their events."""
        if framed is None or len(framed) != FRAME_BYTES or framed[0] != 0 or not any(framed):
            return NO_AVRO_PLAN
        lookup = self._catalog.find_good_id(stream, int.from_bytes(framed[1:], "big"))
        schema = lookup.schema if lookup is not None else None
        if schema is None or schema.unusable is not None:
            return NO_AVRO_PLAN
        key = (names, schema)
        plan = self._avro_plans.get(key)
        if plan is None:
            plain = schema.fields and is_plain(headings, schema.fields)
            plan = build_avro_plan(headings, schema, self._envelope.keys) if plain else NO_AVRO_PLAN
            if len(self._avro_plans) >= _MAX_PLANS:
                self._avro_plans.clear()
            self._avro_plans[key] = plan
        return plan

    def _json_plan(self, headings: HeaderLayout, names: tuple[str, ...], fields: tuple[str, ...]) -> EventPlan | None:
        """Find how to build the events of JSON objects with these fields; None where the general decoder is needed."""
        key = (names, fields)
        plan = self._json_plans.get(key, NO_JSON_PLAN)
        if plan is NO_JSON_PLAN:
            if sum(map(len, fields)) > _MAX_NAME_CHARACTERS:
                return None
            plain = is_plain(headings, fields) and headings.data_schema < 0 and not headings.names_version
            plan = compile_plan(headings, fields, None, self._envelope.keys) if plain else None
            if len(self._json_plans) >= _MAX_PLANS:
                self._json_plans.clear()
            self._json_plans[key] = plan
        return plan

    @staticmethod
    def _check_json(event: Event, body: dict[str, Any], unchecked: bool, catalog: SchemaCache) -> bool:
        """Check a plain JSON event against its stream's subject. Returns False where the general decoder is needed."""
        try:
            resolved = catalog.for_stream(event.position.stream, event.type, None)
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

    def _decode_slowly(
        self, record: Record, headings: HeaderLayout, now: int, unchecked: bool, catalog: SchemaCache
    ) -> Decoded:
        """Decode a record by the general decoder; an unexpected exception is a rejection.

        Raises SchemaNotCached and NeedsThread.
        """
        try:
            return examine(record, headings, self._envelope, catalog, now, unchecked)
        except (SchemaNotCached, NeedsThread):
            raise
        except Exception as error:  # no record may stop the others
            kind = type(error).__name__
            if kind not in self._logged:
                self._logged.add(kind)
                # Only the place in the code: the error's own text, and locals, may hold values to be redacted.
                where = "".join(format_tb(error.__traceback__))
                _log.error("a record cannot be decoded", position=str(record.position), kind=kind, at=where)
            rejection = Rejection("decode.malformed", f"expected a record, found one that raises {kind} when read")
            key = None if record.key is None else record.key[:MAX_ID_CHARACTERS].decode("utf-8", "replace")
            return Decoded(record, Event(record.position, key, record.timestamp, now, rejection=rejection))
