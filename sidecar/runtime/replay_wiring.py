"""The parts of the way back, put together over what a sidecar has."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from sidecar.api.services.answers import ReadService
from sidecar.dead_letters.store import DeadLetterStore
from sidecar.dead_letters.writer import DeadLetterCallback, DeadLetterWriter, ignore_dead_letter
from sidecar.decoding.schema_cache import SchemaCache
from sidecar.domain.redaction import Redactor
from sidecar.pipeline.consumer_groups.tracker import ConsumerGroupTracker
from sidecar.replay.dry_run import ReplayChain
from sidecar.replay.edit.editor import RecordEditor
from sidecar.replay.edit.redacted_edit import redact_edit
from sidecar.replay.export_import import LetterTransfer
from sidecar.replay.failure_reports import FailureReports
from sidecar.replay.job_control import ReplaySource
from sidecar.replay.models import ReplayRequest
from sidecar.replay.service import ReplayService
from sidecar.replay.validation import RecordValidator, registry_trouble


def micros() -> int:
    return time.time_ns() // 1_000


def redact_request(wish: ReplayRequest, redactor: Redactor) -> ReplayRequest:
    """The wish without values that may not be shown: nobody needs them once they were sent."""
    edit = wish.edit
    if not redactor.active or not edit:
        return wish
    return replace(wish, edit=redact_edit(edit, redactor))


def build_replay_service(
    sources: Sequence[ReplaySource],
    *,
    answers: ReadService,
    desk: DeadLetterStore,
    catalog: SchemaCache,
    follower: ConsumerGroupTracker,
    index: ReplayChain,
    writer: Callable[[ReplaySource], DeadLetterWriter],
    selection: int,
    dead_lettered: DeadLetterCallback = ignore_dead_letter,
) -> ReplayService:
    """What acts on the dead letters that `answers` shows. `writer` makes the letters of a source; `selection`: letters
    that one replay takes at most; `dead_lettered` hears of the letters of reports."""
    payloads, redactor = answers.payloads, answers.redactor
    writers = {source.broker.system: writer(source) for source in sources}
    return ReplayService(
        sources,
        desk=desk,
        queries=answers,
        follower=follower,
        index=index,
        editor=RecordEditor(payloads, catalog, redactor),
        verdicts=lambda system: RecordValidator(payloads, system, lambda: registry_trouble(catalog)),
        exporting=LetterTransfer(sources, desk, payloads, redactor, micros),
        reporting=FailureReports(
            sources, payloads, answers.in_sight, lambda one: writers[one.broker.system], micros, dead_lettered
        ),
        selection=selection,
        names=not redactor.hides_keys,
        veil=lambda wish: redact_request(wish, redactor),
        shown=redactor.letter_message,
    )
