"""Dead letters, their history and their causes."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, UnsetType

from sidecar.api.models.base import ApiModel
from sidecar.api.models.events import Header, SchemaRefModel


class ChangeModel(ApiModel, kw_only=True):
    """One difference that an edit made; redacted values are masked."""

    path: str
    before: Any
    after: Any
    what: str
    """changed, added or removed."""


class LedgerActionModel(ApiModel, kw_only=True):
    """One action on a dead letter."""

    act: str
    """replayed, discarded, restored, reported or imported."""
    at: str | None
    by: str
    """The name of the token."""
    address: str | None
    why: str | None
    replay: str | None
    to: str | None
    group: str | None
    attempt: int | None
    edit: list[ChangeModel]


class RootCauseModel(ApiModel, kw_only=True):
    """The innermost exception behind a failure."""

    type: str
    message: str | None


class DeadLetterModel(ApiModel, kw_only=True):
    """A dead letter."""

    id: str
    position: str
    origin: str | None
    stream: str
    group: str | None
    stage: str
    code: str
    message: str
    path: str | None
    event_id: str | None
    type: str | None
    trace_id: str | None
    aggregate_id: str | None
    failed_at: str | None
    attempts: int | None
    """Number of times that the record was tried; null where the framework does not state it."""
    dialect: str
    state: str
    cause: str
    groups: list[str]
    root_cause: RootCauseModel | None = None
    schema: SchemaRefModel | None = None
    service: str | None = None
    replay_of: str | None = None
    omitted: list[str] = []
    """Parts that the broker refused; the origin still has them."""
    replays: int = 0
    """Number of replays of its record before this failure."""
    returned_as: str | None = None
    """The dead letter of its replay, if that failed again."""
    expires_at: str | None = None
    """Time at which retention deletes it; null: never, or unknown."""
    history: list[LedgerActionModel] | UnsetType = UNSET
    """Actions on it, oldest first; only in the answer for one letter."""
    stacktrace: str | UnsetType | None = UNSET
    key: str | UnsetType | None = UNSET
    headers: list[Header] | UnsetType = UNSET
    body: Any | UnsetType = UNSET
    payload_note: str | UnsetType | None = UNSET


class CauseModel(ApiModel, kw_only=True):
    """Dead letters of one cause; one letter for each origin, whichever groups wrote it."""

    cause: str
    """The fingerprint that every dead letter of it carries."""
    stream: str
    stage: str
    code: str
    message: str
    """Message of the latest letter."""
    path: str | None
    root_cause: RootCauseModel | None = None
    type: str | None
    schema: SchemaRefModel | None
    count: int
    first_seen: str | None
    last_seen: str | None
    oldest_age_s: float
    rate: float
    """Letters a minute, over the last hour."""
    aggregates: int
    """Number of affected aggregates."""
    some_aggregates: list[str]
    """The first few of them."""
    groups: list[str]
    dialects: list[str]
    states: dict[str, int]
    """Number of letters in each state."""
    latest: str
    """The id of the latest letter."""


class DeadLetterPage(ApiModel, kw_only=True):
    """A page of dead letters."""

    items: list[DeadLetterModel]
    cursor: str | None
    note: str | None = None
    """Sentences about streams that could not be read."""


class CausePage(ApiModel, kw_only=True):
    """The causes with the most letters first."""

    items: list[CauseModel]
    letters: int
    """Number of dead letters that matched."""
    folded: int
    """Number of letters of causes that are not distinguished, because there are too many causes."""
    note: str | None = None
    """Sentences about streams that could not be read, and limits of the numbers."""
    cursor: str | None = None
