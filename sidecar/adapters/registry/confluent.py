"""Client of registries with Confluent's REST API.

Confluent's own, Apicurio (`/apis/ccompat/v7`), Karapace and Redpanda have it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import quote
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from sidecar.adapters.registry.apicurio import ApicurioGlobalIds
from sidecar.adapters.registry.fingerprints import fingerprint_of
from sidecar.adapters.registry.http_client import NotARegistryAnswer, RegistryHttpClient
from sidecar.config.schema import RegistryConfig
from sidecar.domain.bounded_cache import BoundedCache
from sidecar.domain.errors import Outage
from sidecar.domain.model import SchemaRef
from sidecar.domain.ports.registry import RegisteredSchema

T = TypeVar("T")

MAX_REFERENCE_DEPTH = 20
MAX_REFERENCES = 200
"""References of one schema, direct and indirect. Further ones are left out, which makes the schema unusable, because
their names are unknown."""
INDEX_MAX_AGE_S = 10.0
"""Time for which the list of a subject's fingerprints counts as complete."""


class _Reference(Struct):
    name: str
    subject: str
    version: int


class _SchemaResponse(Struct):
    schema: str
    schemaType: str | None = None
    references: list[_Reference] | None = None
    subject: str | None = None
    version: int | None = None
    id: int | None = None
    guid: str | None = None


class _SubjectVersion(Struct):
    subject: str
    version: int


class _CompatibilityResponse(Struct):
    compatibilityLevel: str | None = None
    compatibility: str | None = None


class _ContextId(Struct):
    id: int


@dataclass(slots=True)
class _ReferenceResolver:
    """The references that are followed from one schema."""

    around: list[tuple[str, int]] = field(default_factory=list)
    """The versions on the path to this reference, so that a circle ends."""
    read: int = 0
    cut: bool = False
    """A reference was left out: a circle, or one beyond the limits."""

    @property
    def is_far(self) -> bool:
        return len(self.around) > MAX_REFERENCE_DEPTH or self.read > MAX_REFERENCES


class ConfluentRegistry:
    """A registry (see `ports.Registry`). Versions never change, and are cached for schemas that refer to them."""

    def __init__(self, config: RegistryConfig) -> None:
        """Create the client without connecting. Raises ConfigError if a certificate cannot be read."""
        addresses = [config.url] if isinstance(config.url, str) else list(config.url or [])
        if not addresses:
            raise ValueError("registry.url is needed")
        self._questions = RegistryHttpClient(addresses, config)
        self._global_ids = ApicurioGlobalIds(addresses, config)
        self._versions: BoundedCache[tuple[str, int], RegisteredSchema] = BoundedCache(2_000)
        self._indexes: BoundedCache[str, tuple[float, dict[int, RegisteredSchema]]] = BoundedCache(2_000)

    async def by_id(self, id: int) -> RegisteredSchema | None:
        response = await self._ask(f"/schemas/ids/{id}", _SchemaResponse)
        return await self._register(response, SchemaRef(None, None, id, response.guid)) if response else None

    async def by_global_id(self, id: int) -> RegisteredSchema | None:
        place = await self._global_ids.place(id)
        if place is None:
            return None
        response = await self.by_id(place.contentId)
        if response is None:
            return None
        return replace(response, ref=SchemaRef(place.artifactId, place.number, place.contentId, response.ref.guid))

    async def by_guid(self, guid: str) -> RegisteredSchema | None:
        try:
            guid = str(UUID(guid))
        except ValueError:
            return None
        try:
            response = await self._questions.ask(f"/schemas/guids/{guid}", _SchemaResponse)
            if response is None:
                return None
            ids = (
                await self._questions.ask(f"/schemas/guids/{guid}/ids", list[_ContextId])
                if response.id is None
                else None
            )
        except NotARegistryAnswer:
            # A registry without GUIDs knows no such path; one that is not there at all fails here as well.
            await self.subjects()
            return None
        id = response.id if response.id is not None else ids[0].id if ids else None
        return await self._register(response, SchemaRef(response.subject, response.version, id, guid))

    async def by_fingerprint(self, fingerprint: int, subjects: Sequence[str]) -> RegisteredSchema | None:
        for subject in subjects:
            response = (await self._index(subject)).get(fingerprint)
            if response is not None:
                return response
        return None

    async def by_version(self, subject: str, version: int | None) -> RegisteredSchema | None:
        return await self._version(subject, version, _ReferenceResolver())

    async def subjects_of(self, id: int) -> frozenset[tuple[str, int]]:
        # A deleted subject counts: events written before the deletion were written correctly.
        response = await self._ask(f"/schemas/ids/{id}/versions?deleted=true", list[_SubjectVersion])
        return frozenset((place.subject, place.version) for place in response or ())

    async def subjects(self) -> list[str]:
        return sorted(await self._ask("/subjects", list[str]) or [])

    async def versions(self, subject: str) -> list[int]:
        return sorted(await self._ask(f"/subjects/{quote(subject, safe='')}/versions", list[int]) or [])

    async def compatibility(self, subject: str) -> str | None:
        level = await self._ask(f"/config/{quote(subject, safe='')}", _CompatibilityResponse) or await self._ask(
            "/config", _CompatibilityResponse
        )
        return (level.compatibilityLevel or level.compatibility) if level else None

    @property
    def problems(self) -> tuple[str, ...]:
        return ()

    async def close(self) -> None:
        await self._questions.close()
        await self._global_ids.close()

    async def _ask(self, path: str, answer: type[T]) -> T | None:
        try:
            return await self._questions.ask(path, answer)
        except NotARegistryAnswer as error:
            raise Outage(str(error)) from None

    async def _version(
        self, subject: str, version: int | None, following: _ReferenceResolver
    ) -> RegisteredSchema | None:
        if version is not None and (known := self._versions.find((subject, version))):
            return known
        which = "latest" if version is None else str(version)
        response = await self._ask(f"/subjects/{quote(subject, safe='')}/versions/{which}", _SchemaResponse)
        if response is None:
            return None
        place = subject, response.version or version or 0
        following.around.append(place)
        registered = await self._register(response, SchemaRef(*place, response.id, response.guid), following)
        following.around.pop()
        if not following.cut:
            self._versions[place] = registered
        return registered

    async def _register(
        self, response: _SchemaResponse, ref: SchemaRef, following: _ReferenceResolver | None = None
    ) -> RegisteredSchema:
        following = following or _ReferenceResolver()
        references: list[RegisteredSchema] = []
        for reference in response.references or ():
            place = reference.subject, reference.version
            following.read += 1
            if place in following.around or following.is_far:
                following.cut = True
                continue
            referred = await self._version(*place, following)
            if referred is not None:
                references.append(referred)
        return RegisteredSchema(ref, response.schemaType or "AVRO", response.schema, tuple(references))

    async def _index(self, subject: str) -> dict[int, RegisteredSchema]:
        """Map the fingerprints of a subject's versions to their schemas.

        While the map is fresh, an unknown fingerprint causes no request, so that garbage cannot make us read the whole
        registry for each event.
        """
        held = self._indexes.find(subject)
        if held is not None and held[0] > time.monotonic():
            return held[1]
        index: dict[int, RegisteredSchema] = {}
        for version in await self.versions(subject):
            schema = await self.by_version(subject, version)
            fingerprint = fingerprint_of(schema) if schema else None
            if schema is not None and fingerprint is not None:
                index[fingerprint] = schema
        self._indexes[subject] = time.monotonic() + INDEX_MAX_AGE_S, index
        return index
