"""Sagas: the state of declared processes, why one is stuck, and declarations proposed from flows."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from sidecar.api import models
from sidecar.api.mappers.events import coverage
from sidecar.api.services.event_sampler import EventSampler, parse_metadata_query
from sidecar.api.services.pages import page_size, suggest_if_empty
from sidecar.api.services.ports import DeadLetterSource
from sidecar.api.services.saga_monitor import SagaMonitor
from sidecar.api.services.saga_queries import compile_saga_query
from sidecar.api.services.stored_paths import can_select, learn_paths
from sidecar.dead_letters.store import DeadLetterFilter
from sidecar.domain.errors import NotFoundError, Outage, QueryError, Refused
from sidecar.domain.json_safe import to_text
from sidecar.domain.model import DeadLetter
from sidecar.domain.ports.history_sql import HistorySql
from sidecar.domain.ports.index import IndexReader
from sidecar.domain.timestamps import format_rfc3339
from sidecar.insights.producer_name import name_producer
from sidecar.insights.sagas.learner import LearnedSaga, SagaLearner
from sidecar.insights.sagas.saga import Occurrence, Saga, SagaState
from sidecar.pipeline.consumer_groups.tracker import ConsumerGroupTracker

MAX_LEARNED_FLOWS = 20_000
MAX_DEAD_LETTERS_PER_SAGA = 10


class SagaService:
    """Answers questions about sagas. Methods raise QueryError, NotFoundError, Outage and Refused."""

    def __init__(
        self,
        monitor: SagaMonitor | None,
        index: IndexReader,
        sampler: EventSampler,
        *,
        groups: ConsumerGroupTracker,
        letters: DeadLetterSource,
        sql: HistorySql | None = None,
        clock: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        """Create the service.

        Args:
            monitor: Follows the sagas; None if none are declared.
            index: The events that are held.
            sampler: Reads them redacted.
            groups: Progress of consumer groups.
            letters: Dead letters.
            sql: Reads the history; None if none is kept.
            clock: Returns microseconds since 1970.
        """
        self._monitor, self._index, self._sampler, self._sql = monitor, index, sampler, sql
        self._groups, self._letters, self._clock = groups, letters, clock

    async def sagas(self, query: str = "", limit: int = 100, cursor: str | None = None) -> models.SagaPage:
        """Return the sagas that match, the latest started first."""
        monitor, now = await self._refresh(), self._clock()
        matches = compile_saga_query(query, now)
        sagas, counts = await monitor.select(matches), await monitor.count()
        start = _offset(cursor)
        page = sagas[start : start + page_size(limit)]
        end = start + len(page)
        return models.SagaPage(
            items=[self._model(saga, now, []) for saga in page],
            cursor=str(end) if end < len(sagas) else None,
            states={state.value: counts.count_state(state) for state in SagaState},
            evicted=monitor.tracker.evicted,
            coverage=coverage(self._index.coverage()),
            did_you_mean=suggest_if_empty(page, query),
        )

    async def saga(self, id: str) -> models.SagaModel:
        """Return one saga by its id, or the latest one of an aggregate or a trace."""
        monitor, now = await self._refresh(), self._clock()
        saga = monitor.tracker.get(id)
        if saga is None:
            matches = compile_saga_query(f'"{id}"' if '"' not in id else id, now)
            saga = next(iter(await monitor.select(matches)), None)
        if saga is None:
            raise NotFoundError(f"no saga has the id {id!r}; `tracecar sagas` lists them")
        if saga.state(now) is SagaState.STUCK:
            await monitor.look_at(saga)
        letters = await self._find_letters(saga) if saga.state(now) is SagaState.STUCK else ([], 0)
        return self._model(saga, now, *letters)

    async def learn(self, query: str = "") -> models.LearnedSagaPage:
        """Propose declarations from the flows that match: those of the history, or of the index if it has more."""
        parsed = parse_metadata_query(query)
        held, stored, note = SagaLearner(), SagaLearner(), None
        async for flow in self._sampler.flows(MAX_LEARNED_FLOWS):
            if any(parsed.matches(node) for node in flow.nodes):
                held.observe_flow(flow)
        if self._sql is not None and can_select(parsed) and not self._sampler.hides("type"):
            try:
                await learn_paths(stored, self._sql, parsed)
            except (Outage, Refused) as error:
                note = f"the history was not read: {error}"
        learner = stored if stored.flows > held.flows else held
        page = models.LearnedSagaPage(
            items=list(map(_build_learned_model, learner.propose())),
            flows=learner.flows,
            source="history" if learner is stored else "index",
            coverage=coverage(self._index.coverage()),
        )
        if note is not None:
            page.coverage.note = note
        return page

    async def _refresh(self) -> SagaMonitor:
        if self._monitor is None:
            raise NotFoundError(
                "no sagas are declared: add `sagas` to the configuration; `tracecar sagas learn` proposes declarations"
            )
        await self._monitor.refresh()
        return self._monitor

    async def _find_letters(self, saga: Saga) -> tuple[list[str], int]:
        """Return the ids of dead letters that belong to a saga, and how many of them may be the reason why it is stuck.

        Those come first. There are none if dead letters cannot be read.
        """
        blamed, expected = {each.position for each in self._list_blamed(saga)}, self._expected_group(saga)
        trace_id = f"{saga.trace_id:032x}"
        rejected = {occurrence.position for occurrence in saga.rejected}

        def belongs(letter: DeadLetter) -> bool:
            return letter.origin in rejected or letter.trace_id == trace_id

        wish = DeadLetterFilter(wanted=belongs, since=saga.start.at // 1000)
        try:
            result = await self._letters.newest(MAX_DEAD_LETTERS_PER_SAGA, wish)
        except (Outage, Refused):
            return [], 0
        letters = [group.letter for group in result.letters]
        reasons = [letter for letter in letters if letter.origin in blamed or (expected and letter.group == expected)]
        others = [letter for letter in letters if letter not in reasons]
        return [to_text(letter.id) for letter in (*reasons, *others)], len(reasons)

    def _expected_group(self, saga: Saga) -> str | None:
        """Return the group that should produce the step that a saga waits for."""
        assert self._monitor is not None
        index = saga.next_missing()
        return None if index is None else self._monitor.tracker.expected_from(saga.declaration, index)

    def _list_blamed(self, saga: Saga) -> list[Occurrence]:
        """Return the rejected events that are of the missing step's types, or from the group that should produce it."""
        index, group = saga.next_missing(), self._expected_group(saga)
        types = () if index is None else saga.declaration.steps[index].types
        return [
            each
            for each in saga.rejected
            if each.type in types or (group is not None and name_producer(each.producer or "") == name_producer(group))
        ]

    def _model(self, saga: Saga, now: int, letters: Sequence[str], reasons: int = 0) -> models.SagaModel:
        state = saga.state(now)
        steps = saga.declaration.steps
        return models.SagaModel(
            id=to_text(saga.id),
            name=saga.declaration.name,
            state=state.value,
            started_at=format_rfc3339(saga.start.at),
            ended_at=format_rfc3339(None if saga.end is None else saga.end.at),
            deadline_at=format_rfc3339(saga.deadline_at),
            overdue_since=format_rfc3339(saga.overdue_since(now)),
            trace_id=f"{saga.trace_id:032x}",
            aggregate_id=None if saga.aggregate_id is None else to_text(saga.aggregate_id),
            steps=[self._start_step(saga), *self._steps(saga), *_compensation_steps(saga)],
            missing=[steps[index].name for index in saga.list_missing()] if state is not SagaState.COMPLETED else [],
            obstacle=self._obstacle(saga, letters, reasons) if state is SagaState.STUCK else None,
        )

    def _start_step(self, saga: Saga) -> models.SagaStepModel:
        return models.SagaStepModel(
            name=saga.declaration.start,
            event=str(saga.start.position),
            at=format_rfc3339(saga.start.at),
            expected_from=saga.start.producer,
            optional=False,
            count=1,
        )

    def _steps(self, saga: Saga) -> list[models.SagaStepModel]:
        assert self._monitor is not None
        steps = []
        for index, step in enumerate(saga.declaration.steps):
            first = next(iter(saga.seen.get(index, ())), None)
            steps.append(
                models.SagaStepModel(
                    name=step.name,
                    event=None if first is None else str(first.position),
                    at=None if first is None else format_rfc3339(first.at),
                    expected_from=self._monitor.tracker.expected_from(saga.declaration, index),
                    optional=step.optional,
                    count=saga.count(index),
                )
            )
        return steps

    def _obstacle(self, saga: Saga, letters: Sequence[str], reasons: int) -> models.SagaObstacleModel:
        """Describe what a stuck saga waits for, who should produce it, and whether that group consumed the cause."""
        assert self._monitor is not None
        index = saga.next_missing()
        step = None if index is None else saga.declaration.steps[index].name
        group = self._expected_group(saga)
        before = None if index is None else saga.before(index)
        consumed = None
        for cause in [] if index is None else saga.list_before(index):
            # The group consumes the stream of the event that causes the step, which need not be the latest one.
            known = [each for each in self._groups.consumption(cause.position) if each.group == group]
            if known:
                before, consumed = cause, known[0].passed
                break
        blamed = self._list_blamed(saga)
        rejected = [str(each.position) for each in (*blamed, *(each for each in saga.rejected if each not in blamed))]
        return models.SagaObstacleModel(
            step=step,
            expected_from=group,
            before=None if before is None else str(before.position),
            consumed=consumed,
            rejected=rejected,
            dead_letters=list(letters),
            message=_explain(step, group, consumed, before is not None, rejected[: len(blamed)], letters[:reasons]),
        )


def _explain(
    step: str | None,
    group: str | None,
    consumed: bool | None,
    has_cause: bool,
    rejected: Sequence[str],
    letters: Sequence[str],
) -> str:
    if step is None:
        sentences = ["all required steps came, and none of the ends"]
    else:
        sentences = [f"{step} is missing" + (f"; {group} should have produced it" if group else "")]
    if group and consumed is not None:
        sentences.append(f"{group} has consumed the event before" if consumed else f"{group} has not consumed it yet")
    elif group and has_cause:
        sentences.append(f"no consumer group {group} is known")
    if letters:
        sentences.append(f"dead letter {letters[0]}")
    elif rejected:
        sentences.append(f"rejected event {rejected[0]}")
    return "; ".join(sentences)


def _compensation_steps(saga: Saga) -> list[models.SagaStepModel]:
    return [
        models.SagaStepModel(
            name=occurrence.type,
            event=str(occurrence.position),
            at=format_rfc3339(occurrence.at),
            expected_from=occurrence.producer,
            optional=True,
            count=1,
            compensation=True,
        )
        for occurrence in saga.compensations
    ]


def _offset(cursor: str | None) -> int:
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 10):
        raise QueryError("invalid cursor: pass the `cursor` value of the previous page unchanged", cursor, 0)
    return int(cursor)


def _build_learned_model(saga: LearnedSaga) -> models.LearnedSagaModel:
    return models.LearnedSagaModel(
        name=to_text(saga.name),
        start=to_text(saga.start),
        flows=saga.flows,
        steps=[
            models.LearnedStepModel(
                type=to_text(step.type),
                flows=step.flows,
                optional=step.optional,
                repeated=step.repeated,
                producer=None if step.producer is None else to_text(step.producer),
            )
            for step in saga.steps
        ],
        in_sequence=saga.in_sequence,
        ends={to_text(type): flows for type, flows in saga.ends},
        deadline_s=saga.deadline_us / 1_000_000,
        variants=[
            models.SagaVariantModel(path=list(map(to_text, each.path)), flows=each.flows) for each in saga.variants
        ],
        not_fitting=saga.not_fitting,
        examples=list(saga.examples),
    )
