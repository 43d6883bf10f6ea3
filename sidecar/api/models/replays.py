"""What is asked for and answered where something is done with dead letters: JSON as the contract has it, and more."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct, UnsetType, field

from sidecar.api.models.base import ApiModel
from sidecar.api.models.dead_letters import ChangeModel

MOST_IDS = 10_000
"""Dead letters that one request names."""


class ApiRequest(Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a client sends: a name that nobody knows is refused, for it would be left out silently."""


class EditRequest(ApiRequest, kw_only=True):
    """How bodies are changed before they are sent."""

    set: dict[str, Any] = {}
    """JSON values by path, such as `data.items[2].qty`."""
    remove: list[str] = []
    body: Any | UnsetType = UNSET
    """A whole new body, for one letter."""


class RangeRequest(ApiRequest, kw_only=True):
    """Events of a stream, instead of dead letters."""

    stream: str
    since: str | None = field(default=None, name="from")
    """A time (RFC 3339), or a length of time back from now (15m)."""
    until: str | None = field(default=None, name="to")
    ends: list[str] = []
    """Positions before which the range ends in each partition, as a dry run's `range` has them: what came since is none
    of it."""
    into_itself: bool = False
    confirmed: int | None = None


class ReplayRequestModel(ApiRequest, kw_only=True):
    """What to publish again. Without query, ids and range: every dead letter that is open."""

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
    ids: list[str] = []
    query: str = ""
    """All open and parked ones that match, instead of ids."""
    reason: str


class RestoreRequest(ApiRequest, kw_only=True):
    ids: list[str]


class FailureError(ApiRequest, kw_only=True):
    type: str
    message: str = ""
    stacktrace: str | None = None


class FailureRecord(ApiRequest, kw_only=True):
    """A record that lies nowhere; bytes as base64."""

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
    id: str
    """The dead letter's."""
    position: str | None
    """Where it lies; null where an earlier report wrote it."""
    created: bool


class ReplayFailureModel(ApiModel, kw_only=True):
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
    """How many failed again so far."""
    started_at: str | None
    ended_at: str | None
    ids: int = 0
    """How many letters were named."""
    range: dict[str, Any] | None = None
    group: str | None = None
    rate: float | None = None
    batch_growth: bool = False
    batch: int = 0
    """The size of the current batch, where they grow."""
    force: bool = False
    again: bool = False
    edit: dict[str, Any] | None = None
    comment: str | None = None
    by: str
    address: str | None = None
    changed_at: str | None = None
    changed_by: str | None = None
    """Who paused, resumed or cancelled it."""
    reasons: dict[str, int] = {}
    """Why letters were skipped, and how many."""
    kept_back: int = 0
    """How many of the skipped are open and stay so: a group has passed the record already, or nobody can tell."""
    failures: list[ReplayFailureModel] = []
    """The first that failed."""
    note: str | None = None
    """Why it is paused, waiting or failed, and what to do."""
    warnings: list[str] = []
    system: str


class ReplayPage(ApiModel, kw_only=True):
    items: list[ReplayModel]
    cursor: str | None = None


class ReceiverModel(ApiModel, kw_only=True):
    group: str
    stream: str
    lag: int | None
    passed: int
    not_passed: int
    unknown: int
    kept_back: int = 0
    """How many are left out because it has passed them, or may have: none of the numbers before counts them."""


class TargetModel(ApiModel, kw_only=True):
    stream: str
    count: int
    exists: bool


class CheckModel(ApiModel, kw_only=True):
    code: str
    message: str
    path: str | None
    count: int
    example: str


class PlanModel(ApiModel, kw_only=True):
    """A dry run: what would happen now."""

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
    """How many of the skipped are open and stay so: a group has passed the record already, or nobody can tell."""
    range: dict[str, Any] | None = None
    """Of a range: where it begins and ends now (`stream`, `from`, `to`, `ends`). Sent with a request, these are the
    events that are published, whatever comes meanwhile."""


class AuditEntryModel(ApiModel, kw_only=True):
    """One act of somebody."""

    act: str
    """`replay.started`, `.paused`, `.resumed`, `.cancelled`; `dead_letters.discarded`, `.restored`, `.reported`,
    `.imported`."""
    at: str | None
    by: str
    """The name of the token."""
    address: str | None
    letters: int
    """How many it was about."""
    ids: list[str] = []
    """The first of them, where it was no replay."""
    why: str | None = None
    replay: str | None = None
    query: str | None = None
    to: str | None = None
    edit: dict[str, Any] | None = None
    """What a replay changed; what may not be shown is masked."""


class AuditPage(ApiModel, kw_only=True):
    items: list[AuditEntryModel]
    """The latest first."""
    note: str | None = None
    """What could not be looked at."""
    cursor: str | None = None


class OutcomeModel(ApiModel, kw_only=True):
    """What became of one letter."""

    id: str
    done: bool
    state: str
    why: str | None = None


class OutcomePage(ApiModel, kw_only=True):
    items: list[OutcomeModel]
    more: bool = False
    """Of discarding by a query: others match as well; ask again."""
    note: str | None = None
    """What could not be looked at."""


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
    """Parts that are left out because they may not be shown; such a letter cannot be imported."""
    state: str = "open"
