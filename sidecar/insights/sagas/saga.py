"""One running or ended saga: which of its events were seen, and its state at a moment."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from sidecar.domain.model import Event
from sidecar.domain.position import Position
from sidecar.insights.sagas.declaration import SagaDeclaration

MAX_EVENTS_PER_STEP = 20
"""Occurrences of a repeated step that are kept."""
MAX_COUNTED_PER_STEP = 1_000
"""Occurrences of a repeated step that are counted."""
MAX_REJECTED_PER_SAGA = 10


class SagaState(StrEnum):
    """The state of a saga at a moment."""

    RUNNING = "running"
    COMPLETED = "completed"
    COMPENSATED = "compensated"
    FAILED = "failed"
    STUCK = "stuck"


class Occurrence(Struct, frozen=True):
    """An event that belongs to a saga, reduced to what its state needs."""

    position: Position
    type: str
    at: int
    """Microseconds: when it occurred, as its producer states it, else when it was appended."""
    producer: str | None


def occurrence_time(event: Event) -> int:
    """Return the time that the producer states for an event, else its append time, in microseconds since 1970."""
    return event.occurred_at if event.occurred_at is not None else event.appended_at * 1000


class EventRole(Struct, frozen=True):
    """The meaning of a type for a declared process."""

    step: int | None
    """Index of the step that it belongs to."""
    compensates: bool
    end_state: SagaState | None


def list_roles(declaration: SagaDeclaration) -> dict[str, EventRole]:
    """Return the role of each type that a declaration names, beside the start."""
    steps: dict[str, int] = {}
    for index, step in enumerate(declaration.steps):
        for type in step.types:
            steps.setdefault(type, index)
    ends: dict[str, SagaState] = dict.fromkeys(declaration.completed, SagaState.COMPLETED)
    ends.update(dict.fromkeys(declaration.compensated, SagaState.COMPENSATED))
    ends.update(dict.fromkeys(declaration.failed, SagaState.FAILED))
    return {
        type: EventRole(steps.get(type), type in declaration.compensations, ends.get(type))
        for type in {*steps, *ends, *declaration.compensations}
    }


class Saga:
    """One run of a declared saga. Events may be added in any order, and more than once."""

    __slots__ = (
        "_counted", "_roles", "aggregate_id", "appended_at", "compensations", "declaration", "end", "end_state", "id",
        "rejected", "seen", "start", "trace_id",
    )  # fmt: skip

    def __init__(
        self,
        declaration: SagaDeclaration,
        start: Occurrence,
        event: Event,
        trace_id: int,
        roles: dict[str, EventRole] | None = None,
    ) -> None:
        """Create a saga. `roles`: those of the declaration, for many sagas of it."""
        self._roles = list_roles(declaration) if roles is None else roles
        self.declaration, self.start, self.trace_id = declaration, start, trace_id
        self.id = f"{declaration.name}@{start.position}"
        """`NAME@POSITION` of the event that began it."""
        self.aggregate_id, self.appended_at = event.aggregate_id, event.appended_at
        self.seen: dict[int, list[Occurrence]] = {}
        """Events of each step by its index, oldest first, at most 20."""
        self._counted: dict[int, set[Position]] = {}
        self.compensations: list[Occurrence] = []
        self.rejected: list[Occurrence] = []
        """Rejected events that belong to it, at most ten."""
        self.end: Occurrence | None = None
        self.end_state: SagaState | None = None

    @property
    def deadline_at(self) -> int:
        """Moment by which the saga must have ended, in microseconds."""
        return self.start.at + self.declaration.deadline_us

    def began_with(self, event: Event) -> bool:
        """Return True if an event at the position of the start is the start itself.

        Another append time shows another event: the stream was created again.
        """
        return event.appended_at == self.appended_at

    def count(self, index: int) -> int:
        """Return the number of events of a step, at most 1,000."""
        return len(self._counted.get(index, ()))

    def add(self, occurrence: Occurrence, *, rejected: bool) -> int | None:
        """Add an event. Returns the index of its step; None if it has none, or was added before."""
        if rejected:
            if len(self.rejected) < MAX_REJECTED_PER_SAGA and occurrence not in self.rejected:
                self.rejected.append(occurrence)
            return None
        role = self._roles.get(occurrence.type)
        if role is None:
            return None
        index = role.step
        is_new = index is not None and self._add_step(index, occurrence)
        if role.compensates:
            self._add_compensation(occurrence)
        if role.end_state is not None and (self.end is None or occurrence.at < self.end.at):
            self.end, self.end_state = occurrence, role.end_state
        return index if is_new else None

    def _add_step(self, index: int, occurrence: Occurrence) -> bool:
        """Add an event of a step. Returns False if it was counted before."""
        counted = self._counted.setdefault(index, set())
        if occurrence.position in counted or len(counted) >= MAX_COUNTED_PER_STEP:
            return False
        counted.add(occurrence.position)
        events = self.seen.setdefault(index, [])
        if len(events) < MAX_EVENTS_PER_STEP:
            events.append(occurrence)
            if len(events) > 1:
                events.sort(key=lambda known: (known.at, known.position))
        if not self.declaration.completed and not self.list_missing():
            last = max((known for events in self.seen.values() for known in events), key=lambda known: known.at)
            if self.end is None:
                self.end, self.end_state = last, SagaState.COMPLETED
        return True

    def _add_compensation(self, occurrence: Occurrence) -> None:
        if len(self.compensations) < MAX_EVENTS_PER_STEP and occurrence not in self.compensations:
            self.compensations.append(occurrence)

    def list_missing(self) -> list[int]:
        """Return the indexes of the required steps that were not seen."""
        return [
            index for index, step in enumerate(self.declaration.steps) if not step.optional and index not in self.seen
        ]

    def state(self, now: int) -> SagaState:
        """Return the state at a moment (microseconds since 1970). Past a deadline, a running saga is stuck."""
        if self.end_state is not None:
            return self.end_state
        return SagaState.RUNNING if self.overdue_since(now) is None else SagaState.STUCK

    def overdue_since(self, now: int) -> int | None:
        """Return the moment at which the first deadline passed, in microseconds; None if none has."""
        if self.end is not None:
            return None
        moments = [self.deadline_at]
        for index in self.list_missing():
            step = self.declaration.steps[index]
            if step.within_us is None:
                continue
            before = self.before(index)
            if before is not None:
                moments.append(before.at + step.within_us)
        passed = [moment for moment in moments if moment < now]
        return min(passed, default=None)

    def before(self, index: int) -> Occurrence | None:
        """Return the event after which a step is due: that of the required step before it, else the start.

        None if an earlier required step has not come either.
        """
        if not self.declaration.in_sequence:
            return self.start
        latest: Occurrence | None = self.start
        for earlier, step in enumerate(self.declaration.steps[:index]):
            if step.optional:
                continue
            if earlier not in self.seen:
                return None
            latest = self.seen[earlier][-1]
        return latest

    def list_before(self, index: int) -> list[Occurrence]:
        """Return the events that may have caused a step, the latest first, ending with the start."""
        events = [known for earlier, seen in self.seen.items() if earlier < index for known in seen]
        return [*sorted(events, key=lambda known: (known.at, known.position), reverse=True), self.start]

    def next_missing(self) -> int | None:
        """Return the index of the step that the saga waits for: the first required one that was not seen."""
        return next(iter(self.list_missing()), None)

    @property
    def last_at(self) -> int:
        """Time of the latest event of the saga, in microseconds since 1970."""
        times = [known.at for events in self.seen.values() for known in events]
        return max([self.start.at, *times, *(each.at for each in self.compensations)])
