"""Registry in memory: the official fake, for tests, embedding and experiments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID, uuid5

from msgspec.structs import replace

from sidecar.adapters.registry.fingerprints import fingerprint_of
from sidecar.domain.errors import TracecarError
from sidecar.domain.model import SchemaRef
from sidecar.domain.ports.registry import RegisteredSchema

_NAMESPACE = UUID("5f0a2c5c-7a3c-4c5e-9d0b-3b1f5a8e7c11")


class _RegisteredEntry(NamedTuple):
    id: int
    guid: str
    schema: RegisteredSchema
    """The schema without subject and version: several may have it."""


class MemoryRegistry:
    """Schemas under subjects and versions, as a Confluent-compatible registry keeps them.

    The same text with the same references has the same id under every subject.

    While `trouble` is an Outage or a Refused, every call raises it; `asked` counts the calls.
    """

    def __init__(self) -> None:
        self.trouble: TracecarError | None = None
        self.asked = 0
        self.level = "BACKWARD"
        self.levels: dict[str, str] = {}
        """Compatibility levels of single subjects."""
        self._entries: dict[int, _RegisteredEntry] = {}
        self._subjects: dict[str, dict[int, int]] = {}
        """Subject to version to id."""

    def register(
        self, subject: str, text: str, kind: str = "AVRO", references: Sequence[tuple[str, int]] = ()
    ) -> SchemaRef:
        """Add the next version of `subject`, or return the version with this text.

        `references` are (subject, version) pairs. Raises KeyError if one of them does not exist.
        """
        referred = tuple(self._at(name, version) for name, version in references)
        content = repr((kind, text, [(each.ref.subject, each.ref.version) for each in referred]))
        guid = str(uuid5(_NAMESPACE, content))
        entry = next((each for each in self._entries.values() if each.guid == guid), None)
        if entry is None:
            id = len(self._entries) + 1
            entry = _RegisteredEntry(id, guid, RegisteredSchema(SchemaRef(None, None, id, guid), kind, text, referred))
            self._entries[id] = entry
        versions = self._subjects.setdefault(subject, {})
        version = next((number for number, id in versions.items() if id == entry.id), None)
        if version is None:
            version = max(versions, default=0) + 1
            versions[version] = entry.id
        return SchemaRef(subject, version, entry.id, guid)

    def remove(self, subject: str) -> None:
        """Remove a subject with its versions; their schemas keep their ids."""
        del self._subjects[subject]

    async def by_id(self, id: int) -> RegisteredSchema | None:
        self._ask()
        entry = self._entries.get(id)
        return entry.schema if entry else None

    async def by_global_id(self, id: int) -> RegisteredSchema | None:
        self._ask()
        return None

    async def by_guid(self, guid: str) -> RegisteredSchema | None:
        self._ask()
        return next((entry.schema for entry in self._entries.values() if entry.guid == guid.lower()), None)

    async def by_fingerprint(self, fingerprint: int, subjects: Sequence[str]) -> RegisteredSchema | None:
        self._ask()
        for subject in subjects:
            for version in self._subjects.get(subject, ()):
                schema = self._at(subject, version)
                if fingerprint_of(schema) == fingerprint:
                    return schema
        return None

    async def by_version(self, subject: str, version: int | None) -> RegisteredSchema | None:
        self._ask()
        versions = self._subjects.get(subject)
        if not versions or (version is not None and version not in versions):
            return None
        return self._at(subject, max(versions) if version is None else version)

    async def subjects_of(self, id: int) -> frozenset[tuple[str, int]]:
        self._ask()
        return frozenset(
            (subject, version)
            for subject, versions in self._subjects.items()
            for version, of in versions.items()
            if of == id
        )

    async def subjects(self) -> list[str]:
        self._ask()
        return sorted(self._subjects)

    async def versions(self, subject: str) -> list[int]:
        self._ask()
        return sorted(self._subjects.get(subject, ()))

    async def compatibility(self, subject: str) -> str | None:
        self._ask()
        return self.levels.get(subject, self.level)

    @property
    def problems(self) -> tuple[str, ...]:
        return ()

    async def close(self) -> None:
        return

    def _ask(self) -> None:
        self.asked += 1
        if self.trouble is not None:
            raise self.trouble

    def _at(self, subject: str, version: int) -> RegisteredSchema:
        entry = self._entries[self._subjects[subject][version]]
        return replace(entry.schema, ref=SchemaRef(subject, version, entry.id, entry.guid))
