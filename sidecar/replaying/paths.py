"""Places in a body, written as rejections write them: `data.items[2].qty`, `data["two words"]`."""

from __future__ import annotations

import copy
import re
from typing import Any

import msgspec

from sidecar.replaying.wishes import Unsendable

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
        steps.append(int(index) if index is not None else msgspec.json.decode(quoted) if quoted is not None else name)
        at = match.end()
    if not steps or at < len(text):
        raise Unsendable(f"{text[:100]!r}: expected a path such as data.items[2].qty, found something else at {at}")
    return tuple(steps)


def with_value(body: Any, text: str, value: Any) -> Any:
    """The body with a value at a path; objects take new names, lists no new places. Raises Unsendable."""
    body = copy.deepcopy(body)
    *before, last = parse(text)
    parent = _at(body, tuple(before), text)
    if not (isinstance(parent, dict) and isinstance(last, str)) and not _has(parent, last):
        raise Unsendable(f"{text}: {_missing(parent, last)}")
    parent[last] = value
    return body


def without(body: Any, text: str) -> Any:
    """The body without what is at a path. Raises Unsendable where nothing is."""
    body = copy.deepcopy(body)
    *before, last = parse(text)
    parent = _at(body, tuple(before), text)
    if not _has(parent, last):
        raise Unsendable(f"{text}: {_missing(parent, last)}")
    del parent[last]
    return body


def _has(parent: Any, step: str | int) -> bool:
    if isinstance(parent, list):
        return isinstance(step, int) and step < len(parent)
    return isinstance(parent, dict) and step in parent


def _at(body: Any, path: Path, text: str) -> Any:
    for step in path:
        try:
            body = body[step]
        except (KeyError, IndexError, TypeError):
            raise Unsendable(f"{text}: {_missing(body, step)}") from None
    return body


def _missing(parent: Any, step: str | int) -> str:
    if isinstance(parent, dict):
        return f"the body has no {step!r} there; it has {', '.join(map(str, list(parent)[:10])) or 'nothing'}"
    if isinstance(parent, list):
        return f"the list has {len(parent)} items, so there is no {step}"
    return f"there is no object or list that could have {step!r}"
