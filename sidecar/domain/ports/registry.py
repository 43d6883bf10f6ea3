"""What the sidecar needs from a schema registry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from sidecar.domain.model import SchemaRef


class RegisteredSchema(Struct, frozen=True):
    """A schema as a registry has it."""

    ref: SchemaRef
    """As far as the way it was asked for tells."""
    kind: str
    """`AVRO`, `JSON` or `PROTOBUF`."""
    text: str
    references: tuple[RegisteredSchema, ...] = ()
    """What it refers to, dependencies first."""


class Registry(Protocol):
    """A schema registry.

    None is an answer (it has no such thing) and may be remembered briefly; trouble raises Outage; a refusal (401,
    403) raises Refused.
    """

    @property
    def problems(self) -> Sequence[str]:
        """Sentences: what of it cannot be used, as far as it was read. Empty where it is somebody else's to tell."""

    async def by_id(self, id: int) -> RegisteredSchema | None:
        """The schema with this id (Confluent's; for Apicurio the content id as its Confluent API shows it)."""

    async def by_global_id(self, id: int) -> RegisteredSchema | None:
        """The schema with this Apicurio global id; None where the registry knows no such ids."""

    async def by_guid(self, guid: str) -> RegisteredSchema | None:
        """The schema with this GUID."""

    async def by_fingerprint(self, fingerprint: int, subjects: Sequence[str]) -> RegisteredSchema | None:
        """The Avro schema with this CRC-64-AVRO fingerprint, searched among all versions of these subjects."""

    async def by_version(self, subject: str, version: int | None) -> RegisteredSchema | None:
        """A version of a subject, the latest for None."""

    async def subjects_of(self, id: int) -> frozenset[tuple[str, int]]:
        """The (subject, version) pairs under which the schema with this id is registered."""

    async def subjects(self) -> list[str]:
        """All subjects, sorted."""

    async def versions(self, subject: str) -> list[int]:
        """The subject's versions, ascending; empty where there is no such subject."""

    async def compatibility(self, subject: str) -> str | None:
        """The subject's compatibility level (its own, else the registry's); None where there is no such notion."""

    async def close(self) -> None: ...
