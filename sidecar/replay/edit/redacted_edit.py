"""Redaction of edits, which are shown and stored."""

from __future__ import annotations

from msgspec import UNSET

from sidecar.domain.redaction import HIDDEN, Redactor
from sidecar.replay.models import BodyEdit


def redact_edit(edit: BodyEdit, redactor: Redactor) -> BodyEdit:
    """Return the edit without hidden values, and without the names below a hidden path."""
    if not redactor.active or not edit:
        return edit
    values = {
        redactor.path(path) or path: HIDDEN if redactor.touches(path) else value for path, value in edit.set.items()
    }
    removed = tuple(redactor.path(path) or path for path in edit.remove)
    # The body may be that of a flat Redis entry, whose fields are headers as well.
    body = edit.body if edit.body is UNSET else redactor.body(redactor.body(edit.body), flat=True)
    return BodyEdit(set=values, remove=removed, body=body)
