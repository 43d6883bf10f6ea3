"""Requests and replies of actions on dead letters."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct, UnsetType, field

from sidecar.api.models.base import ApiModel
from sidecar.api.models.dead_letters import ChangeModel

MAX_IDS_PER_REQUEST = 10_000


class ApiRequest(Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Body of a request. Unknown fields are refused rather than ignored."""


class EditRequest(ApiRequest, kw_only=True):
    """Changes of bodies before they are sent."""

    set: dict[str, Any] = {}
    """JSON values by path, such as `data.items[2].qty`."""
    remove: list[str] = []
    body: Any | UnsetType = UNSET
    """A whole new body, for one letter."""


class RangeRequest(ApiRequest, kw_only=True):
    """Range of a stream's events, instead of dead letters."""

    stream: str
    since: str | None = field(default=None, name="from")
    """A time (RFC 3339), or a duration back from now (15m)."""
    until: str | None = field(default=None, name="to")
    ends: list[str] = []
    """Position before which the range ends in each partition, from the `range` of a dry run: later events are
    excluded."""
    into_itself: bool = False
    confirmed: int | None = None


class ReplayRequestModel(ApiRequest, kw_only=True):
    """Records to publish again. Without query, ids and range: every open dead letter."""

    query: str = ""
    ids: list[str] = []
    range: RangeRequest | None = None
    to: str | None = None
    group: str | None = None
    rate: float | None = None
    batch_growth: bool = False
    force: bool = False
    again: bool = False
    edit: EditRequest | None = None
    comment: str | None = None
    dry_run: bool = False


class DiscardRequest(ApiRequest, kw_only=True):
    """Dead letters to discard."""

    ids: list[str] = []
    query: str = ""
    """Instead of ids: all matching dead letters that are open or parked."""
    reason: str


class RestoreRequest(ApiRequest, kw_only=True):
    """Dead letters to restore."""

    ids: list[str]


class FailureError(ApiRequest, kw_only=True):
    """The error of a reported failure."""

    type: str
    message: str | None = None
    stacktrace: str | None = None


class FailureRecord(ApiRequest, kw_only=True):
    """A record that is in no stream; bytes as base64."""

    stream: str
    key: bytes | None = None
    value: bytes | None = None
    headers: list[tuple[str, bytes | None]] = []
    timestamp: int | None = None
    """Milliseconds since 1970."""


class FailureRequest(ApiRequest, kw_only=True):
    """An event that a service could not process."""

    group: str
    position: str | None = None
    record: FailureRecord | None = None
    error: FailureError
    attempts: int = 1


class FailureAnswer(ApiModel, kw_only=True):
    """The dead letter of a reported failure."""

    id: str
    """Id of the dead letter."""
    position: str | None
    """Position of the dead letter; null: an earlier report wrote it."""
    created: bool


class ReplayFailureModel(ApiModel, kw_only=True):
    """A letter that could not be replayed."""

    id: str
    why: str


class ReplayModel(ApiModel, kw_only=True):
    """A replay job."""

    id: str
    state: str
    """running, paused, done, cancelled or failed."""
    query: str | None
    to: str | None
    selected: int
    published: int
    skipped: int
    failed: int
    returned: int
    """Number of records that failed again so far."""
    started_at: str | None
    ended_at: str | None
    ids: int = 0
    """Number of dead letters that the request named by id."""
    range: dict[str, Any] | None = None
    group: str | None = None
    rate: float | None = None
    batch_growth: bool = False
    batch: int = 0
    """Size of the current batch, if batches grow."""
    force: bool = False
    again: bool = False
    edit: dict[str, Any] | None = None
    comment: str | None = None
    by: str
    address: str | None = None
    changed_at: str | None = None
    changed_by: str | None = None
    """Name of the token that paused, resumed or cancelled it."""
    reasons: dict[str, int] = {}
    """Number of skipped dead letters, by reason."""
    kept_back: int = 0
    """Number of skipped dead letters that stay open, because a group has consumed the record or may have."""
    failures: list[ReplayFailureModel] = []
    """The first failures."""
    note: str | None = None
    """Reason why it is paused, waiting or failed, and the next step."""
    warnings: list[str] = []
    system: str


class ReplayPage(ApiModel, kw_only=True):
    """A page of replay jobs."""

    items: list[ReplayModel]
    cursor: str | None = None


class ReceiverModel(ApiModel, kw_only=True):
    """A consumer group that would receive the records."""

    group: str
    stream: str
    lag: int | None
    passed: int
    not_passed: int
    unknown: int
    kept_back: int = 0
    """Number of records that are not sent because the group has consumed them or may have. The other numbers do not
    include them."""


class TargetModel(ApiModel, kw_only=True):
    """A stream to which the replay would publish."""

    stream: str
    count: int
    exists: bool


class CheckModel(ApiModel, kw_only=True):
    """A failed check, with the number of affected records."""

    code: str
    message: str
    path: str | None
    count: int
    example: str


class PlanModel(ApiModel, kw_only=True):
    """Result of a dry run."""

    selected: int
    sendable: int
    skipped: dict[str, int]
    targets: list[TargetModel]
    receivers: list[ReceiverModel]
    passes: int
    fails: list[CheckModel]
    looked_at: int
    warnings: list[str]
    changes: list[ChangeModel]
    kept_back: int = 0
    """Number of skipped dead letters that stay open, because a group has consumed the record or may have."""
    range: dict[str, Any] | None = None
    """Bounds of a range of events (`stream`, `from`, `to`, `ends`). A request with these bounds publishes exactly these
    events, even if others arrive meanwhile."""


class AuditEntryModel(ApiModel, kw_only=True):
    """One audited action."""

    act: str
    """`replay.started`, `.paused`, `.resumed`, `.cancelled`; `dead_letters.discarded`, `.restored`, `.reported`,
    `.imported`."""
    at: str | None
    by: str
    """Name of the token."""
    address: str | None
    letters: int
    """Number of dead letters."""
    ids: list[str] = []
    """The first ids, except for a replay."""
    why: str | None = None
    replay: str | None = None
    query: str | None = None
    to: str | None = None
    edit: dict[str, Any] | None = None
    """Changes of a replay; redacted values are masked."""
    link: str | None = None
    """Link to the dead letters in the dashboard, such as `#/dead-letter/ID`. `tracecar tui LINK` opens it, and so does
    a browser behind the address of `tracecar tui --web`."""


class AuditPage(ApiModel, kw_only=True):
    """A page of the audit log."""

    items: list[AuditEntryModel]
    """Entries, latest first."""
    note: str | None = None
    """Sentences about streams that could not be read."""
    cursor: str | None = None


class OutcomeModel(ApiModel, kw_only=True):
    """Outcome for one dead letter."""

    id: str
    done: bool
    state: str
    why: str | None = None


class OutcomePage(ApiModel, kw_only=True):
    """Outcomes, one for each dead letter."""

    items: list[OutcomeModel]
    more: bool = False
    """True if further dead letters match a discard by query: repeat the request."""
    note: str | None = None
    """Sentences about streams that could not be read."""


class ExportedLetterModel(ApiModel, kw_only=True):
    """A dead letter with exact bytes, as base64."""

    id: str
    position: str
    stream: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    timestamp: int
    value_at: int = 0
    hidden: list[str] = []
    """Parts that are left out because they are redacted. Such a dead letter can be imported only while its origin still
    has the record."""
    state: str = "open"
