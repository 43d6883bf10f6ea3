"""The schemas in use: answers from memory on the hot path, asks the registry off it.

Looking up is plain code that never waits. What is not in memory raises `SchemaNotCached`; the caller awaits `fetch`
with its key and looks again. Ids are never given to another schema, so what was resolved by id holds for good. What can
change is read again: answers that something is not registered after a few seconds, subjects and their latest versions
every half minute in the background, while the answer in memory goes on being given, in an outage too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any, TypeAlias, TypeVar

from msgspec import Struct

from sidecar.decoding.formats.schema_format import (
    CompiledSchema,
    SchemaFormats,
    UnusableSchema,
    compile_schema,
    schema_texts,
)
from sidecar.decoding.schema import BoundSchema
from sidecar.domain.bounded_cache import BoundedCache
from sidecar.domain.errors import Outage, Refused
from sidecar.domain.json_path import quoted
from sidecar.domain.model import Rejection, SchemaRef
from sidecar.domain.ports.registry import RegisteredSchema, Registry

REFRESH_SECONDS = 30.0
"""How old subjects, latest versions and the subjects of an id may be."""
ABSENT_SECONDS = 10.0
"""How long an unknown id stays unknown without asking again."""
MAX_FETCHES_PER_LOOKUP = 10
"""Schemas that are fetched to answer one look-up: more than any needs."""
_HELD = 10_000
"""Entries of each cache."""
_SUBJECTS_SEARCHED = 500
"""Subjects beyond the stream's own that are searched for a fingerprint."""

T = TypeVar("T")
SchemaKey: TypeAlias = tuple[Any, ...]
"""A thing that `SchemaCache.fetch` can load; opaque to callers."""


class SchemaNotCached(Exception):
    """The answer is not in memory: await `catalog.fetch(key)`, then look again."""

    def __init__(self, key: SchemaKey) -> None:
        super().__init__(key)
        self.key = key


class SchemaLookup(Struct, frozen=True, gc=False):
    """What a look-up found."""

    schema: BoundSchema | None
    rejection: Rejection | None = None
    """Why the event fails. With `schema.wrong_subject` the schema is there too, so that its event can still be read."""


class _KnownId(Struct, frozen=True):
    """What the registry said of one id."""

    schema: RegisteredSchema | None
    subjects: frozenset[tuple[str, int]]
    """Under which it is registered; empty where that cannot be known."""
    until: float
    """Until when its absence, or the absence of a subject, is believed."""


class _SubjectEntry(Struct):
    """A subject in use."""

    latest: RegisteredSchema | None
    versions: list[int]


class SchemaCache:
    """The schemas of one registry; of none where none is configured: then nothing is checked."""

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
            registry: The registry to ask; None where none is configured.
            formats: The schema languages to compile with, by the kind that the registry names.
            require: An event on a stream without a registered subject is rejected instead of unchecked.
            clock: Monotonic seconds.
            refresh_seconds: How often subjects and latest versions are read again.
        """
        self.reachable: bool | None = None
        """Whether the registry answered the last time it was asked; None before that."""
        self.problem: str | None = None
        """What it said, where it did not."""
        self._registry = registry
        self._formats = formats
        self._require = require
        self._clock = clock
        self._refresh_seconds = refresh_seconds
        self._resolved: BoundedCache[tuple[str, int], SchemaLookup] = BoundedCache(_HELD)
        """By stream and id: the hot ones, for good."""
        self._resolved_otherwise: BoundedCache[SchemaKey, SchemaLookup] = BoundedCache(_HELD)
        """By way, stream and GUID, global id or fingerprint: likewise."""
        self._wrong: BoundedCache[SchemaKey, tuple[float, SchemaLookup]] = BoundedCache(_HELD)
        self._for_stream: BoundedCache[tuple[str, str | None, str | None], SchemaLookup | None] = BoundedCache(_HELD)
        """Forgotten at once where a refresh finds anything new."""
        self._known: BoundedCache[SchemaKey, _KnownId] = BoundedCache(_HELD)
        self._subjects: frozenset[str] | None = None
        self._in_use: BoundedCache[str, _SubjectEntry] = BoundedCache(2_000)
        self._versions: BoundedCache[tuple[str, int], RegisteredSchema | None] = BoundedCache(_HELD)
        self._compiled: BoundedCache[SchemaKey, CompiledSchema | UnusableSchema] = BoundedCache(2_000)
        self._loading: dict[SchemaKey, asyncio.Task[None]] = {}
        self._timer: asyncio.TimerHandle | None = None

    # --- looking up: never waits -----------------------------------------------------------------------------------

    def by_id(self, stream: str, id: int) -> SchemaLookup:
        """The schema that a record of `stream` names by Confluent id."""
        try:
            return self._resolved[(stream, id)]
        except KeyError:
            return self._resolve("id", stream, id, f"schema id {id}")

    def by_content_id(self, stream: str, id: int) -> SchemaLookup:
        """By Apicurio content id, which is the id of its Confluent API."""
        return self.by_id(stream, id)

    def by_guid(self, stream: str, guid: str) -> SchemaLookup:
        """By GUID, as text."""
        return self._otherwise("guid", stream, guid, f"schema {quoted(guid)}")

    def by_global_id(self, stream: str, id: int) -> SchemaLookup:
        """By Apicurio global id."""
        return self._otherwise("global_id", stream, id, f"schema with global id {id}")

    def by_fingerprint(self, stream: str, fingerprint: int) -> SchemaLookup:
        """By CRC-64-AVRO fingerprint: the number that the 8 little-endian bytes of the wire stand for."""
        return self._otherwise("fingerprint", stream, fingerprint, f"schema with fingerprint {fingerprint:016x}")

    def for_stream(self, stream: str, type: str | None, version: str | None) -> SchemaLookup | None:
        """The schema for a record that names none, by its stream and event type: the most exact subject that is
        registered, its latest version, or the one that `version` (`3` or `v3`) names. A version that is no such
        number is the event's own affair. None: nothing is registered, the record is unchecked."""
        try:
            return self._for_stream[(stream, type, version)]
        except KeyError:
            resolved = self._by_subject(stream, type, version)
            self._for_stream[(stream, type, version)] = resolved
            return resolved

    def _otherwise(self, way: str, stream: str, id: str | int, what: str) -> SchemaLookup:
        try:
            return self._resolved_otherwise[(way, stream, id)]
        except KeyError:
            return self._resolve(way, stream, id, what)

    def _resolve(self, way: str, stream: str, id: Any, what: str) -> SchemaLookup:
        key = (way, id) if way != "fingerprint" else (way, id, stream)
        known = self._known.find(key)
        now = self._clock()
        if self._registry is None:
            resolved = SchemaLookup(_unasked(way, id))
            if way == "id":
                self._resolved[(stream, id)] = resolved
            return resolved
        if known is None:
            raise SchemaNotCached(key)
        if known.schema is None:
            if known.until <= now:
                raise SchemaNotCached(key)
            return SchemaLookup(
                None, Rejection("schema.unknown_id", f"{what} is not registered (asked for by {_shown(stream)})")
            )
        compiled = self.compile(known.schema)
        own = [each for each in known.subjects if _belongs(each[0], stream, compiled)]
        if own or not known.subjects:
            resolved = SchemaLookup(BoundSchema(known.schema, compiled, _ref(known.schema.ref, own)))
            if way == "id":
                self._resolved[(stream, id)] = resolved
            else:
                self._resolved_otherwise[(way, stream, id)] = resolved
            return resolved
        if known.until <= now:
            raise SchemaNotCached(key)
        return self._wrong_subject(way, stream, id, what, known, compiled)

    def _wrong_subject(
        self, way: str, stream: str, id: Any, what: str, known: _KnownId, compiled: CompiledSchema | UnusableSchema
    ) -> SchemaLookup:
        assert known.schema is not None
        held = self._wrong.find((way, stream, id))
        if held is not None and held[0] == known.until:
            return held[1]
        others = sorted({subject for subject, _ in known.subjects})
        shown = ", ".join(map(_shown, others[:5])) + (f" and {len(others) - 5} more" if len(others) > 5 else "")
        message = f"{what} belongs to {shown}; expected a schema of {_shown(f'{stream}-value')}"
        if not isinstance(compiled, UnusableSchema) and compiled.name:
            message += f", {_shown(f'{stream}-{compiled.name}')} or {_shown(compiled.name)}"
        schema = BoundSchema(known.schema, compiled, _ref(known.schema.ref, sorted(known.subjects)))
        resolved = SchemaLookup(schema, Rejection("schema.wrong_subject", message[:2_000]))
        self._wrong[(way, stream, id)] = known.until, resolved
        return resolved

    def _by_subject(self, stream: str, type: str | None, version: str | None) -> SchemaLookup | None:
        if self._registry is None:
            return None
        if self._subjects is None:
            raise SchemaNotCached(("subjects",))
        candidates = [f"{stream}-value"] if type is None else [f"{stream}-{type}", f"{stream}-value", type]
        subject = next((each for each in candidates if each in self._subjects), None)
        if subject is None:
            if not self._require:
                return None
            looked = ", ".join(map(_shown, candidates))
            message = f"no schema is registered for {_shown(stream)}; expected a subject {looked}"
            return SchemaLookup(None, Rejection("schema.unknown_subject", message[:2_000]))
        state = self._in_use.find(subject)
        if state is None:
            raise SchemaNotCached(("subject", subject))
        number = _version_number(version)
        if number is None:
            found = state.latest
        elif number not in state.versions:
            known = ", ".join(map(str, state.versions[-10:]))
            message = f"version {number} of {_shown(subject)} is not registered; expected one of {known}"
            return SchemaLookup(None, Rejection("schema.unknown_version", message))
        else:
            try:
                found = self._versions[(subject, number)]
            except KeyError:
                raise SchemaNotCached(("version", subject, number)) from None
        return None if found is None else SchemaLookup(BoundSchema(found, self.compile(found)))

    def compile(self, schema: RegisteredSchema) -> CompiledSchema | UnusableSchema:
        """Compile a schema by the format of its kind, once for all schemas with the same texts."""
        key = (schema.kind, *schema_texts(schema))
        compiled = self._compiled.find(key)
        if compiled is None:
            compiled = self._compiled[key] = compile_schema(schema, self._formats)
        return compiled

    async def look_up(self, look: Callable[[], T]) -> T:
        """Answer a look-up, fetching the schemas that it needs. Raises Outage or Refused."""
        for _ in range(MAX_FETCHES_PER_LOOKUP):
            try:
                return look()
            except SchemaNotCached as needs:
                await self.fetch(needs.key)
        raise Outage("the schema could not be had from the registry: try again")

    # --- asking the registry ---------------------------------------------------------------------------------------

    async def fetch(self, key: SchemaKey) -> None:
        """Load what a look-up needed. However many wait for it, the registry is asked once. Raises Outage or
        Refused."""
        task = self._loading.get(key)
        if task is None:
            task = self._loading[key] = asyncio.create_task(self._load(key))
            task.add_done_callback(partial(self._loaded, key))
        await asyncio.shield(task)

    def _loaded(self, key: SchemaKey, task: asyncio.Task[None]) -> None:
        self._loading.pop(key, None)
        if not task.cancelled():
            task.exception()  # whoever waited has it; asyncio complains of one that nobody looked at

    async def _load(self, key: SchemaKey) -> None:
        match key:
            case ("subjects",):
                self._subjects = frozenset(await self._ask(self._source.subjects()))
                self._refresh_later()
            case ("subject", str(subject)):
                latest = await self._ask(self._source.by_version(subject, None))
                versions = await self._ask(self._source.versions(subject)) if latest else []
                self._in_use[subject] = _SubjectEntry(latest, versions)
            case ("version", str(subject), int(version)):
                self._versions[(subject, version)] = await self._ask(self._source.by_version(subject, version))
            case _:
                self._known[key] = await self._load_known(key)

    async def _load_known(self, key: SchemaKey) -> _KnownId:
        match key:
            case ("id", int(id)):
                schema = await self._ask(self._source.by_id(id)) if id < 1 << 31 else None
            case ("global_id", int(id)):
                schema = await self._ask(self._source.by_global_id(id)) if id < 1 << 63 else None
            case ("guid", str(guid)):
                schema = await self._ask(self._source.by_guid(guid))
            case ("fingerprint", int(fingerprint), str(stream)):
                schema = await self._search(fingerprint, stream)
            case _:
                raise ValueError(f"not a key of this catalog: {key!r}")
        if schema is None:
            return _KnownId(None, frozenset(), self._clock() + ABSENT_SECONDS)
        return _KnownId(schema, await self._registered_under(schema.ref), self._clock() + self._refresh_seconds)

    async def _registered_under(self, ref: SchemaRef) -> frozenset[tuple[str, int]]:
        found = await self._ask(self._source.subjects_of(ref.id)) if ref.id is not None else frozenset()
        if not found and ref.subject is not None and ref.version is not None:
            return frozenset({(ref.subject, ref.version)})
        return found

    async def _search(self, fingerprint: int, stream: str) -> RegisteredSchema | None:
        """Among the stream's own subjects first, then among the others."""
        subjects = await self._ask(self._source.subjects())
        own = [subject for subject in subjects if _unqualified(subject).startswith(f"{stream}-")]
        others = [subject for subject in subjects if not _unqualified(subject).startswith(f"{stream}-")]
        found = await self._ask(self._source.by_fingerprint(fingerprint, own))
        return found or await self._ask(self._source.by_fingerprint(fingerprint, others[:_SUBJECTS_SEARCHED]))

    @property
    def _source(self) -> Registry:
        assert self._registry is not None, "without a registry no look-up needs one"
        return self._registry

    async def _ask(self, question: Awaitable[T]) -> T:
        try:
            answer = await question
        except (Outage, Refused) as error:
            self.reachable, self.problem = isinstance(error, Refused), str(error)
            raise
        self.reachable, self.problem = True, None
        return answer

    # --- keeping up -------------------------------------------------------------------------------------------------

    async def refresh(self) -> None:
        """Read subjects and the latest versions of those in use again, now. In an outage what is in memory stays.
        Happens by itself every `refresh_seconds` once subjects were asked for."""
        changed = False
        if self._registry is None:
            return
        try:
            subjects = frozenset(await self._ask(self._source.subjects()))
            changed, self._subjects = subjects != self._subjects, subjects
            for subject, state in self._in_use.held().items():
                latest = await self._ask(self._source.by_version(subject, None))
                if _identity(latest) != _identity(state.latest):
                    changed = True
                    self._in_use[subject] = _SubjectEntry(latest, await self._ask(self._source.versions(subject)))
        except (Outage, Refused):
            return
        finally:
            if changed:
                self._for_stream.clear()

    def _refresh_later(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(self._refresh_seconds, self._start_refresh)

    def _start_refresh(self) -> None:
        key = ("refresh",)
        self._loading[key] = task = asyncio.create_task(self.refresh())
        task.add_done_callback(partial(self._loaded, key))
        self._refresh_later()

    async def close(self) -> None:
        """Stop reading again, wait until nothing is under way, and close the registry."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        tasks = list(self._loading.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._registry is not None:
            await self._registry.close()

    # --- what people look at ---------------------------------------------------------------------------------------

    @property
    def problems(self) -> list[str]:
        """Sentences: what keeps the registry, or parts of it, from being used."""
        known = [] if self._registry is None else list(self._registry.problems)
        return known if self.problem is None else [self.problem, *known]

    @property
    def schemas(self) -> int:
        """How many different schemas are in memory."""
        return len(self._compiled.held())

    def seen(self) -> list[tuple[str, BoundSchema]]:
        """Which schemas the events of which streams were written or checked with, lately."""
        by_id = [(stream, resolved) for (stream, _), resolved in self._resolved.held().items()]
        otherwise = [(stream, resolved) for (_, stream, _), resolved in self._resolved_otherwise.held().items()]
        by_subject = [(stream, resolved) for (stream, _, _), resolved in self._for_stream.held().items() if resolved]
        return [(stream, each.schema) for stream, each in (*by_id, *otherwise, *by_subject) if each.schema is not None]

    async def subjects(self) -> list[str]:
        """All subjects of the registry, sorted. Raises Outage or Refused, as the next three do."""
        return await self._ask(self._source.subjects()) if self._registry else []

    async def versions(self, subject: str) -> list[int]:
        """The subject's versions; empty where there is no such subject."""
        return await self._ask(self._source.versions(subject)) if self._registry else []

    async def compatibility(self, subject: str) -> str | None:
        """The subject's compatibility level, where the registry has such a notion."""
        return await self._ask(self._source.compatibility(subject)) if self._registry else None

    async def text_of(self, ref: SchemaRef) -> RegisteredSchema | None:
        """A schema as it is registered, by whichever of its names is known."""
        if self._registry is None:
            return None
        if ref.subject is not None and ref.version is not None:
            return await self._ask(self._source.by_version(ref.subject, ref.version))
        if ref.id is not None:
            return await self._ask(self._source.by_id(ref.id))
        return await self._ask(self._source.by_guid(ref.guid)) if ref.guid is not None else None

    async def registered(self, subject: str, version: int | None = None) -> RegisteredSchema | None:
        """A version of a subject as it is registered, the latest for None."""
        return await self._ask(self._source.by_version(subject, version)) if self._registry else None


def _unasked(way: str, id: Any) -> BoundSchema:
    """What stands for a schema that is named where no registry is configured: its events are unchecked."""
    ref = SchemaRef(None, None, id if way == "id" else None, id if way == "guid" else None)
    return BoundSchema(RegisteredSchema(ref, "UNKNOWN", ""), UnusableSchema("no registry is configured"))


def _identity(schema: RegisteredSchema | None) -> tuple[SchemaRef, str] | None:
    return None if schema is None else (schema.ref, schema.text)


def _belongs(subject: str, stream: str, compiled: CompiledSchema | UnusableSchema) -> bool:
    """Whether a stream's values may be registered under this subject, by any of the three strategies: TopicName,
    RecordName, TopicRecordName. The record's name is not known where the schema is unusable: then any subject that is
    not another topic's may be its name."""
    subject = _unqualified(subject)
    if subject == f"{stream}-value":
        return True
    if isinstance(compiled, UnusableSchema):
        return not subject.endswith(("-value", "-key"))
    return compiled.name is not None and subject in (compiled.name, f"{stream}-{compiled.name}")


def _unqualified(subject: str) -> str:
    """A subject without the context that Confluent's registry may write before it, `:.context:`."""
    return subject.split(":", 2)[2] if subject.startswith(":.") and subject.count(":") > 1 else subject


def _ref(ref: SchemaRef, subjects: Iterable[tuple[str, int]]) -> SchemaRef:
    """The reference with the latest of these subjects' versions."""
    subject, version = max(subjects, key=lambda each: each[1], default=(ref.subject, ref.version))
    return SchemaRef(subject, version, ref.id, ref.guid)


def _version_number(version: str | None) -> int | None:
    digits = (version or "").removeprefix("v")
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 10 else None


def _shown(name: str) -> str:
    return quoted(name)[1:-1]
