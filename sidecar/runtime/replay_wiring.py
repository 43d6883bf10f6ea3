"""Wiring of the service that acts on dead letters (`sidecar.replay.service.ReplayService`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from sidecar.api.services.letter_queries import LetterQueryCompiler
from sidecar.api.services.payloads import PayloadReader
from sidecar.dead_letters.store import DeadLetterStore
from sidecar.dead_letters.writer import DeadLetterCallback, DeadLetterWriter, ignore_dead_letter
from sidecar.decoding.schema_cache import SchemaCache
from sidecar.domain.redaction import Redactor
from sidecar.pipeline.consumer_groups.tracker import ConsumerGroupTracker
from sidecar.pipeline.pipeline import now_micros
from sidecar.replay import job_control
from sidecar.replay.dry_run import AggregateIndex
from sidecar.replay.edit.editor import RecordEditor
from sidecar.replay.edit.redacted_edit import redact_edit
from sidecar.replay.export_import import LetterTransfer
from sidecar.replay.failure_reports import FailureReports
from sidecar.replay.job_control import BrokerReplay, ReplaySource
from sidecar.replay.models import ReplayRequest
from sidecar.replay.service import ReplayService
from sidecar.replay.validation import RecordValidator, describe_registry_trouble


def redact_request(request: ReplayRequest, redactor: Redactor) -> ReplayRequest:
    """Return a replay request with redacted values masked, because they are not needed once the records are sent."""
    edit = request.edit
    if not redactor.active or not edit:
        return request
    return replace(request, edit=redact_edit(edit, redactor))


def build_broker_replays(
    sources: Sequence[ReplaySource],
    *,
    queries: LetterQueryCompiler,
    editor: RecordEditor,
    redactor: Redactor,
    groups: ConsumerGroupTracker,
) -> list[BrokerReplay]:
    """Build the replays of some brokers. They run once the service built on them starts.

    Args:
        sources: The brokers with their names.
        queries: Compiles queries of dead letters.
        editor: Edits the bodies of records before they are sent.
        redactor: Redacts values that must not be stored.
        groups: Progress of consumer groups, to wait for the readers of a batch.
    """
    return job_control.build_broker_replays(
        sources,
        groups,
        editor,
        queries.in_sight,
        queries.fits,
        clock=now_micros,
        redact_request=lambda request: redact_request(request, redactor),
        redact_message=redactor.letter_message,
    )


def build_replay_service(
    broker_replays: Sequence[BrokerReplay],
    *,
    queries: LetterQueryCompiler,
    payloads: PayloadReader,
    editor: RecordEditor,
    redactor: Redactor,
    letters: DeadLetterStore,
    catalog: SchemaCache,
    groups: ConsumerGroupTracker,
    index: AggregateIndex,
    build_writer: Callable[[ReplaySource], DeadLetterWriter],
    max_letters: int,
    on_dead_letter: DeadLetterCallback = ignore_dead_letter,
) -> ReplayService:
    """Build the service that acts on the dead letters of some brokers.

    Args:
        broker_replays: The replays of each broker.
        queries: Compiles queries of dead letters.
        payloads: Reads and decodes records.
        editor: Edits the bodies of records before they are sent.
        redactor: Redacts values that must not be shown.
        letters: Finds dead letters.
        catalog: Schemas, to check edited records.
        groups: Progress of consumer groups, to warn of groups that would receive a record again.
        index: Recent events, to find earlier replays of a record.
        build_writer: Builds the writer of a source's dead letters.
        max_letters: Maximum number of letters in one replay.
        on_dead_letter: Called with every durable dead letter of a failure report.
    """
    sources = [broker_replay.source for broker_replay in broker_replays]
    writers = {source.broker.system: build_writer(source) for source in sources}
    return ReplayService(
        broker_replays,
        store=letters,
        queries=queries,
        tracker=groups,
        index=index,
        editor=editor,
        check_records=lambda system: RecordValidator(payloads, system, lambda: describe_registry_trouble(catalog)),
        exporting=LetterTransfer(sources, letters, payloads, redactor, now_micros),
        reporting=FailureReports(
            sources,
            payloads,
            queries.in_sight,
            lambda source: writers[source.broker.system],
            now_micros,
            on_dead_letter,
        ),
        selection=max_letters,
        names=not redactor.hides_keys,
    )
