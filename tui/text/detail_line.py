"""A detail line: its label and value, whether it folds, and where it leads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from msgspec import UNSET


@dataclass(frozen=True, slots=True)
class DetailLine:
    """A line with `label` and `value`, indented by `depth`."""

    key: str
    depth: int
    label: str
    value: str
    kind: str = "text"
    """Style of the value: `head`, `key`, `string`, `number`, `word`, `text`, `bad`, `good`, `warn`, `do`, `dim`, `hex`.
    """
    fold: str = ""
    """`open` or `closed` if the line can be folded, else empty."""
    copy: Any = UNSET
    """Text that `y` copies, if it differs from the value."""
    marked: bool = False
    """True if the failing path leads here."""
    go: str = ""
    """Target that Enter opens, such as `aggregate:order-1`."""


class FoldState:
    """Lines that were opened or closed by hand, by key. All others have their default."""

    def __init__(self) -> None:
        self._set: dict[str, bool] = {}

    def is_open(self, key: str, by_itself: bool = True) -> bool:
        return self._set.get(key, by_itself)

    def put(self, key: str, is_open: bool) -> None:
        self._set[key] = is_open


def section(
    key: str, title: str, inner: list[DetailLine], folds: FoldState, by_itself: bool = True
) -> list[DetailLine]:
    """Return a foldable title with the lines below it, or nothing if there are none."""
    if not inner:
        return []
    is_open = folds.is_open(key, by_itself)
    head = DetailLine(key, 0, title, "" if is_open else f"{len(inner)} lines", "head", "open" if is_open else "closed")
    return [head, *inner] if is_open else [head]


def word(label: str, value: str | None, go: str = "") -> DetailLine | None:
    """Return a line of a section, or None if there is no value."""
    return None if not value else DetailLine(f"about.{label}", 1, label, value, go=go)
