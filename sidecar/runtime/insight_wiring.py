"""Builds what is found out about events: lint, the catalog, sagas and their metrics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain

from sidecar.api.mappers.events import EventMapper
from sidecar.api.services.catalog import CatalogService
from sidecar.api.services.event_sampler import EventSampler
from sidecar.api.services.lint import LintService
from sidecar.api.services.lint_monitor import LintMonitor, LintTally
from sidecar.api.services.payloads import PayloadReader
from sidecar.api.services.saga_history import SagaHistory
from sidecar.api.services.saga_monitor import SagaMonitor
from sidecar.api.services.search import SearchableIndex
from sidecar.config.schema import Config, SagaConfig
from sidecar.decoding.schema_cache import SchemaCache
from sidecar.domain.ports.history import History
from sidecar.domain.ports.metrics import Instrument, InstrumentSource, Point
from sidecar.insights.lint.linter import Linter
from sidecar.insights.sagas.counts import SagaCounts
from sidecar.insights.sagas.declaration import DeclaredStep, SagaDeclaration
from sidecar.insights.sagas.tracker import SagaTracker
from sidecar.pipeline.consumer_groups.tracker import ConsumerGroupTracker
from sidecar.pipeline.event_fan_out import EventObserver
from sidecar.pipeline.pipeline import Pipeline
from sidecar.runtime.cluster_members import MemberDirectory
from sidecar.runtime.saga_ownership import SagaOwnership
from sidecar.runtime.service import InsightMonitor


def build_catalog(
    config: Config,
    index: SearchableIndex,
    sampler: EventSampler,
    mapper: EventMapper,
    schemas: SchemaCache,
    groups: ConsumerGroupTracker,
) -> CatalogService:
    """Build the catalog of events."""
    return CatalogService(
        service=config.service,
        index=index,
        sampler=sampler,
        mapper=mapper,
        schemas=schemas,
        groups=groups,
        owners=config.catalog.owners,
    )


def build_lint(
    config: Config,
    index: SearchableIndex,
    sampler: EventSampler,
    mapper: EventMapper,
    schemas: SchemaCache,
    groups: ConsumerGroupTracker,
) -> LintService:
    """Build the checks of the events themselves."""
    rules = config.lint
    return LintService(
        index=index,
        sampler=sampler,
        mapper=mapper,
        catalog=schemas,
        groups=groups,
        build_linter=lambda hidden: Linter(
            max_chain=rules.max_chain,
            old_version_after_s=float(rules.old_version_after),
            ignore=rules.ignore,
            hidden_fields=hidden,
        ),
    )


def build_saga_monitor(
    config: Config, index: SearchableIndex, history: History | None, payloads: PayloadReader, mapper: EventMapper
) -> SagaMonitor | None:
    """Build the monitor of the declared sagas; None if none are declared."""
    if not config.sagas:
        return None
    tracker = SagaTracker(list(map(build_declaration, config.sagas)), join=config.correlation.join)
    sampler = EventSampler(index, payloads, mapper)
    return SagaMonitor(tracker, index, sampler, SagaHistory(history, tracker.declarations))


def build_declaration(saga: SagaConfig) -> SagaDeclaration:
    """Build the declaration that a part of the configuration states."""
    return SagaDeclaration(
        name=saga.name,
        start=saga.start,
        steps=tuple(
            DeclaredStep(
                name=step.name or step.on[0],
                types=tuple(step.on),
                optional=step.optional,
                repeated=step.repeated,
                within_us=None if step.within is None else round(float(step.within) * 1_000_000),
                expected_from=step.expected_from,
            )
            for step in saga.steps
        ),
        in_sequence=saga.order == "sequence",
        correlation=saga.correlate,
        deadline_us=round(float(saga.deadline) * 1_000_000),
        completed=frozenset(saga.completed),
        compensated=frozenset(saga.compensated),
        failed=frozenset(saga.failed),
        compensations=frozenset(saga.compensations),
    )


class Insights:
    """The parts that work without being asked: the state of sagas, and the number of findings."""

    def __init__(self, sagas: SagaMonitor | None, lint_interval_s: float | None) -> None:
        """Create the parts. `sagas`: None if none are declared; `lint_interval_s`: None if findings are not counted."""
        self.sagas, self._tally, self._lint_interval_s = sagas, LintTally(), lint_interval_s

    @property
    def observers(self) -> list[EventObserver]:
        """Those who look at the events as they are decoded."""
        return [] if self.sagas is None else [self.sagas]

    def build_metrics(self, ownership: SagaOwnership) -> list[InstrumentSource]:
        """Build the instruments."""
        return [SagaMetrics(self.sagas, ownership), LintMetrics(self._tally)]

    def build_monitors(self, lint: LintService, ownership: SagaOwnership) -> list[InsightMonitor]:
        """Build the parts that run as long as the sidecar."""
        monitors: list[InsightMonitor] = [] if self.sagas is None else [self.sagas]
        if self._lint_interval_s is not None:
            monitors.append(LintMonitor(lint, self._tally, self._lint_interval_s, ownership.is_first))
        return monitors


def build_insights(
    config: Config, index: SearchableIndex, history: History | None, payloads: PayloadReader, mapper: EventMapper
) -> Insights:
    """Build the parts that work without being asked."""
    interval = config.lint.interval
    return Insights(
        build_saga_monitor(config, index, history, payloads, mapper), None if interval is None else float(interval)
    )


def build_ownership(directory: MemberDirectory | None, pipelines: Sequence[Pipeline]) -> SagaOwnership:
    """Build the distribution of sagas among the members of a group."""
    members = None if directory is None else directory.rows
    return SagaOwnership(members, lambda: chain.from_iterable(map(Pipeline.leases, pipelines)))


class LintMetrics:
    """Instrument of the findings of the last run."""

    def __init__(self, tally: LintTally) -> None:
        self._tally = tally

    async def refresh(self) -> None:
        """Do nothing: the monitor counts by itself."""

    def instruments(self) -> Sequence[Instrument]:
        """Return the instrument."""

        def findings() -> Iterable[Point]:
            for (rule, severity), count in (self._tally.findings or {}).items():
                yield count, {"rule": rule, "severity": severity}

        description = "Findings of the linter by rule, as of the last run; one sidecar of the group counts them."
        return (Instrument("tracecar.lint.findings", "gauge", description, findings),)


class SagaMetrics:
    """Instruments of the declared sagas: their states, and the steps that stuck ones wait for."""

    def __init__(self, monitor: SagaMonitor | None, ownership: SagaOwnership) -> None:
        """Create the instruments. `ownership`: decides which sagas this sidecar counts."""
        self._monitor, self._ownership = monitor, ownership
        self._counts = SagaCounts((), 0)

    async def refresh(self) -> None:
        """Count the sagas, in steps. The monitor reads new events by itself."""
        if self._monitor is not None:
            self._counts = await self._monitor.count(self._ownership.build_check())

    def instruments(self) -> Sequence[Instrument]:
        """Return the instruments; none if no sagas are declared."""
        if self._monitor is None:
            return []
        tracker = self._monitor.tracker

        def states() -> Iterable[Point]:
            for (name, state), count in self._counts.states.items():
                yield count, {"saga": name, "state": state.value}

        def waiting() -> Iterable[Point]:
            for (name, step), count in self._counts.waiting.items():
                yield count, {"saga": name, "step": step}

        return [
            Instrument(
                "tracecar.sagas", "gauge", "Held sagas by state; each is counted by one sidecar of the group.", states
            ),
            Instrument("tracecar.sagas_waiting", "gauge", "Stuck sagas by the step that they wait for.", waiting),
            Instrument(
                "tracecar.sagas_evicted", "counter", "Sagas that were evicted.", lambda: [(tracker.evicted, {})]
            ),
        ]
