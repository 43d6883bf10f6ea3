"""Differences between two JSON values, and the origin of each of their parts.

Values are compared by their JSON text: `1`, `1.0` and `true` differ, and so do two numbers with different digits. The
order of an object's fields does not count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from sidecar.domain.json_path import print_steps
from sidecar.domain.json_safe import ExactFloat

MAX_COMPARED_DEPTH = 160
"""Levels to compare field by field. Deeper values are compared as a whole."""

Origins = str | dict[str, Any] | list[Any]
"""Origins of a value: one text for the whole value, or the origins of its fields or items."""


class JsonChange(Struct, frozen=True):
    """One difference between two values."""

    path: str
    """Path as `sidecar.domain.json_path` prints it; empty for the whole value."""
    before: Any
    after: Any
    what: str
    """added | removed | changed."""


def is_same_json(before: Any, after: Any) -> bool:
    """Check whether two values are the same JSON."""
    if before is after:
        return True
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        return before.keys() == after.keys() and all(is_same_json(item, after[name]) for name, item in before.items())
    if isinstance(before, list | tuple) and isinstance(after, list | tuple):
        return len(before) == len(after) and all(map(is_same_json, before, after))
    if type(before) is not type(after):
        return False
    if isinstance(before, ExactFloat) and isinstance(after, ExactFloat):
        return before.digits == after.digits
    return bool(before == after)


def list_differences(before: Any, after: Any, path: str = "", depth: int = 0) -> Iterator[JsonChange]:
    """Yield the differences between two values, in the order of the first value.

    Lists of different lengths are one difference.
    """
    if before is after:
        return
    if depth < MAX_COMPARED_DEPTH and isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in dict.fromkeys((*before, *after)):
            if name in before and name in after and before[name] is after[name]:
                continue
            place = f"{path}{print_steps((name,), inner=True)}".removeprefix(".")
            if name not in after:
                yield JsonChange(place, before[name], None, "removed")
            elif name not in before:
                yield JsonChange(place, None, after[name], "added")
            else:
                yield from list_differences(before[name], after[name], place, depth + 1)
    elif (
        depth < MAX_COMPARED_DEPTH
        and isinstance(before, list)
        and isinstance(after, list)
        and len(before) == len(after)
    ):
        for index, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from list_differences(old, new, f"{path}[{index}]", depth + 1)
    elif not is_same_json(before, after):
        yield JsonChange(path, before, after, "changed")


def trace_origins(before: Any, after: Any, origins: Origins, cause: str) -> Origins:
    """Return the origins of a value after a change.

    Args:
        before: The value before the change.
        after: The value after it.
        origins: The origins of `before`.
        cause: The origin of every changed part.
    """
    if before is after:
        return origins
    parts: dict[str, Any] | list[Any]
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        known = origins if isinstance(origins, dict) else dict.fromkeys(before, origins)
        parts = {
            name: trace_origins(before[name], item, known[name], cause) if name in before else cause
            for name, item in after.items()
        }
        unchanged = before.keys() == after.keys() and all(parts[name] is known[name] for name in before)
        return origins if unchanged else parts
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        items = origins if isinstance(origins, list) else [origins] * len(before)
        parts = [trace_origins(old, new, item, cause) for old, new, item in zip(before, after, items, strict=True)]
        return origins if all(part is item for part, item in zip(parts, items, strict=True)) else parts
    return origins if is_same_json(before, after) else cause


def flatten_origins(origins: Origins, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield path and origin of each part with a single origin. Such a part is not divided further."""
    if isinstance(origins, str):
        yield path, origins
        return
    parts: list[tuple[str, Origins]] = (
        [(f"{path}{print_steps((name,), inner=True)}".removeprefix("."), item) for name, item in origins.items()]
        if isinstance(origins, dict)
        else [(f"{path}[{index}]", item) for index, item in enumerate(origins)]
    )
    for place, item in parts:
        yield from flatten_origins(item, place)
