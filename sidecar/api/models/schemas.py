"""Registered schemas, and the versions that events used."""

from __future__ import annotations

from msgspec import UNSET, UnsetType

from sidecar.api.models.base import ApiModel
from sidecar.api.models.events import CoverageModel


class SeenSchemaModel(ApiModel, kw_only=True):
    """A schema version that recent events used."""

    version: int | None
    id: int | None
    streams: list[str]


class SubjectModel(ApiModel, kw_only=True):
    """A registered subject, and its versions that events used."""

    subject: str
    versions: list[int]
    compatibility: str | None
    kind: str | None
    """`AVRO`, `JSON` or `PROTOBUF`: the format of the latest version."""
    id: int | None
    seen: list[SeenSchemaModel]
    text: str | UnsetType | None = UNSET
    """Text of the latest version. Only in the reply for one subject."""


class SubjectPage(ApiModel, kw_only=True):
    """A page of subjects."""

    items: list[SubjectModel]
    cursor: str | None = None
    coverage: CoverageModel
