"""The parts of the way back, put together over what a sidecar has."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from msgspec import UNSET
from msgspec.structs import replace

from sidecar.answers import Answers
from sidecar.dead_letters.desk import Desk
from sidecar.dead_letters.letter import Lettered, LetterWriter, unheard
from sidecar.decoding.catalog import Catalog
from sidecar.delivery import Follower
from sidecar.redaction import HIDDEN, Redactor
from sidecar.replaying.checking import Checking, registry_trouble
from sidecar.replaying.deciding import Source
from sidecar.replaying.editing import Editor
from sidecar.replaying.exporting import Exporting
from sidecar.replaying.operations import Operations
from sidecar.replaying.planning import History
from sidecar.replaying.reporting import Reporting
from sidecar.replaying.wishes import Edit, Wish


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
