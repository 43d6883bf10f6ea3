"""Changes that an edit made, in a form that may be shown and stored: hidden values stay hidden."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from sidecar.dead_letters.ledger_entries import PathChange
from sidecar.domain.json_path import print_steps
from sidecar.domain.json_safe import encode_json, to_json
from sidecar.domain.redaction import HIDDEN

MAX_CHANGES = 50
"""Changes to store for one letter."""
MAX_VALUE_CHARACTERS = 300
"""Characters of a value to store."""


def list_changes(before: Any, after: Any, shown_before: Any, shown_after: Any) -> tuple[PathChange, ...]:
    """List the changes from one body to another. `shown_…`: the same bodies, redacted."""
    changes: list[PathChange] = []
    for change in _compare("", to_json(before), to_json(after), to_json(shown_before), to_json(shown_after)):
        if len(changes) == MAX_CHANGES:
            changes[-1] = PathChange("…", what="changed")
            break
        changes.append(change)
    return tuple(changes)


def _compare(path: str, before: Any, after: Any, old: Any, new: Any) -> Iterator[PathChange]:
    """`old` and `new` are what may be seen of `before` and `after`."""
    if before == after and encode_json(before) == encode_json(after):  # 1 == True, for Python
        return
    if HIDDEN in (old, new):
        yield PathChange(path, HIDDEN, HIDDEN)
        return
    if all(isinstance(old_item, Mapping) for old_item in (before, after, old, new)):
        for name in dict.fromkeys((*before, *after)):
            place = f"{path}{print_steps((name,), inner=True)}".removeprefix(".")
            if name not in after:
                yield PathChange(place, _shorten(old.get(name)), None, "removed")
            elif name not in before:
                yield PathChange(place, None, _shorten(new.get(name)), "added")
            else:
                yield from _compare(place, before[name], after[name], old.get(name), new.get(name))
        return
    if all(isinstance(old_item, list) for old_item in (before, after, old, new)) and len(before) == len(after):
        for n, (old_item, other) in enumerate(zip(before, after, strict=True)):
            yield from _compare(f"{path}[{n}]", old_item, other, old[n], new[n])
        return
    yield PathChange(path, _shorten(old), _shorten(new))


def _shorten(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= MAX_VALUE_CHARACTERS else f"{value[:MAX_VALUE_CHARACTERS]}…"
    if isinstance(value, msgspec.Raw):  # a number with many digits
        text = bytes(value).decode()
        return value if len(text) <= MAX_VALUE_CHARACTERS else f"{text[:MAX_VALUE_CHARACTERS]}…"
    if isinstance(value, Mapping | list):
        text = encode_json(value).decode()
        return value if len(text) <= MAX_VALUE_CHARACTERS else f"{text[:MAX_VALUE_CHARACTERS]}…"
    return value
