"""The types of replays: requests, plans, jobs and outcomes."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType, field

from sidecar.dead_letters.ledger_entries import PathChange
from sidecar.domain.errors import Refused
from sidecar.domain.position import Position

JobState = Literal["running", "paused", "done", "cancelled", "failed"]


class BodyEdit(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """An edit of bodies before they are sent."""

    set: dict[str, Any] = {}
    """Values by path, such as `data.items[2].qty`. They are JSON, converted to the schema's types."""
    remove: tuple[str, ...] = ()
    """Paths to remove."""
    body: Any | UnsetType = UNSET
    """New body instead of single changes, for one letter."""

    def __bool__(self) -> bool:
        return bool(self.set or self.remove or self.body is not UNSET)


class EventRange(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Events of an ordinary stream, instead of dead letters."""

    stream: str
    since: int | None = None
    """Start in milliseconds; None: from the beginning."""
    until: int | None = None
    """End in milliseconds, exclusive; None: to the current end."""
    ends: tuple[str, ...] = ()
    """Positions before which the range ends, one for each partition, from a dry run: later events are excluded. Empty:
    the current ends."""
    into_itself: bool = False
    """True to confirm that the target may be the stream itself."""
    confirmed: int | None = None
    """Number of records that the user has seen and confirmed; required if the target is the stream itself."""


class ReplayRequest(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Request to publish dead letters, or a range of events, again."""

    query: str = ""
    ids: tuple[str, ...] = ()
    """Dead letters by id, instead of a query."""
    range: EventRange | None = None
    to: str | None = None
    """Target stream instead of the origin."""
    group: str | None = None
    """Only group that the records are for: `tracecar.replay-group`."""
    rate: float | None = None
    """Maximum number of records per second."""
    growth: bool = False
    """True to send growing batches (1, 2, 5, 10, …), and to stop when a cause recurs."""
    force: bool = False
    """True to include letters that were replayed, discarded or parked."""
    again: bool = False
    """True to send to the origin although groups that have consumed the record will receive it again."""
    edit: BodyEdit = BodyEdit()
    comment: str | None = None


class ReplayReceiver(Struct, kw_only=True):
    """A consumer group that reads a target."""

    group: str
    stream: str
    lag: int | None
    """Lag on the whole stream."""
    passed: int = 0
    """Number of records that the group has already consumed at their origin."""
    not_passed: int = 0
    unknown: int = 0
    kept_back: int = 0
    """Number of records that are not sent because the group has consumed them, or may have.

    The other numbers do not include them.
    """


class ReplayTarget(Struct, kw_only=True):
    """A stream to which records would be sent."""

    stream: str
    count: int
    exists: bool = True


class CheckResult(Struct, kw_only=True):
    """A kind of failure among the records that would be sent."""

    code: str | None
    """Code of the rejection; None: the records pass, or are unchecked."""
    message: str | None
    path: str | None
    count: int
    example: str
    """Id of a dead letter, or a position."""


class ReplayPlan(Struct, kw_only=True):
    """Result of a dry run."""

    selected: int
    sendable: int
    skipped: dict[str, int]
    """Number of skipped letters by reason."""
    targets: list[ReplayTarget]
    receivers: list[ReplayReceiver]
    passes: int
    """Number of records that pass the check now, of the `looked_at` that were checked."""
    fails: list[CheckResult]
    looked_at: int
    warnings: list[str]
    changes: list[PathChange] = []
    """Changes that the edit makes to the first letter, redacted."""
    range: EventRange | None = None
    """The range with its current ends. A request with these ends means exactly these events."""


class SendFailure(Struct, frozen=True, kw_only=True):
    """One record that could not be sent."""

    id: str
    why: str


class OperatorDecision(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A decision of an operator about a running replay."""

    act: Literal["paused", "resumed", "cancelled"]
    at: int
    """Time in microseconds."""
    by: str
    address: str | None = None


class ReplayJob(Struct, kw_only=True, omit_defaults=True):
    """A replay job."""

    id: str
    request: ReplayRequest = field(name="wish")
    by: str
    address: str | None = None
    state: JobState = "running"
    started_at: int = 0
    """Time in microseconds."""
    ended_at: int | None = None
    changed_at: int = 0
    changed_by: str | None = None
    decisions: list[OperatorDecision] = []
    """Latest decisions, oldest first."""
    selected: int = 0
    published: int = 0
    skipped: int = 0
    failed: int = 0
    returned: int = 0
    reasons: dict[str, int] = {}
    """Number of skipped letters by reason."""
    failures: list[SendFailure] = []
    """The first failures."""
    note: str | None = None
    """Reason why the job is paused or failed, and the next step."""
    warnings: list[str] = []
    """Warnings from the start of the job."""
    letter_warnings: dict[str, int] = {}
    """Number of sent letters by the warning about them: why the record may differ from what was expected."""
    chunks: int = 0
    """Number of parts in which the frozen selection is stored."""
    parts: list[int] = []
    """Index within the selection at which each part begins."""
    at: int = 0
    """Number of finished letters of the selection."""
    batch: int = 0
    """Size of the current batch, if batches grow."""
    judged: int = 0
    """Index within the selection at which the current batch begins.

    The outcome of earlier letters is known, or an operator resumed the job regardless of it.
    """
    runner: str = ""
    """Sidecar that runs the job."""
    heartbeat: int = field(name="beat", default=0)
    """Counter that the runner increments while it works."""
    spans: list[tuple[str, int]] = []
    """Partitions of a range: the start position, and the end offset (exclusive), of each."""
    marks: list[str] = []
    """End positions of the dead-letter streams at the start. Letters that failed again are after them."""
    system: str = ""
    """Broker of the job."""
    hides_edit: bool = False
    """The edit has redacted values. The ledger has them masked; the process that made the job has them in memory."""
    group: str = ""
    """The sidecars' group. Its members continue the job if its runner dies."""


class LetterOutcome(Struct, kw_only=True):
    """Outcome of an action on one letter."""

    id: str
    done: bool
    state: str
    """Current state of the letter."""
    why: str | None = None
    """Reason why the action was not carried out, and the next step."""


class DiscardResult(Struct, kw_only=True):
    """Outcome of discarding by a query."""

    outcomes: list[LetterOutcome]
    more: bool
    """True if other letters match as well: repeat the request."""
    notes: list[str]
    """Sentences about streams that could not be read."""


class ReportResult(Struct, kw_only=True):
    """A reported failure, in its current state."""

    id: str
    position: Position | None
    """Position of the letter; None if an earlier report wrote it."""
    created: bool
    """True if this report wrote the letter."""


class UnsendableLetter(Refused):
    """A letter that cannot be sent unchanged. The message says why, and what to do."""
