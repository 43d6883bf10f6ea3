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
    """Name of the token."""
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
    """Number of attempts to process the record; null if the framework does not state it."""
    dialect: str
    state: str
    cause: str
    groups: list[str]
    root_cause: RootCauseModel | None = None
    schema: SchemaRefModel | None = None
    service: str | None = None
    replay_of: str | None = None
    omitted: list[str] = []
    """Parts that are missing because the broker refused the dead letter for its size; the origin still has them."""
    replays: int = 0
    """Number of replays of its record before this failure."""
    returned_as: str | None = None
    """Dead letter of the replayed record, if it failed again."""
    expires_at: str | None = None
    """Time at which retention deletes it; null: never, or unknown."""
    history: list[LedgerActionModel] | UnsetType = UNSET
    """Actions on it, oldest first. Only in the reply for one dead letter."""
    stacktrace: str | UnsetType | None = UNSET
    key: str | UnsetType | None = UNSET
    headers: list[Header] | UnsetType = UNSET
    body: Any | UnsetType = UNSET
    payload_note: str | UnsetType | None = UNSET


class CauseModel(ApiModel, kw_only=True):
    """Dead letters of one cause. Dead letters of one origin count once, in any number of groups."""

    cause: str
    """Fingerprint of the cause; every dead letter of the cause has it."""
    stream: str
    stage: str
    code: str
    message: str
    """Message of the latest dead letter."""
    path: str | None
    root_cause: RootCauseModel | None = None
    type: str | None
    schema: SchemaRefModel | None
    count: int
    first_seen: str | None
    last_seen: str | None
    oldest_age_s: float
    rate: float
    """Dead letters per minute, over the last hour."""
    aggregates: int
    """Number of affected aggregates."""
    some_aggregates: list[str]
    """The first few affected aggregates."""
    groups: list[str]
    dialects: list[str]
    states: dict[str, int]
    """Number of letters in each state."""
    latest: str
    """Id of the latest dead letter."""


class DeadLetterPage(ApiModel, kw_only=True):
    """A page of dead letters."""

    items: list[DeadLetterModel]
    cursor: str | None
    note: str | None = None
    """Sentences about streams that could not be read."""
    did_you_mean: str | None = None
    """The query that was probably meant, if nothing matches and a better one is known."""


class CausePage(ApiModel, kw_only=True):
    """Causes, the one with the most dead letters first."""

    items: list[CauseModel]
    letters: int
    """Number of dead letters that matched."""
    folded: int
    """Number of dead letters whose causes are not listed, because there are too many causes."""
    note: str | None = None
    """Sentences about streams that could not be read, and about limits of the numbers."""
    cursor: str | None = None
    did_you_mean: str | None = None
    """The query that was probably meant, if nothing matches and a better one is known."""
