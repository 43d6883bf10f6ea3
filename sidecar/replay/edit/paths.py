"""Functions that set and remove values at paths of a decoded body."""

from __future__ import annotations

from typing import Any

from sidecar.domain.json_path import InvalidPath, JsonPath, quote
from sidecar.replay.models import UnsendableLetter

Path = tuple[str | int, ...]


def parse_edit_path(text: str) -> Path:
    """Parse the path of an edit. Raises UnsendableLetter."""
    try:
        steps = JsonPath.parse(text).steps
    except InvalidPath as error:
        raise UnsendableLetter(str(error)) from None
    if None in steps:
        raise UnsendableLetter(f"{text[:100]!r}: expected the path of one value, without [*]")
    return tuple(step for step in steps if step is not None)


def set_value(body: Any, path: Path, value: Any) -> Any:
    """Return a body with a value set at a path.

    Objects accept new names, lists no new items. The original body is not changed; parts outside the path are shared
    with it. Raises UnsendableLetter.
    """
    body, parent, last = _open_path(body, path)
    if not (isinstance(parent, dict) and isinstance(last, str)) and not _has(parent, last):
        raise UnsendableLetter(describe_missing_step(parent, last))
    parent[last] = value
    return body


def remove_value(body: Any, path: Path) -> Any:
    """Return a body without the value at a path. Raises UnsendableLetter if there is none."""
    body, parent, last = _open_path(body, path)
    if not _has(parent, last):
        raise UnsendableLetter(describe_missing_step(parent, last))
    del parent[last]
    return body


def _open_path(body: Any, path: Path) -> tuple[Any, Any, str | int]:
    """Copy the levels on the way to a path. Returns the body, the parent of the path's end, and the last step."""
    root = parent = _copy_level(body)
    for step in path[:-1]:
        if not _has(parent, step):
            raise UnsendableLetter(describe_missing_step(parent, step))
        parent[step] = _copy_level(parent[step])
        parent = parent[step]
    return root, parent, path[-1]


def _copy_level(body: Any) -> Any:
    return dict(body) if isinstance(body, dict) else list(body) if isinstance(body, list) else body


def _has(parent: Any, step: str | int) -> bool:
    if isinstance(parent, list):
        return isinstance(step, int) and step < len(parent)
    return isinstance(parent, dict) and step in parent


def describe_missing_step(parent: Any, step: str | int) -> str:
    """Explain that a value has no such step."""
    if isinstance(parent, dict):
        names = ", ".join(quote(str(name))[1:-1] for name in list(parent)[:10])
        return f"the body has no {step!r} there; it has {names or 'nothing'}"
    if isinstance(parent, list):
        return f"the list has {len(parent)} items, so there is no {step}"
    return f"there is no object or list that could have {step!r}"
