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


class OutlineLineModel(ApiModel):
    """One line of a schema's outline: a field."""

    depth: int
    """Level of nesting; 0 is the schema itself."""
    name: str
    type: str
    """Type and default of the field, such as `array of string` or `int = 1`."""


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
    outline: list[OutlineLineModel] | UnsetType = UNSET
    """Fields of that version in order, for people. Only in the reply for one subject."""


class SubjectPage(ApiModel, kw_only=True):
    """A page of subjects."""

    items: list[SubjectModel]
    cursor: str | None = None
    coverage: CoverageModel


class SchemaCheckRequest(ApiModel, kw_only=True):
    """A schema version that is not registered yet."""

    subject: str
    text: str
    kind: str = "AVRO"
    limit: int = 1_000
    """Number of the newest events of the subject to check, at most 10,000."""


class SchemaFaultModel(ApiModel, kw_only=True):
    """A way in which real events would not survive the new version."""

    reader: str
    """The consumer that fails: `new version`, or a version that events use, such as `version 3`."""
    path: str | None
    message: str
    count: int
    """Number of the checked events that show it."""
    evidence: list[str]
    """Positions of some of them, newest first, at most five."""


class SchemaCheckResult(ApiModel, kw_only=True):
    """The effect of a new schema version on real events and their consumers."""

    subject: str
    events: int
    """Number of events that were checked."""
    stored_events: int = 0
    """Number of these that come from the history, from all of its time."""
    survived: int
    """Number of events that every reader could read."""
    versions: list[int]
    """Versions that these events use, whose consumers were checked."""
    faults: list[SchemaFaultModel]
    note: str | None = None
    """A sentence, set if less was checked than was asked for."""
