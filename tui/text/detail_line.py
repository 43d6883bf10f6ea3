"""A line of what is known of something: what it says, whether it folds, and where it leads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from msgspec import UNSET


@dataclass(frozen=True, slots=True)
class DetailLine:
    """A line: `label` and `value`, indented by `depth`."""

    key: str
    depth: int
    label: str
    value: str
    kind: str = "text"
    """What is said: `head`, `key`, `string`, `number`, `word`, `text`, `bad`, `good`, `warn`, `do`, `dim`, `hex`."""
    fold: str = ""
    """`open` or `closed` where it can be folded."""
    copy: Any = UNSET
    """What `y` copies, where it is not the value."""
    marked: bool = False
    """The error lies here."""
    go: str = ""
    """What enter leads to, such as `aggregate:order-1`."""


class FoldState:
    """What a person opened and closed, by key; what they did not touch is as it is by itself."""

    def __init__(self) -> None:
        self._set: dict[str, bool] = {}

    def is_open(self, key: str, by_itself: bool = True) -> bool:
        return self._set.get(key, by_itself)

    def put(self, key: str, is_open: bool) -> None:
        self._set[key] = is_open


def section(
    key: str, title: str, inner: list[DetailLine], folds: FoldState, by_itself: bool = True
) -> list[DetailLine]:
    """The lines below a title that folds them; nothing where there are none."""
    if not inner:
        return []
    is_open = folds.is_open(key, by_itself)
    head = DetailLine(key, 0, title, "" if is_open else f"{len(inner)} lines", "head", "open" if is_open else "closed")
    return [head, *inner] if is_open else [head]


def word(label: str, value: str | None, go: str = "") -> DetailLine | None:
    """A line of a section; None where there is no value."""
    return None if not value else DetailLine(f"about.{label}", 1, label, value, go=go)
