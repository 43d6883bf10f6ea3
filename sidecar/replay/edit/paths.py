"""Places in a body, written as rejections write them: `data.items[2].qty`, `data["two words"]`."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from sidecar.domain.json_path import quoted
from sidecar.replay.models import UnsendableLetter

Path = tuple[str | int, ...]
_STEP = re.compile(r"""(?:^|\.)([^.\[\]"]+)|\[([0-9]{1,9})\]|\[("(?:[^"\\]|\\.)*")\]""")
LONGEST = 1_000


def parse(text: str) -> Path:
    """Raises Unsendable where it is no path."""
    steps: list[str | int] = []
    at = 0
    while at < len(text) <= LONGEST and text[0] != ".":
        match = _STEP.match(text, at)
        if match is None:
            break
        name, index, quoted = match.groups()
        try:
            steps.append(int(index) if index is not None else msgspec.json.decode(quoted) if quoted else name)
        except msgspec.DecodeError:
            break
        at = match.end()
    if not steps or at < len(text):
        raise UnsendableLetter(
            f"{text[:100]!r}: expected a path such as data.items[2].qty, found something else at {at}"
        )
    return tuple(steps)


def with_value(body: Any, path: Path, value: Any) -> Any:
    """The body with a value at a path; objects take new names, lists no new places. What is not on the way is shared
    with the body before, which stays as it was. Raises Unsendable."""
    body, parent, last = _opened(body, path)
    if not (isinstance(parent, dict) and isinstance(last, str)) and not _has(parent, last):
        raise UnsendableLetter(missing(parent, last))
    parent[last] = value
    return body


def without(body: Any, path: Path) -> Any:
    """The body without what is at a path. Raises Unsendable where nothing is."""
    body, parent, last = _opened(body, path)
    if not _has(parent, last):
        raise UnsendableLetter(missing(parent, last))
    del parent[last]
    return body


def _opened(body: Any, path: Path) -> tuple[Any, Any, str | int]:
    """The body with everything on the way to a path copied, what holds the path's end, and the last step."""
    root = parent = _copied(body)
    for step in path[:-1]:
        if not _has(parent, step):
            raise UnsendableLetter(missing(parent, step))
        parent[step] = _copied(parent[step])
        parent = parent[step]
    return root, parent, path[-1]


def _copied(body: Any) -> Any:
    return dict(body) if isinstance(body, dict) else list(body) if isinstance(body, list) else body


def _has(parent: Any, step: str | int) -> bool:
    if isinstance(parent, list):
        return isinstance(step, int) and step < len(parent)
    return isinstance(parent, dict) and step in parent


def missing(parent: Any, step: str | int) -> str:
    """Why there is no such step."""
    if isinstance(parent, dict):
        names = ", ".join(quoted(str(name))[1:-1] for name in list(parent)[:10])
        return f"the body has no {step!r} there; it has {names or 'nothing'}"
    if isinstance(parent, list):
        return f"the list has {len(parent)} items, so there is no {step}"
    return f"there is no object or list that could have {step!r}"
