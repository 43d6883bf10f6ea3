"""The state of an aggregate at a moment, and the differences between two moments."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from sidecar.api import models
from sidecar.api.mappers.events import EventMapper, coverage
from sidecar.api.services.aggregates.event_documents import DocumentReader, DocumentWindow
from sidecar.api.services.aggregates.moments import MomentParser, ReplayMoment
from sidecar.api.services.aggregates.replay_order import AggregateEvent, ReplayNote, ReplayOrder, order_events
from sidecar.api.services.aggregates.sequence import SequenceReader
from sidecar.api.services.aggregates.snapshots import EVENTS_PER_SNAPSHOT, StateSnapshots, hash_events
from sidecar.api.services.id_lookup import IdLookup
from sidecar.api.services.pages import page_size
from sidecar.domain.aggregate_fold import AggregateState, ReducerEvent, StateStep
from sidecar.domain.correlation.event_order import moment as moment_of
from sidecar.domain.correlation.hops import fold_hops
from sidecar.domain.errors import QueryError
from sidecar.domain.json_diff import JsonChange, flatten_origins, list_differences
from sidecar.domain.json_safe import to_json, to_text
from sidecar.domain.ports.index import IndexReader, Node
from sidecar.domain.ports.reducer import Reducer

MAX_REPLAYED_EVENTS = 200_000
"""Events of one aggregate that a state is built from."""
MAX_DIFF_CHANGES = 1_000
MAX_CONCURRENT_RUNS = 2
"""Questions that are answered at the same time; others wait."""
EVENTS_PER_STEP = 256
APPENDED = "appended"
"""The order of aggregates without numbers of their own."""


class ReducerChoice(Struct, frozen=True):
    """The available reducers, and the choice of one for an aggregate."""

    reducers: Mapping[str, Reducer]
    """Reducers by name. Callers may ask for each of them."""
    default: str
    by_type: Mapping[str, str] = {}
    """Names of the reducers of aggregate types."""

    def choose(self, name: str | None, aggregate_type: str | None) -> Reducer:
        """Return the reducer with a name, or that of an aggregate type. Raises QueryError for an unknown name."""
        chosen = name or self.by_type.get(aggregate_type or "", self.default)
        reducer = self.reducers.get(chosen)
        if reducer is None:
            known = ", ".join(sorted(self.reducers))
            raise QueryError(f"there is no reducer {to_text(chosen)[:80]!r}; there are {known}", chosen, 0)
        return reducer


class _Run(Struct):
    """The findings of one question so far."""

    aggregate_id: str
    reducer: Reducer
    order: ReplayOrder
    kept: DocumentWindow
    notes: list[ReplayNote]
    whole: bool
    """False as soon as an event cannot be read."""


class AggregateTimeTravel:
    """Answers questions about states of aggregates. Methods raise QueryError, NotFoundError, Outage and Refused."""

    def __init__(
        self,
        *,
        index: IndexReader,
        ids: IdLookup,
        documents: DocumentReader,
        sequence: SequenceReader,
        moments: MomentParser,
        mapper: EventMapper,
        reducers: ReducerChoice,
    ) -> None:
        self._index, self._documents, self._sequence = index, documents, sequence
        self._moments, self._mapper, self._reducers = moments, mapper, reducers
        self._ids = ids
        self._snapshots = StateSnapshots()
        self._turns = asyncio.Semaphore(MAX_CONCURRENT_RUNS)

    async def state(
        self,
        id: str,
        at: str | None = None,
        diff: str | None = None,
        *,
        reducer: str | None = None,
        steps: bool = False,
        limit: int = 0,
    ) -> models.AggregateModel:
        """Return the state of an aggregate at a moment, and its differences from another moment.

        Args:
            id: The aggregate's id.
            at: A time, a duration before now, or a position. Default: now.
            diff: The other moment.
            reducer: Name of the reducer. Default: as configured.
            steps: Return what each listed event changed.
            limit: Maximum number of events to list, the latest of them.
        """
        async with self._turns:
            nodes = await self._nodes(id)
            types = [node.event.aggregate_type for node in reversed(nodes)]
            aggregate_type = next((type for type in types if type is not None), None)
            chosen = self._reducers.choose(reducer, aggregate_type)
            kept = DocumentWindow()
            order = order_events(await self._documents.read_numbers(nodes, kept), self._sequence)
            run = _Run(id, chosen, order, kept, list(order.notes), order.whole)
            moment = await self._moments.parse(at or "now", order)
            other = None if diff is None else await self._moments.parse(diff, order)
            return await self._answer(run, moment, other, aggregate_type, steps=steps, limit=page_size(limit))

    async def _nodes(self, id: str) -> list[Node]:
        """Return the events of an aggregate, with hops folded into them."""
        held = await self._index.aggregate(id, MAX_REPLAYED_EVENTS)
        nodes = {node.event.position: node for node in held if self._ids.reveals(node, id)}
        if not nodes:
            raise self._ids.not_held("aggregate", id)
        events, hops = fold_hops([node.event for node in nodes.values()])
        return [replace(nodes[event.position], hops=hops.get(event.position, ())) for event in events]

    async def _answer(
        self,
        run: _Run,
        moment: ReplayMoment,
        other: ReplayMoment | None,
        aggregate_type: str | None,
        *,
        steps: bool,
        limit: int,
    ) -> models.AggregateModel:
        order = run.order
        moments = [moment] if other is None else sorted((moment, other), key=lambda each: each.sort_key(order))
        until = _list_events(order, moments[-1])
        listed = until[-limit:]
        wanted = {event.event.position for event in listed} if steps else set()
        states: list[AggregateState] = []
        counts: list[int] = []
        taken: list[StateStep] = []
        for each in moments:
            applied = each.select(order)
            first_step = next((n for n, event in enumerate(applied) if event.event.position in wanted), None)
            state, taken = await self._fold(run, applied, first_step)
            states.append(state)
            counts.append(len(applied))
        index = moments.index(moment)
        answer = models.AggregateModel(
            aggregate_id=run.aggregate_id,
            aggregate_type=aggregate_type,
            events=[self._mapper.event(event.node) for event in listed],
            complete=run.whole,
            coverage=coverage(self._index.coverage()),
            at=str(moment),
            applied=counts[index],
            state=to_json(states[index].value),
            origins=dict(flatten_origins(states[index].origins)),
            reducer=run.reducer.name,
            order=APPENDED if order.sequence is None else order.sequence.location,
        )
        if other is not None:
            answer.diff = str(other)
            answer.changes = _list_changes(run, states[0], states[-1])
        if steps:
            answer.steps = [_step(step) for step in taken]
        positions = {event.event.position for event in until}
        answer.notes = [_note(note) for note in run.notes if note.position is None or note.position in positions]
        return answer

    async def _fold(
        self, run: _Run, applied: Sequence[AggregateEvent], first_step: int | None
    ) -> tuple[AggregateState, list[StateStep]]:
        """Apply events from the nearest snapshot on; return the state and the steps from `first_step` on."""
        chain = hash_events(event.event for event in applied)
        name, total = run.reducer.name, len(applied)
        count, state = self._snapshots.find(run.aggregate_id, name, chain, total if first_step is None else first_step)
        steps: list[StateStep] = []
        if count == total:
            return state, steps
        intact = True
        async with run.reducer.start(state) as reduction:
            while count < total:
                next_snapshot = (count // EVENTS_PER_SNAPSHOT + 1) * EVENTS_PER_SNAPSHOT
                end = min(count + EVENTS_PER_STEP, total, next_snapshot)
                documents = await self._read(run, applied[count:end])
                intact = intact and len(documents) == end - count
                made = await reduction.apply(documents)
                if first_step is not None:
                    steps += made[max(0, first_step - count) :]
                count = end
                if intact and count in (next_snapshot, total):
                    self._snapshots.keep(run.aggregate_id, name, chain, count, await reduction.state())
            return await reduction.state(), steps

    async def _read(self, run: _Run, events: Sequence[AggregateEvent]) -> list[ReducerEvent]:
        """Read the documents of events. An event that cannot be read is noted and left out."""
        documents: list[ReducerEvent] = []
        for event, document in zip(events, await self._documents.documents(events, run.kept), strict=True):
            if isinstance(document, str):
                run.notes.append(ReplayNote("unread", event.event.position, f"not applied: {document}"))
                run.whole = False
            else:
                documents.append(document)
        return documents


def _list_events(order: ReplayOrder, until: ReplayMoment) -> list[AggregateEvent]:
    """Return all events up to a moment, in order, also those that are not applied."""
    if until.position is None:
        return [event for event in order.events if moment_of(event.event)[0] <= until.at]
    rank = next(n for n, event in enumerate(order.events) if event.event.position == until.position)
    return order.events[: rank + 1]


def _list_changes(run: _Run, before: AggregateState, after: AggregateState) -> list[models.ChangeModel]:
    changes: list[models.ChangeModel] = []
    omitted = 0
    for change in list_differences(before.value, after.value):
        if len(changes) < MAX_DIFF_CHANGES:
            changes.append(_change(change))
        else:
            omitted += 1
    if omitted:
        run.notes.append(ReplayNote("omitted", None, f"{omitted} more differences are not listed"))
    return changes


def _change(change: JsonChange) -> models.ChangeModel:
    return models.ChangeModel(
        path=to_text(change.path), before=to_json(change.before), after=to_json(change.after), what=change.what
    )


def _step(step: StateStep) -> models.AggregateStepModel:
    return models.AggregateStepModel(
        position=step.position, changes=[_change(change) for change in step.changes], omitted=step.omitted
    )


def _note(note: ReplayNote) -> models.AggregateNoteModel:
    return models.AggregateNoteModel(
        kind=note.kind,
        position=None if note.position is None else str(note.position),
        message=to_text(note.message),
    )
