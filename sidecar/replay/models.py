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
    """Values by path, such as `data.items[2].qty`: JSON values, read by the schema's types."""
    remove: tuple[str, ...] = ()
    """Paths that are taken away."""
    body: Any | UnsetType = UNSET
    """A whole new body instead, for one letter."""

    def __bool__(self) -> bool:
        return bool(self.set or self.remove or self.body is not UNSET)


class EventRange(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Events of an ordinary stream, instead of dead letters."""

    stream: str
    since: int | None = None
    """Milliseconds; None: from the beginning."""
    until: int | None = None
    """Milliseconds, exclusive; None: to what is the end now."""
    ends: tuple[str, ...] = ()
    """Positions, one of a partition, before which the range ends, as a dry run gave them: what came since is none of
    it. Empty: the end now."""
    into_itself: bool = False
    """Confirms that the target may be the stream itself."""
    confirmed: int | None = None
    """The count that was shown and confirmed, asked for where it is sent into the stream itself."""


class ReplayRequest(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A request to publish dead letters, or a range of events, again."""

    query: str = ""
    ids: tuple[str, ...] = ()
    """Dead letters by id, instead of by query."""
    range: EventRange | None = None
    to: str | None = None
    """Another stream than the origin."""
    group: str | None = None
    """The only group that the records are meant for: `tracecar.replay-group`."""
    rate: float | None = None
    """Records a second at most."""
    growth: bool = False
    """Send growing batches (1, 2, 5, 10, …), and stop when a cause recurs."""
    force: bool = False
    """Those that were replayed, discarded or parked as well."""
    again: bool = False
    """To the origin although groups that passed the record will receive it again."""
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
    """Number of records left out because the group has consumed them, or may have.

    The other numbers do not count them.
    """


class ReplayTarget(Struct, kw_only=True):
    """A stream that records would be sent to."""

    stream: str
    count: int
    exists: bool = True


class CheckResult(Struct, kw_only=True):
    """A kind of failure among the records that would be sent."""

    code: str | None
    """None: passes (or is unchecked)."""
    message: str | None
    path: str | None
    count: int
    example: str
    """A dead letter's id, or a position."""


class ReplayPlan(Struct, kw_only=True):
    """A dry run: what would happen now."""

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
    """The range with the ends that it has now: asked for so, it is these events and no others."""


class SendFailure(Struct, frozen=True, kw_only=True):
    """One record that could not be sent."""

    id: str
    why: str


class OperatorDecision(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A decision of an operator about a running replay."""

    act: Literal["paused", "resumed", "cancelled"]
    at: int
    """Microseconds."""
    by: str
    address: str | None = None


class ReplayJob(Struct, kw_only=True, omit_defaults=True):
    """A replay."""

    id: str
    request: ReplayRequest = field(name="wish")
    by: str
    address: str | None = None
    state: JobState = "running"
    started_at: int = 0
    """Microseconds."""
    ended_at: int | None = None
    changed_at: int = 0
    changed_by: str | None = None
    decisions: list[OperatorDecision] = []
    """The latest, the oldest of them first."""
    selected: int = 0
    published: int = 0
    skipped: int = 0
    failed: int = 0
    returned: int = 0
    reasons: dict[str, int] = {}
    """Number of skipped letters by reason."""
    failures: list[SendFailure] = []
    """The first that failed."""
    note: str | None = None
    """The reason why the job is paused or failed, and the next step."""
    warnings: list[str] = []
    """Warnings from the start of the job."""
    chunks: int = 0
    """Parts that the frozen selection is kept in."""
    parts: list[int] = []
    """The index within the selection that each of them begins at."""
    at: int = 0
    """Number of letters of the selection that are finished."""
    batch: int = 0
    """The size of the current batch, where they grow."""
    judged: int = 0
    """Index within the selection at which the current batch begins.

    The outcome of earlier letters is known, or an operator resumed regardless of it.
    """
    runner: str = ""
    """The sidecar that carries it out."""
    heartbeat: int = field(name="beat", default=0)
    """Counts up while it does."""
    spans: list[tuple[str, int]] = []
    """Spans of a range: the start position of each partition, and the offset that its span ends before."""
    marks: list[str] = []
    """Positions where the dead-letter streams ended when it began: what failed again lies behind them."""
    system: str = ""
    """The broker that it works in."""
    group: str = ""
    """The sidecars' group: its members go on with it when one dies."""


class LetterOutcome(Struct, kw_only=True):
    """The outcome of an action on one letter."""

    id: str
    done: bool
    state: str
    """The letter's current state."""
    why: str | None = None
    """The reason if the action was not carried out, and the next step."""


class DiscardResult(Struct, kw_only=True):
    """The outcome of discarding by a query."""

    outcomes: list[LetterOutcome]
    more: bool
    """Others match as well: ask again."""
    notes: list[str]
    """Sentences: what could not be looked at."""


class ReportResult(Struct, kw_only=True):
    """A failure that a service handed over, as it now stands."""

    id: str
    position: Position | None
    """Position of the letter; None if an earlier report wrote it."""
    created: bool
    """True if this report wrote the letter."""


class UnsendableLetter(Refused):
    """A letter that cannot be sent as it is: the message says why, and what to do."""
