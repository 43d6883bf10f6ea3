"""The catalog: the types of events that flow, with producers, consumers, schemas and examples."""

from __future__ import annotations

from typing import Any

from sidecar.api.models.base import ApiModel
from sidecar.api.models.events import CoverageModel, SchemaRefModel


class SchemaUseModel(ApiModel, kw_only=True):
    """A schema version that events of a type use."""

    ref: SchemaRefModel
    events: int
    last_seen: str | None


class CatalogEntryModel(ApiModel, kw_only=True):
    """One type of events on one stream."""

    stream: str
    system: str
    type: str | None
    """null: the events do not say what they are."""
    events: int
    rejected: int
    first_seen: str | None
    last_seen: str | None
    rate: float | None
    """Events a second between the first and the last event."""
    producers: list[str]
    """Most frequent first."""
    consumers: list[str]
    """Consumer groups that consume the stream."""
    versions: list[str]
    schemas: list[SchemaUseModel]
    """Schema versions in use, the latest first."""
    aggregate_types: list[str]
    causes: list[str]
    """Types of the events that caused these."""
    owner: str | None
    size_bytes: int | None
    """Median size of the sampled values."""
    max_size_bytes: int | None
    example: Any
    """Redacted body of a recent event."""
    documentation: str | None
    """Documentation of the record in its latest schema."""
    schema_text: str | None
    """Text of the latest schema in use."""
    schema_kind: str | None
    """`AVRO`, `JSON` or `PROTOBUF`."""


class CatalogPage(ApiModel, kw_only=True):
    """The catalog of the held events."""

    items: list[CatalogEntryModel]
    cursor: str | None = None
    """Always null: all entries are on one page."""
    service: str
    """Name of the service whose sidecar answers."""
    coverage: CoverageModel
    did_you_mean: str | None = None
    """The query that was probably meant, if nothing matches and a better one is known."""
