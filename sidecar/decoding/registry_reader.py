"""Questions to a schema registry, and whether it answers them."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

from msgspec import Struct

from sidecar.decoding.subject_names import split_subjects
from sidecar.domain.errors import Outage, Refused
from sidecar.domain.model import SchemaRef
from sidecar.domain.ports.registry import RegisteredSchema, Registry

_MAX_SEARCHED_SUBJECTS = 500
"""Subjects beyond the stream's own that are searched for a fingerprint."""

T = TypeVar("T")


class KnownId(Struct, frozen=True):
    """The registry's answer about one schema id."""

    schema: RegisteredSchema | None
    """None where no such id is registered."""
    subjects: frozenset[tuple[str, int]] = frozenset()
    """Subjects and versions under which it is registered; empty where that cannot be known."""


class RegistryReader:
    """Asks a registry, and keeps whether it answered the last time. All methods raise Outage or Refused."""

    def __init__(self, registry: Registry | None) -> None:
        """Wrap a registry; None where none is configured: then it has no subjects."""
        self.registry = registry
        self.reachable: bool | None = None
        """True if the registry answered the last question; None before the first."""
        self.problem: str | None = None
        """The error, if the last question failed."""

    @property
    def problems(self) -> list[str]:
        """Sentences about what keeps the registry, or parts of it, from being used."""
        known = [] if self.registry is None else list(self.registry.problems)
        return known if self.problem is None else [self.problem, *known]

    async def ask(self, question: Awaitable[T]) -> T:
        """Await a question to the registry, and keep whether it was answered."""
        try:
            answer = await question
        except (Outage, Refused) as error:
            self.reachable, self.problem = isinstance(error, Refused), str(error)
            raise
        self.reachable, self.problem = True, None
        return answer

    async def subjects(self) -> list[str]:
        """List all subjects, sorted."""
        return await self.ask(self.registry.subjects()) if self.registry else []

    async def versions(self, subject: str) -> list[int]:
        """List a subject's versions; empty where there is no such subject."""
        return await self.ask(self.registry.versions(subject)) if self.registry else []

    async def compatibility(self, subject: str) -> str | None:
        """Read a subject's compatibility level, where the registry has such a notion."""
        return await self.ask(self.registry.compatibility(subject)) if self.registry else None

    async def by_version(self, subject: str, version: int | None) -> RegisteredSchema | None:
        """Read a version of a subject, the latest for None."""
        return await self.ask(self.registry.by_version(subject, version)) if self.registry else None

    async def by_ref(self, ref: SchemaRef) -> RegisteredSchema | None:
        """Read a schema by whichever of its names is known."""
        if self.registry is None:
            return None
        if ref.subject is not None and ref.version is not None:
            return await self.by_version(ref.subject, ref.version)
        if ref.id is not None:
            return await self.ask(self.registry.by_id(ref.id))
        return await self.ask(self.registry.by_guid(ref.guid)) if ref.guid is not None else None

    async def known_id(self, way: str, id: int | str, stream: str) -> KnownId:
        """Read what is known of a schema id.

        Args:
            way: `id`, `global_id`, `guid` or `fingerprint`.
            id: The id, in the form of its way.
            stream: The stream whose record names it: its subjects are searched first for a fingerprint.
        """
        schema = await self._by(way, id, stream)
        if schema is None:
            return KnownId(None)
        return KnownId(schema, await self._subjects_of(schema.ref))

    async def _by(self, way: str, id: int | str, stream: str) -> RegisteredSchema | None:
        assert self.registry is not None, "without a registry no look-up needs one"
        match way, id:
            case "id", int(id):
                return await self.ask(self.registry.by_id(id)) if 0 < id < 1 << 31 else None
            case "global_id", int(id):
                return await self.ask(self.registry.by_global_id(id)) if 0 < id < 1 << 63 else None
            case "guid", str(id):
                return await self.ask(self.registry.by_guid(id))
            case "fingerprint", int(id):
                own, others = split_subjects(await self.subjects(), stream)
                schema = await self.ask(self.registry.by_fingerprint(id, own))
                return schema or await self.ask(self.registry.by_fingerprint(id, others[:_MAX_SEARCHED_SUBJECTS]))
        raise ValueError(f"not a way to name a schema: {way!r} {id!r}")

    async def _subjects_of(self, ref: SchemaRef) -> frozenset[tuple[str, int]]:
        assert self.registry is not None
        subjects = await self.ask(self.registry.subjects_of(ref.id)) if ref.id is not None else frozenset()
        if not subjects and ref.subject is not None and ref.version is not None:
            return frozenset({(ref.subject, ref.version)})
        return subjects
