"""What a person changed in a body that was shown, as an edit that names the differences alone: what was masked stays as
it is. For the command line and the dashboard."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from sidecar.api.models import ChangeModel
from sidecar.api.models.replays import EditRequest
from sidecar.domain.json_path import print_steps

HIDDEN = "[redacted]"
"""What stands for a value that may not be shown (`sidecar.domain.redaction`)."""


def difference(before: Any, after: Any) -> EditRequest | None:
    """The edit that makes one body of the other, naming what differs only: what was shown masked stays as it is. None:
    nothing differs. Raises ValueError where a mask would be written."""
    if before == after and type(before) is type(after):
        return None
    whole = not (isinstance(before, Mapping) and isinstance(after, Mapping)) or set(before) == {"base64"}
    if whole:
        _no_mask("the body", after)
        return EditRequest(body=after)
    found = EditRequest()
    for change in changes(before, after):
        if change.what == "removed":
            found.remove.append(change.path)
        else:
            _no_mask(change.path, change.after)
            found.set[change.path] = change.after
    return found


def changes(before: Any, after: Any, path: str = "") -> Iterator[ChangeModel]:
    """What differs between two bodies as they are shown, place by place, in the order of the first. What is masked in
    both differs in nothing that may be seen. Lists of other lengths differ as wholes."""
    if before == after and type(before) is type(after):
        return
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in dict.fromkeys((*before, *after)):
            place = f"{path}{print_steps((name,), inner=True)}".removeprefix(".")
            if name not in after:
                yield ChangeModel(path=place, before=before[name], after=None, what="removed")
            elif name not in before:
                yield ChangeModel(path=place, before=None, after=after[name], what="added")
            else:
                yield from changes(before[name], after[name], place)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for at, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from changes(one, other, f"{path}[{at}]")
    else:
        yield ChangeModel(path=path, before=before, after=after, what="changed")


def _no_mask(path: str, value: Any) -> None:
    if HIDDEN in json.dumps(value, ensure_ascii=False):
        raise ValueError(
            f"{path}: {HIDDEN} would be written instead of what is hidden there. Leave what is masked where it is "
            "(and lists with it as long as they are), or write what shall stand there"
        )
