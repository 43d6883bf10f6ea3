"""Difference between two displayed bodies, as an edit that names only the changed paths.

Masked values stay unchanged. The command line and the dashboard use it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from sidecar.api.models import ChangeModel
from sidecar.api.models.replays import EditRequest
from sidecar.domain.json_diff import is_same_json, list_differences

HIDDEN = "[redacted]"
"""Mask of a redacted value (`sidecar.domain.redaction`)."""


def difference(before: Any, after: Any) -> EditRequest | None:
    """Return the edit that turns one body into the other; None if they are equal.

    Masked values stay unchanged. Raises ValueError if the edit would write a mask.
    """
    if is_same_json(before, after):
        return None
    is_whole = not (isinstance(before, Mapping) and isinstance(after, Mapping)) or set(before) == {"base64"}
    if is_whole:
        _no_mask("the body", after)
        return EditRequest(body=after)
    edit = EditRequest()
    for change in changes(before, after):
        if change.what == "removed":
            edit.remove.append(change.path)
        else:
            _no_mask(change.path, change.after)
            edit.set[change.path] = change.after
    return edit


def changes(before: Any, after: Any) -> Iterator[ChangeModel]:
    """Yield the differences between two displayed bodies, in the order of the first body.

    Values that are masked in both are equal. Lists of different lengths are one difference.
    """
    for change in list_differences(before, after):
        yield ChangeModel(path=change.path, before=change.before, after=change.after, what=change.what)


def _no_mask(path: str, value: Any) -> None:
    if HIDDEN in json.dumps(value, ensure_ascii=False):
        raise ValueError(
            f"{path}: {HIDDEN} would replace the hidden value. Leave masked values unchanged, with the "
            "lists that contain them at their length, or write a new value"
        )
