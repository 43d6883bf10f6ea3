"""Schemas: what is registered, and which versions events used."""

from __future__ import annotations

from msgspec import UNSET, UnsetType

from sidecar.api.models.base import ApiModel
from sidecar.api.models.events import CoverageModel


class SeenSchemaModel(ApiModel, kw_only=True):
    """A schema version that events were seen with lately."""

    version: int | None
    id: int | None
    streams: list[str]


class SubjectModel(ApiModel, kw_only=True):
    """What is registered under a subject, and what was seen of it."""

    subject: str
    versions: list[int]
    compatibility: str | None
    kind: str | None
    """`AVRO`, `JSON` or `PROTOBUF`: of the latest version."""
    id: int | None
    seen: list[SeenSchemaModel]
    text: str | UnsetType | None = UNSET
    """The latest version's text, where one subject was asked for."""


class SubjectPage(ApiModel, kw_only=True):
    items: list[SubjectModel]
    cursor: str | None = None
    coverage: CoverageModel
