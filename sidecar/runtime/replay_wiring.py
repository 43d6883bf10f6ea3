"""Wiring of the service that acts on dead letters (`sidecar.replay.service.ReplayService`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from sidecar.api.services.letter_queries import LetterQueryCompiler
from sidecar.api.services.payloads import PayloadReader
from sidecar.config.schema import ReplayConfig
from sidecar.dead_letters.store import DeadLetterStore
from sidecar.dead_letters.writer import DeadLetterCallback, DeadLetterWriter, ignore_dead_letter
from sidecar.decoding.schema_cache import SchemaCache
from sidecar.domain.redaction import Redactor
from sidecar.pipeline.consumer_groups.tracker import ConsumerGroupTracker
from sidecar.pipeline.pipeline import now_micros
from sidecar.replay.dry_run import AggregateIndex
from sidecar.replay.edit.editor import RecordEditor
from sidecar.replay.edit.redacted_edit import redact_edit
from sidecar.replay.export_import import LetterTransfer
from sidecar.replay.failure_reports import FailureReports
from sidecar.replay.job_control import ReplaySource, build_broker_replays, waits_in_replay
from sidecar.replay.service import ReplayService
from sidecar.replay.validation import RecordValidator, describe_registry_trouble


def build_replays(
    sources: Sequence[ReplaySource],
    *,
    queries: LetterQueryCompiler,
    payloads: PayloadReader,
    redactor: Redactor,
    catalog: SchemaCache,
    groups: ConsumerGroupTracker,
    index: AggregateIndex,
    build_writer: Callable[[ReplaySource], DeadLetterWriter],
    limits: ReplayConfig,
    on_dead_letter: DeadLetterCallback = ignore_dead_letter,
) -> tuple[DeadLetterStore, ReplayService]:
    """Build the store of the dead letters of some brokers, and the service that acts on them.

    The store asks the replays which letters wait in them, and the service needs the store. So the replays come first.

    Args:
        sources: The brokers with their names.
        queries: Compiles queries of dead letters.
        payloads: Reads and decodes records.
        redactor: Redacts values that must not be shown.
        catalog: Schemas, to check edited records.
        groups: Progress of consumer groups, to warn of groups that would receive a record again.
        index: Recent events, to find earlier replays of a record.
        build_writer: Builds the writer of a source's dead letters.
        limits: Limits of replays.
        on_dead_letter: Called with every durable dead letter of a failure report.
    """
    editor = RecordEditor(payloads, catalog, redactor)
    broker_replays = build_broker_replays(
        sources,
        groups,
        editor,
        queries.in_sight,
        queries.fits,
        clock=now_micros,
        hide_edit=lambda edit: redact_edit(edit, redactor),
        redact_message=redactor.letter_message,
    )
    letters = DeadLetterStore(sources, limits.attempts, partial(waits_in_replay, broker_replays), payloads.open)
    service = ReplayService(
        broker_replays,
        store=letters,
        queries=queries,
        tracker=groups,
        index=index,
        editor=editor,
        check_records=lambda system: RecordValidator(payloads, system, lambda: describe_registry_trouble(catalog)),
        exporting=LetterTransfer(sources, letters, payloads, redactor, now_micros),
        reporting=_build_reports(sources, queries, payloads, build_writer, on_dead_letter),
        selection=limits.selection,
        names=not redactor.hides_keys,
    )
    return letters, service


def _build_reports(
    sources: Sequence[ReplaySource],
    queries: LetterQueryCompiler,
    payloads: PayloadReader,
    build_writer: Callable[[ReplaySource], DeadLetterWriter],
    on_dead_letter: DeadLetterCallback,
) -> FailureReports:
    writers = {source.broker.system: build_writer(source) for source in sources}
    return FailureReports(
        sources,
        payloads,
        queries.in_sight,
        lambda source: writers[source.broker.system],
        now_micros,
        on_dead_letter,
    )
