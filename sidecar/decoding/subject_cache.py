"""Subjects of a registry in use, and the schema of records that name none, by stream."""

from __future__ import annotations

import math
from collections.abc import Callable

from msgspec import Struct

from sidecar.decoding import schema_rejections
from sidecar.decoding.formats.schema_format import CompiledSchema, UnusableSchema
from sidecar.decoding.registry_reader import RegistryReader
from sidecar.decoding.schema import BoundSchema
from sidecar.decoding.schema_lookup import Freshness, SchemaKey, SchemaLookup, SchemaNotCached
from sidecar.decoding.subject_names import names_stream, subject_candidates
from sidecar.domain.bounded_cache import BoundedCache
from sidecar.domain.model import SchemaRef
from sidecar.domain.ports.registry import RegisteredSchema

_MAX_CACHED_SUBJECTS = 2_000
_MAX_VERSION_DIGITS = 9
CONFIRMING = "confirming"
"""Last part of the keys of answers that are fetched again to confirm a denial."""


class _SubjectEntry(Struct):
    """A subject in use."""

    latest: RegisteredSchema | None
    versions: list[int]
    freshness: Freshness


class SubjectCache:
    """Subjects, their versions, and look-ups by stream. Raises SchemaNotCached for data that must be fetched first."""

    def __init__(
        self,
        reader: RegistryReader,
        compile: Callable[[RegisteredSchema], CompiledSchema | UnusableSchema],
        *,
        require: bool,
        clock: Callable[[], float],
        max_entries: int,
    ) -> None:
        """Create an empty cache.

        Args:
            reader: The registry.
            compile: Compiles a schema, once for equal texts.
            require: Reject an event on a stream without a registered subject, instead of leaving it unchecked.
            clock: Monotonic seconds.
            max_entries: Maximum size of each cache.
        """
        self._reader, self._compile, self._require, self._clock = reader, compile, require, clock
        self.seen_at = math.inf
        """The time at which the events that ask were seen, where that is known (see `SchemaCache.for_events_of`)."""
        self._has_registry = reader.registry is not None
        self._for_stream: BoundedCache[tuple[str, str | None, str | None], SchemaLookup | None] = BoundedCache(
            max_entries
        )
        """Dropped at once where anything new is found."""
        self._named_streams: BoundedCache[str, bool] = BoundedCache(max_entries)
        """True for each stream that any subject is named after. Dropped likewise."""
        self._subjects: frozenset[str] | None = None
        self._subjects_freshness = Freshness(0.0, 0.0)
        self._in_use: BoundedCache[str, _SubjectEntry] = BoundedCache(_MAX_CACHED_SUBJECTS)
        self._versions: BoundedCache[tuple[str, int], RegisteredSchema | None] = BoundedCache(max_entries)

    def for_stream(self, stream: str, type: str | None, version: str | None) -> SchemaLookup | None:
        """Look up the schema for a record that names none.

        Args:
            stream: The record's stream.
            type: The event's type, if known: subjects for this type are the most exact.
            version: The subject's version that the event names, `3` or `v3`; otherwise the latest is used. Any other
                text is the event's own version, not the schema's.

        Returns:
            None if nothing is registered: the record is unchecked.
        """
        try:
            return self._for_stream[(stream, type, version)]
        except KeyError:
            resolved = self._by_subject(stream, type, version)
            if resolved is None or resolved.rejection is None:
                self._for_stream[(stream, type, version)] = resolved
            return resolved

    def has_subject(self, stream: str) -> bool:
        """Check whether a subject is named after a stream, so that the stream's values should name a schema."""
        if not self._has_registry:
            return False
        named = self._named_streams.find(stream)
        if named is None:
            if self._subjects is None:
                raise SchemaNotCached(("subjects",))
            named = self._named_streams[stream] = any(names_stream(subject, stream) for subject in self._subjects)
        return named

    def confirm(self, stream: str, type: str | None) -> None:
        """Confirm that `for_stream` answers by the current registrations, before its answer rejects an event.

        Raises SchemaNotCached if subjects or the latest version are too old for a rejection.
        """
        if not self._has_registry:
            return
        if not self._subjects_freshness.use(self._clock(), self.seen_at):
            raise SchemaNotCached(("subjects", CONFIRMING))
        subject = self._subject_of(stream, type)
        state = self._in_use.find(subject) if subject is not None else None
        if state is not None and not state.freshness.use(self._clock(), self.seen_at):
            raise SchemaNotCached(("subject", subject, CONFIRMING))

    def _by_subject(self, stream: str, type: str | None, version: str | None) -> SchemaLookup | None:
        if not self._has_registry:
            return None
        subject = self._subject_of(stream, type)
        if subject is None:
            if not self._require:
                return None
            self.confirm(stream, type)
            return SchemaLookup(None, schema_rejections.unknown_subject(stream, subject_candidates(stream, type)))
        state = self._in_use.find(subject)
        if state is None:
            raise SchemaNotCached(("subject", subject))
        number = _version_number(version)
        if number is None:
            schema = state.latest
        elif number not in state.versions:
            self.confirm(stream, type)
            return SchemaLookup(None, schema_rejections.unknown_version(subject, number, state.versions))
        else:
            try:
                schema = self._versions[(subject, number)]
            except KeyError:
                raise SchemaNotCached(("version", subject, number)) from None
        return None if schema is None else SchemaLookup(BoundSchema(schema, self._compile(schema)))

    def _subject_of(self, stream: str, type: str | None) -> str | None:
        if self._subjects is None:
            raise SchemaNotCached(("subjects",))
        return next((subject for subject in subject_candidates(stream, type) if subject in self._subjects), None)

    async def load(self, key: SchemaKey) -> None:
        """Load what a look-up lacks. Raises Outage or Refused."""
        match key:
            case ("subjects", *confirming):
                await self._load_subjects(confirms=bool(confirming))
            case ("subject", str(subject), *confirming):
                await self._load_subject(subject, confirms=bool(confirming))
            case ("version", str(subject), int(version)):
                self._versions[(subject, version)] = await self._reader.by_version(subject, version)

    async def refresh(self) -> None:
        """Read subjects, and the latest versions in use, again. Raises Outage or Refused."""
        await self._load_subjects()
        for subject in self._in_use.snapshot():
            await self._load_subject(subject)

    def list_used(self) -> list[tuple[str, SchemaLookup]]:
        """List the cached look-ups by stream."""
        return [
            (stream, lookup) for (stream, _, _), lookup in self._for_stream.snapshot().items() if lookup is not None
        ]

    async def _load_subjects(self, *, confirms: bool = False) -> None:
        asked_at = self._clock()
        subjects = frozenset(await self._reader.subjects())
        if subjects != self._subjects:
            self._subjects = subjects
            self._for_stream.clear()
            self._named_streams.clear()
        self._subjects_freshness = Freshness(asked_at, self._clock(), confirms=confirms)

    async def _load_subject(self, subject: str, *, confirms: bool = False) -> None:
        asked_at = self._clock()
        latest = await self._reader.by_version(subject, None)
        state = self._in_use.find(subject)
        if state is not None and _identity(latest) == _identity(state.latest):
            versions = state.versions
        else:
            versions = await self._reader.versions(subject) if latest else []
            self._for_stream.clear()
        self._in_use[subject] = _SubjectEntry(latest, versions, Freshness(asked_at, self._clock(), confirms=confirms))


def _identity(schema: RegisteredSchema | None) -> tuple[SchemaRef, str] | None:
    return None if schema is None else (schema.ref, schema.text)


def _version_number(version: str | None) -> int | None:
    digits = (version or "").removeprefix("v")
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= _MAX_VERSION_DIGITS else None
