"""What a person changed in a body that was shown, as an edit that names the differences alone: what was masked stays as
it is. For the command line and the dashboard."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from sidecar.api.replay_models import EditRequest

HIDDEN = "[redacted]"
"""What stands for a value that may not be shown (`sidecar.redaction`)."""
_PLAIN_KEY = re.compile(r"[A-Za-z_$@][A-Za-z0-9_$@-]*")


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
    for path, value in _between("", before, after):
        if value is _REMOVED:
            found.remove.append(path)
        else:
            _no_mask(path, value)
            found.set[path] = value
    return found


_REMOVED = object()


def _between(path: str, before: Any, after: Any) -> Iterator[tuple[str, Any]]:
    if before == after and type(before) is type(after):
        return
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in dict.fromkeys((*before, *after)):
            place = f"{path}{_segment(name)}".removeprefix(".")
            if name not in after:
                yield place, _REMOVED
            elif name not in before:
                yield place, after[name]
            else:
                yield from _between(place, before[name], after[name])
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for at, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from _between(f"{path}[{at}]", one, other)
    else:
        yield path, after


def _segment(name: str) -> str:
    return f".{name}" if _PLAIN_KEY.fullmatch(name) else f"[{json.dumps(name)}]"


def _no_mask(path: str, value: Any) -> None:
    if HIDDEN in json.dumps(value, ensure_ascii=False):
        raise ValueError(
            f"{path}: {HIDDEN} would be written instead of what is hidden there. Leave what is masked where it is "
            "(and lists with it as long as they are), or write what shall stand there"
        )
