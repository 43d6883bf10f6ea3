"""The parts of the way back, put together over what a sidecar has."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from msgspec import UNSET
from msgspec.structs import replace

from sidecar.api.services.answers import Answers
from sidecar.dead_letters.store import Desk
from sidecar.dead_letters.writer import Lettered, LetterWriter, unheard
from sidecar.decoding.schema_cache import Catalog
from sidecar.domain.redaction import HIDDEN, Redactor
from sidecar.pipeline.consumer_groups.tracker import Follower
from sidecar.replay.dry_run import History
from sidecar.replay.edit.editor import Editor
from sidecar.replay.export_import import Exporting
from sidecar.replay.failure_reports import Reporting
from sidecar.replay.job_control import Source
from sidecar.replay.models import Edit, Wish
from sidecar.replay.service import Operations
from sidecar.replay.validation import Checking, registry_trouble


def micros() -> int:
    return time.time_ns() // 1_000


def veiled(wish: Wish, redactor: Redactor) -> Wish:
    """The wish without values that may not be shown: nobody needs them once they were sent."""
    edit = wish.edit
    if not redactor.active or not edit:
        return wish
    shown = {path: HIDDEN if redactor.touches(path) else value for path, value in edit.set.items()}
    body = edit.body if edit.body is UNSET else redactor.body(edit.body)
    return replace(wish, edit=Edit(set=shown, remove=edit.remove, body=body))


def assembled(
    sources: Sequence[Source],
    *,
    answers: Answers,
    desk: Desk,
    catalog: Catalog,
    follower: Follower,
    index: History,
    writer: Callable[[Source], LetterWriter],
    selection: int,
    lettered: Lettered = unheard,
) -> Operations:
    """What acts on the dead letters that `answers` shows. `writer` makes the letters of a source; `selection`: letters
    that one replay takes at most; `lettered` hears of the letters of reports."""
    payloads, redactor = answers.payloads, answers.redactor
    writers = {source.broker.system: writer(source) for source in sources}
    return Operations(
        sources,
        desk=desk,
        queries=answers,
        follower=follower,
        index=index,
        editor=Editor(payloads, catalog, redactor),
        verdicts=lambda system: Checking(payloads, system, lambda: registry_trouble(catalog)),
        exporting=Exporting(sources, desk, payloads, redactor, micros),
        reporting=Reporting(
            sources, payloads, answers.in_sight, lambda one: writers[one.broker.system], micros, lettered
        ),
        selection=selection,
        names="aggregate_id" not in redactor.hidden_words,
        veil=lambda wish: veiled(wish, redactor),
        shown=lambda letter: redactor.message(letter.message, letter.path, letter.code),
    )
