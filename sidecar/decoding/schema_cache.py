"""Cache of the schemas in use. It answers from memory on the hot path, and reads the registry outside of it.

Look-ups are plain code that never waits. A schema that is not in memory raises `SchemaNotCached`; the caller awaits
`fetch` with its key and repeats the look-up (`EventDecoder.decode_with_schemas` does both).

An id is never given to another schema, so a known id stays valid. All other answers can change. Subjects and latest
versions are read again every half minute in the background; the answer in memory stays in use meanwhile, and in an
outage. An answer that rejects an event is different: a schema may have been registered the moment before the event was
published, so a denial older than RECHECK_S is confirmed by the registry before it counts. If that fails because of an
outage, it is an outage, not a rejection.
"""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from sidecar.decoding import schema_rejections
from sidecar.decoding.formats.schema_format import (
    CompiledSchema,
    OutlineLine,
    SchemaFormats,
    UnusableSchema,
    compile_schema,
    outline_schema,
    schema_texts,
)
from sidecar.decoding.registry_reader import KnownId, RegistryReader
from sidecar.decoding.schema import BoundSchema
from sidecar.decoding.schema_lookup import Freshness, SchemaKey, SchemaLookup, SchemaNotCached
from sidecar.decoding.subject_cache import SubjectCache
from sidecar.decoding.subject_names import belongs_to_stream
from sidecar.domain.bounded_cache import BoundedCache
from sidecar.domain.errors import Outage, Refused
from sidecar.domain.json_path import quote
from sidecar.domain.model import SchemaRef
from sidecar.domain.ports.registry import RegisteredSchema, Registry

REFRESH_SECONDS = 30.0
"""Age at which subjects and latest versions are read again in the background."""
MAX_FETCHES_PER_LOOKUP = 10
"""Schemas to fetch for one look-up at most: more than any needs."""
_MAX_CACHED_ANSWERS = 10_000
"""Entries of each cache."""
_MAX_COMPILED_SCHEMAS = 2_000

T = TypeVar("T")


class SchemaCache:
    """Schemas of one registry. Without a registry nothing is checked."""

    def __init__(
        self,
        registry: Registry | None,
        formats: SchemaFormats,
        *,
        require: bool = False,
        clock: Callable[[], float] = time.monotonic,
        refresh_seconds: float = REFRESH_SECONDS,
    ) -> None:
        """Create an empty cache.

        Args:
            registry: The registry; None if none is configured.
            formats: Schema languages to compile with, by the kind in the registry.
            require: Reject an event on a stream without a registered subject, instead of leaving it unchecked.
            clock: Monotonic seconds.
            refresh_seconds: Interval at which subjects and latest versions are read again.
        """
        self.formats = formats
        self._reader = RegistryReader(registry)
        self._has_registry = registry is not None
        self.clock = clock
        self._refresh_seconds = refresh_seconds
        self._resolved: BoundedCache[tuple[str, int], SchemaLookup] = BoundedCache(_MAX_CACHED_ANSWERS)
        """Hot look-ups by stream and id, for good."""
        self._resolved_otherwise: BoundedCache[SchemaKey, SchemaLookup] = BoundedCache(_MAX_CACHED_ANSWERS)
        """Look-ups by way, stream and GUID, global id or fingerprint, likewise."""
        self._denied: BoundedCache[SchemaKey, tuple[Freshness, SchemaLookup]] = BoundedCache(_MAX_CACHED_ANSWERS)
        """The rejections by way, id and stream, and how long they count."""
        self._known: BoundedCache[SchemaKey, KnownId] = BoundedCache(_MAX_CACHED_ANSWERS)
        self._compiled: BoundedCache[SchemaKey, CompiledSchema | UnusableSchema] = BoundedCache(_MAX_COMPILED_SCHEMAS)
        self._subject_cache = SubjectCache(
            self._reader, self.compile, require=require, clock=clock, max_entries=_MAX_CACHED_ANSWERS
        )
        self._bind_subjects()
        self._loading: dict[SchemaKey, asyncio.Task[None]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def _bind_subjects(self) -> None:
        # Bound, because a method that passes the call on would cost time for every event.
        self.for_stream = self._subject_cache.for_stream
        self.has_subject = self._subject_cache.has_subject
        self.confirm = self._subject_cache.confirm

    def for_events_of(self, moment: float) -> SchemaCache:
        """Return this cache for look-ups about events that were seen at a moment of `clock`.

        Answers that were asked for since may reject them, however long it takes to decode such an event: it would
        otherwise be decoded again and again while others use up what it asked for. Use it for look-ups, and not for
        long.
        """
        view = copy.copy(self)
        view._subject_cache = copy.copy(self._subject_cache)
        view._subject_cache.seen_at = moment
        view._bind_subjects()
        return view

    # --- looking up: never waits -----------------------------------------------------------------------------------

    def by_id(self, stream: str, id: int) -> SchemaLookup:
        """Look up the schema that a record of `stream` names by Confluent id."""
        try:
            return self._resolved[(stream, id)]
        except KeyError:
            return self._resolve("id", stream, id, f"schema id {id}")

    def find_good_id(self, stream: str, id: int) -> SchemaLookup | None:
        """Look up an id like `by_id`; None if it is unknown, not for this stream, or not in memory."""
        try:
            return self._resolved[(stream, id)]
        except KeyError:
            return self._resolve_good("id", stream, id)

    def by_content_id(self, stream: str, id: int) -> SchemaLookup:
        """Look up by Apicurio content id, which is the id of its Confluent API."""
        return self.by_id(stream, id)

    def by_guid(self, stream: str, guid: str) -> SchemaLookup:
        """Look up by GUID, as text."""
        return self._resolve_otherwise("guid", stream, guid, f"schema {quote(guid)}")

    def by_global_id(self, stream: str, id: int) -> SchemaLookup:
        """Look up by Apicurio global id."""
        return self._resolve_otherwise("global_id", stream, id, f"schema with global id {id}")

    def by_fingerprint(self, stream: str, fingerprint: int) -> SchemaLookup:
        """Look up by CRC-64-AVRO fingerprint, as the number of its 8 little-endian bytes."""
        return self._resolve_otherwise(
            "fingerprint", stream, fingerprint, f"schema with fingerprint {fingerprint:016x}"
        )

    def _resolve_otherwise(self, way: str, stream: str, id: str | int, description: str) -> SchemaLookup:
        try:
            return self._resolved_otherwise[(way, stream, id)]
        except KeyError:
            return self._resolve(way, stream, id, description)

    def _resolve(self, way: str, stream: str, id: Any, description: str) -> SchemaLookup:
        if not self._has_registry:
            resolved = SchemaLookup(_schema_without_registry(way, id))
            if way == "id":
                self._resolved[(stream, id)] = resolved
            return resolved
        good = self._resolve_good(way, stream, id)
        if good is not None:
            return good
        denied = self._denied.find((way, id, stream))
        if denied is None or not denied[0].use(self.clock(), self._subject_cache.seen_at):
            raise SchemaNotCached((way, id, stream))
        if denied[1] is _UNEXPLAINED:
            denied = self._denied[(way, id, stream)] = denied[0], self._deny(stream, description, way, id)
        return denied[1]

    def _resolve_good(self, way: str, stream: str, id: Any) -> SchemaLookup | None:
        known = self._known.find((way, id))
        if known is not None and known.schema is not None:
            compiled = self.compile(known.schema)
            own = [place for place in known.subjects if belongs_to_stream(place[0], stream, compiled)]
            if own or not known.subjects:
                resolved = SchemaLookup(BoundSchema(known.schema, compiled, _latest_ref(known.schema.ref, own)))
                if way == "id":
                    self._resolved[(stream, id)] = resolved
                else:
                    self._resolved_otherwise[(way, stream, id)] = resolved
                return resolved
        return None

    def _deny(self, stream: str, description: str, way: str, id: Any) -> SchemaLookup:
        """Explain why a schema is not for a stream."""
        known = self._known.find((way, id))
        if known is None or known.schema is None:
            return SchemaLookup(None, schema_rejections.unknown_id(description, stream))
        compiled = self.compile(known.schema)
        subjects = [subject for subject, _ in known.subjects]
        schema = BoundSchema(known.schema, compiled, _latest_ref(known.schema.ref, sorted(known.subjects)))
        return SchemaLookup(schema, schema_rejections.wrong_subject(description, subjects, stream, compiled))

    def outline(self, schema: RegisteredSchema) -> list[OutlineLine]:
        """Describe a schema for people."""
        return outline_schema(schema, self.formats)

    def compile(self, schema: RegisteredSchema) -> CompiledSchema | UnusableSchema:
        """Compile a schema by the format of its kind, once for all schemas with the same texts."""
        key = (schema.kind, *schema_texts(schema))
        compiled = self._compiled.find(key)
        if compiled is None:
            compiled = self._compiled[key] = compile_schema(schema, self.formats)
        return compiled

    async def look_up(self, look: Callable[[], T]) -> T:
        """Run a look-up, and fetch the schemas that it needs. Raises Outage or Refused."""
        for _ in range(MAX_FETCHES_PER_LOOKUP):
            try:
                return look()
            except SchemaNotCached as needs:
                await self.fetch(needs.key)
        raise Outage(
            f"a look-up still lacks a schema after {MAX_FETCHES_PER_LOOKUP} requests to the registry: try again"
        )

    # --- asking the registry ---------------------------------------------------------------------------------------

    async def fetch(self, key: SchemaKey) -> None:
        """Load what a look-up lacks. All tasks that wait for the same key share one request.

        Raises Outage or Refused.
        """
        task = self._loading.get(key)
        if task is None:
            task = self._loading[key] = asyncio.create_task(self._load(key))
            task.add_done_callback(partial(self._finish_loading, key))
        await asyncio.shield(task)

    def _finish_loading(self, key: SchemaKey, task: asyncio.Task[None]) -> None:
        self._loading.pop(key, None)
        if not task.cancelled():
            task.exception()  # the waiting tasks have it; asyncio complains about one that was never retrieved

    async def _load(self, key: SchemaKey) -> None:
        match key:
            case ("subjects", *_):
                await self._subject_cache.load(key)
                self._refresh_later()
            case ("subject" | "version", *_):
                await self._subject_cache.load(key)
            case (str(way), id, str(stream)):
                asked_at = self.clock()
                self._known[(way, id)] = await self._reader.known_id(way, id, stream)
                self._denied[(way, id, stream)] = Freshness(asked_at, self.clock()), _UNEXPLAINED
            case _:
                raise ValueError(f"not a key of the schema cache: {key!r}")

    # --- keeping up -------------------------------------------------------------------------------------------------

    async def refresh(self) -> None:
        """Read subjects, and the latest versions in use, again now. In an outage, the content of the cache stays.

        This also happens every `refresh_seconds`, after the first look-up of subjects.
        """
        if not self._has_registry:
            return
        with suppress(Outage, Refused):
            await self._subject_cache.refresh()

    def _refresh_later(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(self._refresh_seconds, self._start_refresh)

    def _start_refresh(self) -> None:
        key = ("refresh",)
        self._loading[key] = task = asyncio.create_task(self.refresh())
        task.add_done_callback(partial(self._finish_loading, key))
        self._refresh_later()

    async def close(self) -> None:
        """Stop refreshing, wait for running requests, and close the registry."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        tasks = list(self._loading.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._reader.registry is not None:
            await self._reader.registry.close()

    # --- what people look at ---------------------------------------------------------------------------------------

    @property
    def reachable(self) -> bool | None:
        """True if the registry replied to the last request; None before the first."""
        return self._reader.reachable

    @property
    def problem(self) -> str | None:
        """Error of the last request to the registry; None if it succeeded."""
        return self._reader.problem

    @property
    def problems(self) -> list[str]:
        """Sentences about problems that prevent the use of the registry, or of parts of it."""
        return self._reader.problems

    @property
    def schemas(self) -> int:
        """Number of different schemas in memory."""
        return len(self._compiled.snapshot())

    def list_seen(self) -> list[tuple[str, BoundSchema]]:
        """List streams with the schemas with which their recent events were written or checked."""
        by_id = [(stream, resolved) for (stream, _), resolved in self._resolved.snapshot().items()]
        otherwise = [(stream, resolved) for (_, stream, _), resolved in self._resolved_otherwise.snapshot().items()]
        lookups = (*by_id, *otherwise, *self._subject_cache.list_used())
        return [(stream, lookup.schema) for stream, lookup in lookups if lookup.schema is not None]

    async def subjects(self) -> list[str]:
        """List all subjects of the registry, sorted. Raises Outage or Refused, as the next methods do."""
        return await self._reader.subjects()

    async def versions(self, subject: str) -> list[int]:
        """List a subject's versions; empty if the subject does not exist."""
        return await self._reader.versions(subject)

    async def compatibility(self, subject: str) -> str | None:
        """Read a subject's compatibility level; None if the registry has none."""
        return await self._reader.compatibility(subject)

    async def text_of(self, ref: SchemaRef) -> RegisteredSchema | None:
        """Read a schema from the registry by the first of its names that is known."""
        return await self._reader.by_ref(ref)

    async def read_registered(self, subject: str, version: int | None = None) -> RegisteredSchema | None:
        """Read a version of a subject from the registry; None is the latest."""
        return await self._reader.by_version(subject, version)


_UNEXPLAINED = SchemaLookup(None)
"""Placeholder for a denial whose rejection was not needed yet."""


def _schema_without_registry(way: str, id: Any) -> BoundSchema:
    """Bind a schema that is named where no registry is configured: its events are unchecked."""
    ref = SchemaRef(None, None, id if way == "id" else None, id if way == "guid" else None)
    return BoundSchema(RegisteredSchema(ref, "UNKNOWN", ""), UnusableSchema("no registry is configured"))


def _latest_ref(ref: SchemaRef, subjects: Iterable[tuple[str, int]]) -> SchemaRef:
    """Complete a reference by the subject with the latest version."""
    subject, version = max(subjects, key=lambda place: place[1], default=(ref.subject, ref.version))
    return SchemaRef(subject, version, ref.id, ref.guid)
