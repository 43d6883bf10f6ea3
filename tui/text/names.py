"""The one place that shortens names: what all share is dimmed or dropped, and a cut never hides where names differ."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from tui.text.sanitize import clean
from tui.theme import Palette

MAX_NAMES = 200
"""Most names of one kind that are compared. Further ones are shortened as if they were alone."""
MAX_NAME_CHARS = 300
COMMON_SHARE = 2 / 3
"""Share of the names that must begin in the same way, for that beginning to be dropped."""
_TOKEN = re.compile(r"[^.\-_/:]+|[.\-_/:]")
_ELLIPSIS = "…"


def cut_middle(text: str, cells: int) -> str:
    """Cut a text to at most `cells` cells. Its beginning and its end stay."""
    if cell_len(text) <= cells:
        return text
    if cells <= 2:
        return set_cell_size(text, max(0, cells - 1)).rstrip() + _ELLIPSIS
    tail = (cells - 1) // 2
    end = text[-tail:]
    while cell_len(end) > tail:
        end = end[1:]
    return set_cell_size(text, cells - 1 - cell_len(end)).rstrip() + _ELLIPSIS + end


@dataclass(frozen=True, slots=True)
class NameWidths:
    """Widths for names, in cells: cut but distinct, without what all share, and in full."""

    least: int
    short: int
    full: int


class NameSet:
    """Names of one kind that are shown side by side, such as all streams.

    Args:
        is_qualified: True for names such as `com.shop.OrderPlaced`, of which the last part is shown if no other name
            has the same.
    """

    def __init__(self, *, is_qualified: bool = False) -> None:
        self._is_qualified = is_qualified
        self._names: set[str] = set()
        self._sorted: list[str] | None = None
        self._prefix = ""
        self._bases: dict[str, str] = {}
        self._heads: dict[int, int | None] = {}
        self._parts: dict[str, list[tuple[int, int]]] = {}
        self._short: dict[tuple[str, int], tuple[str, str]] = {}
        self._widths = NameWidths(0, 0, 0)

    def learn(self, name: str | None) -> None:
        """Compare the others with this name too."""
        if name and len(self._names) < MAX_NAMES and (cleaned := clean(name, MAX_NAME_CHARS)) not in self._names:
            self._names.add(cleaned)
            self._sorted = None

    def shorten(self, name: str, cells: int) -> str:
        """Return a name in at most `cells` cells."""
        return "".join(self.split(name, cells))

    def cell(self, name: str, cells: int, style: str, colors: Palette) -> Text:
        """Return a shortened name, with the part that all names share dimmed."""
        common, rest = self.split(name, cells)
        return Text.assemble((common, colors.dim), (rest, style))

    @property
    def widths(self) -> NameWidths:
        """Widths that a column of these names can make use of."""
        self._compare()
        return self._widths

    @property
    def full_cells(self) -> int:
        """Width in which every name is shown in full."""
        return max(map(cell_len, self._names), default=0)

    @property
    def short_cells(self) -> int:
        """Width in which every name is shown without what all share."""
        self._compare()
        return max(map(cell_len, self._bases.values()), default=0)

    @property
    def least_cells(self) -> int:
        """Least width in which names still begin with the part in which they differ."""
        self._compare()
        longest = 0
        for base in self._bases.values():
            at = max((end for _, end in self._differences(base)), default=0)
            longest = max(longest, at + (at < len(base)))
        return min(longest, self.short_cells)

    def split(self, name: str, cells: int) -> tuple[str, str]:
        """Return the shown part of what all names share, and the rest of a name; together at most `cells` cells."""
        name = clean(name, MAX_NAME_CHARS)
        self._compare()
        known = self._short.get((name, cells))
        if known is None:
            if len(self._short) > 8 * MAX_NAMES:
                self._short.clear()
            known = self._short[name, cells] = self._split(name, max(1, cells))
        return known

    def _split(self, name: str, cells: int) -> tuple[str, str]:
        base = self._bases.get(name) or self._base_of(name)
        if cell_len(name) <= cells:
            if self._is_qualified:
                return "", base
            return name[: len(name) - len(base)], base
        if cell_len(base) <= cells:
            return "", base
        if name not in self._names or not base.isascii():
            return "", cut_middle(base, cells)
        head = self._head(cells)
        if head is not None:
            tail = cells - 1 - head
            return "", base[:head] + _ELLIPSIS + (base[-tail:] if tail else "")
        return "", self._keep_differences(base, cells)

    # --- what the names have in common

    def _compare(self) -> None:
        """Find the beginning that names share, after names were added."""
        if self._sorted is not None:
            return
        self._short.clear()
        self._heads.clear()
        self._parts.clear()
        self._prefix = "" if self._is_qualified else self._common_prefix()
        self._bases = {name: self._base_of(name) for name in self._names}
        if self._is_qualified or len(set(self._bases.values())) < len(self._bases):
            self._lengthen_equal_bases()
        self._sorted = sorted(set(self._bases.values()))
        self._widths = NameWidths(self.least_cells, self.short_cells, self.full_cells)

    def _common_prefix(self) -> str:
        """Return the beginning, up to a separator, that most names share."""
        names, prefix = self._names, ""
        enough = max(2, COMMON_SHARE * len(names))
        while True:
            begun = [name for name in names if name.startswith(prefix)]
            counts: Counter[str] = Counter()
            for name in begun:
                match = re.match(r"[^.\-_/:]+[.\-_/:]+", name[len(prefix) :])
                if match is not None and match.end() < len(name) - len(prefix):
                    counts[match[0]] += 1
            longer, number = counts.most_common(1)[0] if counts else ("", 0)
            if number < enough:
                break
            prefix += longer
        # `department-` of `department-07` belongs to the part that differs
        return prefix[: prefix.rfind(".") + 1] if "." in prefix else prefix[: prefix.rfind("/") + 1]

    def _base_of(self, name: str) -> str:
        if self._is_qualified:
            return name.rpartition(".")[2] or name
        return name[len(self._prefix) :] if self._prefix and name.startswith(self._prefix) else name

    def _lengthen_equal_bases(self) -> None:
        """Give names whose shown parts are equal more of their beginnings."""
        parts = dict.fromkeys(self._names, 1)
        for _ in range(8):
            counts = Counter(self._bases.values())
            equal = [name for name, base in self._bases.items() if counts[base] > 1 and base != name]
            if not equal:
                return
            for name in equal:
                parts[name] += 1
                self._bases[name] = ".".join(name.split(".")[-parts[name] :]) if self._is_qualified else name

    # --- cuts

    def _head(self, cells: int) -> int | None:
        """Return how many characters of each name to keep at its beginning, so that no two look alike, if there are.

        All names of a list are cut at the same place, which is easier to read. The cut never is within a part in
        which names differ.
        """
        if cells not in self._heads:
            bases = [base for base in self._sorted or [] if len(base) > cells]
            wanted = round((cells - 1) * 0.6)
            heads = sorted(range(1, cells), key=lambda head: (abs(head - wanted), head))
            self._heads[cells] = next((head for head in heads if self._is_distinct(bases, head, cells)), None)
        return self._heads[cells]

    def _is_distinct(self, bases: list[str], head: int, cells: int) -> bool:
        tail = cells - 1 - head
        if len({(base[:head], base[len(base) - tail :]) for base in bases}) < len(bases):
            return False
        return all(end <= head or start >= len(base) - tail for base in bases for start, end in self._differences(base))

    def _differences(self, base: str) -> list[tuple[int, int]]:
        """Return where the parts of a name begin and end in which it differs from others."""
        known = self._parts.get(base)
        if known is None:
            branches = self._branches(base)
            known = self._parts[base] = [
                (token.start(), token.end())
                for token in _TOKEN.finditer(base)
                if any(token.start() <= at < token.end() for at in branches)
            ]
        return known

    def _branches(self, base: str) -> set[int]:
        """Return the indexes at which a name begins to differ from others."""
        bases = self._sorted or []
        at = bisect_left(bases, base)
        branches: set[int] = set()
        for others in (bases[at + 1 :], reversed(bases[:at])):
            shared, before = len(base), base
            for other in others:
                shared = min(shared, _shared_length(before, other))
                before = other
                branches.add(shared)
                if shared == 0:
                    break
        return branches

    def _keep_differences(self, base: str, cells: int) -> str:
        """Keep the parts in which a name differs from others, then as much of its beginning as fits."""
        text, before = "", 0
        for start, end in self._differences(base):
            text += (_ELLIPSIS if start > before else "") + base[start:end]
            before = end
        text += _ELLIPSIS if before < len(base) else ""
        if len(text) > cells:
            return cut_middle(base, cells)
        return base[: cells - len(text)] + text if text.startswith(_ELLIPSIS) else text


def _shared_length(text: str, other: str) -> int:
    """Return how many characters two texts share at their beginnings."""
    length = min(len(text), len(other))
    for at in range(length):
        if text[at] != other[at]:
            return at
    return length


class NamedLetter(Protocol):
    """Something with the names of a dead letter or a cause."""

    @property
    def stream(self) -> str: ...

    @property
    def type(self) -> str | None: ...


class NamedEvent(NamedLetter, Protocol):
    """Something with the names of an event."""

    @property
    def producer(self) -> str | None: ...


NO_TYPE = "(no type)"


@dataclass(frozen=True, slots=True)
class NameBook:
    """The names that the dashboard has seen, by kind. A name is shortened in the same way on every screen."""

    streams: NameSet = field(default_factory=NameSet)
    types: NameSet = field(default_factory=lambda: NameSet(is_qualified=True))
    producers: NameSet = field(default_factory=NameSet)
    groups: NameSet = field(default_factory=NameSet)
    subjects: NameSet = field(default_factory=NameSet)
    """Subjects of schemas."""
    findings: NameSet = field(default_factory=NameSet)
    """Streams, types and groups that lint findings are about."""

    def learn_events(self, events: Iterable[NamedEvent]) -> None:
        for event in events:
            self.streams.learn(event.stream)
            self.types.learn(event.type)
            self.producers.learn(event.producer)

    def learn_letters(self, letters: Iterable[NamedLetter]) -> None:
        for letter in letters:
            self.streams.learn(letter.stream)
            self.types.learn(letter.type)

    def needs(self, **columns: NameSet) -> dict[str, NameWidths]:
        """Return the widths of names by column."""
        return {column: names.widths for column, names in columns.items()}
