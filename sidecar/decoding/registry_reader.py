"""Reader of a schema registry, which also tracks whether the registry is reachable."""

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
    """The registry's reply about one schema id."""

    schema: RegisteredSchema | None
    """None if the id is not registered."""
    subjects: frozenset[tuple[str, int]] = frozenset()
    """Subjects and versions under which it is registered; empty if the registry cannot tell."""


class RegistryReader:
    """Reads a registry, and tracks whether it replied the last time. All methods raise Outage or Refused."""

    def __init__(self, registry: Registry | None) -> None:
        """Wrap a registry. None: no registry is configured, and there are no subjects."""
        self.registry = registry
        self.reachable: bool | None = None
        """True if the registry replied to the last request; None before the first."""
        self.problem: str | None = None
        """Error of the last request; None if it succeeded."""

    @property
    def problems(self) -> list[str]:
        """Sentences about problems that prevent the use of the registry, or of parts of it."""
        known = [] if self.registry is None else list(self.registry.problems)
        return known if self.problem is None else [self.problem, *known]

    async def ask(self, question: Awaitable[T]) -> T:
        """Await a request to the registry, and note whether it replied."""
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
        """List a subject's versions; empty if the subject does not exist."""
        return await self.ask(self.registry.versions(subject)) if self.registry else []

    async def compatibility(self, subject: str) -> str | None:
        """Read a subject's compatibility level; None if the registry has none."""
        return await self.ask(self.registry.compatibility(subject)) if self.registry else None

    async def by_version(self, subject: str, version: int | None) -> RegisteredSchema | None:
        """Read a version of a subject; None is the latest."""
        return await self.ask(self.registry.by_version(subject, version)) if self.registry else None

    async def by_ref(self, ref: SchemaRef) -> RegisteredSchema | None:
        """Read a schema by the first of its names that is known."""
        if self.registry is None:
            return None
        if ref.subject is not None and ref.version is not None:
            return await self.by_version(ref.subject, ref.version)
        if ref.id is not None:
            return await self.ask(self.registry.by_id(ref.id))
        return await self.ask(self.registry.by_guid(ref.guid)) if ref.guid is not None else None

    async def known_id(self, way: str, id: int | str, stream: str) -> KnownId:
        """Read a schema by one of its ids.

        Args:
            way: Kind of the id: `id`, `global_id`, `guid` or `fingerprint`.
            id: The id, in the form of its kind.
            stream: Stream whose record names it. For a fingerprint, its subjects are searched first.
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
