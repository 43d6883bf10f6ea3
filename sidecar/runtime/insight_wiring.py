"""Builds what is found out about events: lint, the catalog, sagas and their metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from sidecar.api.mappers.events import EventMapper
from sidecar.api.services.catalog import CatalogService
from sidecar.api.services.event_sampler import EventSampler
from sidecar.api.services.lint import LintService
from sidecar.api.services.payloads import PayloadReader
from sidecar.api.services.saga_monitor import SagaMonitor
from sidecar.api.services.search import SearchableIndex
from sidecar.config.schema import Config, SagaConfig
from sidecar.decoding.schema_cache import SchemaCache
from sidecar.domain.ports.metrics import Instrument, Point
from sidecar.insights.lint.linter import Linter
from sidecar.insights.sagas.declaration import DeclaredStep, SagaDeclaration
from sidecar.insights.sagas.tracker import SagaTracker
from sidecar.pipeline.consumer_groups.tracker import ConsumerGroupTracker


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
    config: Config, index: SearchableIndex, payloads: PayloadReader, mapper: EventMapper
) -> SagaMonitor | None:
    """Build the monitor of the declared sagas; None if none are declared."""
    if not config.sagas:
        return None
    tracker = SagaTracker(list(map(build_declaration, config.sagas)), join=config.correlation.join)
    return SagaMonitor(tracker, index, EventSampler(index, payloads, mapper))


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


class SagaMetrics:
    """Instruments of the declared sagas: their states, and the steps that stuck ones wait for."""

    def __init__(self, monitor: SagaMonitor | None, clock: Callable[[], int]) -> None:
        """Create the instruments. `clock`: microseconds since 1970."""
        self._monitor, self._clock = monitor, clock

    async def refresh(self) -> None:
        """Do nothing: the monitor refreshes itself."""

    def instruments(self) -> Sequence[Instrument]:
        """Return the instruments; none if no sagas are declared."""
        if self._monitor is None:
            return []
        tracker = self._monitor.tracker

        def states() -> Iterable[Point]:
            for (name, state), count in tracker.count_states(self._clock()).items():
                yield count, {"saga": name, "state": state.value}

        def waiting() -> Iterable[Point]:
            for (name, step), count in tracker.count_waiting(self._clock()).items():
                yield count, {"saga": name, "step": step}

        return [
            Instrument("tracecar.sagas", "gauge", "Held sagas by state.", states),
            Instrument("tracecar.sagas_waiting", "gauge", "Stuck sagas by the step that they wait for.", waiting),
            Instrument(
                "tracecar.sagas_evicted", "counter", "Sagas that were evicted.", lambda: [(tracker.evicted, {})]
            ),
        ]
