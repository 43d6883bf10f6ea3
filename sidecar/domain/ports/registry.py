"""Port of a schema registry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from sidecar.domain.model import SchemaRef


class RegisteredSchema(Struct, frozen=True):
    """A schema as a registry has it."""

    ref: SchemaRef
    """Subject, version and ids, as far as the request reveals them."""
    kind: str
    """`AVRO`, `JSON` or `PROTOBUF`."""
    text: str
    references: tuple[RegisteredSchema, ...] = ()
    """Schemas that it refers to, dependencies first."""


class Registry(Protocol):
    """A schema registry.

    None means that the object does not exist in the registry, and may be cached briefly. An unreachable registry raises
    Outage, a refusal (401, 403) raises Refused.
    """

    @property
    def problems(self) -> Sequence[str]:
        """Sentences about unusable parts of the registry, as far as they were read; empty if it cannot tell."""

    async def by_id(self, id: int) -> RegisteredSchema | None:
        """Return the schema with this id (Confluent's; for Apicurio the content id as its Confluent API shows it)."""

    async def by_global_id(self, id: int) -> RegisteredSchema | None:
        """Return the schema with this Apicurio global id; None if the registry has no such ids."""

    async def by_guid(self, guid: str) -> RegisteredSchema | None:
        """Return the schema with this GUID."""

    async def by_fingerprint(self, fingerprint: int, subjects: Sequence[str]) -> RegisteredSchema | None:
        """Return the Avro schema with this CRC-64-AVRO fingerprint, searched among all versions of these subjects."""

    async def by_version(self, subject: str, version: int | None) -> RegisteredSchema | None:
        """Return a version of a subject; the latest for None."""

    async def subjects_of(self, id: int) -> frozenset[tuple[str, int]]:
        """Return the (subject, version) pairs under which the schema with this id is registered."""

    async def subjects(self) -> list[str]:
        """Return all subjects, sorted."""

    async def versions(self, subject: str) -> list[int]:
        """Return the subject's versions, ascending; empty if the subject does not exist."""

    async def compatibility(self, subject: str) -> str | None:
        """Return the subject's compatibility level (its own, else the registry's); None if the registry has none."""

    async def close(self) -> None: ...
