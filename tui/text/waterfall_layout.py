"""Layout of a flow: its causal tree, and a common time axis. Pure functions over the API's answer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import pairwise

from msgspec import UNSET

from sidecar.api import models
from tui.text.time_format import micros

MIN_PAUSE_MS = 2_000.0
"""Shortest pause that is folded."""
PAUSE_RATIO = 3.0
"""A pause is folded if it is so many times as long as all the rest of the flow."""
PAUSE_AXIS_SHARE = 0.15
"""Part of the rest of the axis that a folded pause takes."""
MIN_FURTHER_GAPS = 2
MAX_INDENT_LEVELS = 10
"""Levels that are indented. Deeper ones show their depth as a number."""


@dataclass(frozen=True, slots=True)
class WaterfallLine:
    """One event of a flow, or (`why`) a note about the event above it."""

    key: str
    event: models.FlowEventModel
    guide: str
    at: float | None
    """Milliseconds since the flow began."""
    begins: float | None
    """Milliseconds between the flow's beginning and the cause; None without a cause."""
    copies: int = 0
    """Number of duplicates folded into this event."""
    folded: bool = True
    why: str = ""
    inferred: bool = False
    missing: bool = False
    """True if the event names a cause that is not in the flow."""

    @property
    def gap(self) -> float | None:
        """Milliseconds since the cause."""
        return None if self.at is None or self.begins is None else self.at - self.begins


@dataclass(frozen=True, slots=True)
class FoldedPause:
    """A long pause in which nothing happened. The time axis shows it in a few cells, with a mark."""

    begins: float
    """Milliseconds between the flow's beginning and the last event before the pause."""
    ends: float
    shown: float
    """Milliseconds of the axis that the pause takes."""

    @property
    def duration(self) -> float:
        return self.ends - self.begins

    def place(self, time: float) -> float:
        """Return where a time is on the axis."""
        if time <= self.begins:
            return time
        if time >= self.ends:
            return time - self.duration + self.shown
        return self.begins + (time - self.begins) / self.duration * self.shown


@dataclass(frozen=True, slots=True)
class Waterfall:
    """The lines of a flow in causal order, and its duration."""

    lines: list[WaterfallLine]
    length: float
    """Milliseconds between the first event and the last."""
    pause: FoldedPause | None = None

    @property
    def axis_length(self) -> float:
        """Milliseconds that the time axis shows, with a long pause folded."""
        return self.length if self.pause is None else self.pause.place(self.length)

    def place(self, time: float) -> float:
        """Return where a time is on the axis."""
        return time if self.pause is None else self.pause.place(time)


def find_pause(times: Iterable[float]) -> FoldedPause | None:
    """Return the longest pause between events, if it would leave little of the axis to all others."""
    ordered = sorted(set(times))
    gaps = [(after - before, before, after) for before, after in pairwise(ordered)]
    if len(gaps) < MIN_FURTHER_GAPS + 1:
        return None
    longest, begins, ends = max(gaps)
    rest = ordered[-1] - ordered[0] - longest
    if longest < MIN_PAUSE_MS or rest <= 0 or longest < PAUSE_RATIO * rest:
        return None
    return FoldedPause(begins, ends, rest * PAUSE_AXIS_SHARE)


def waterfall(flow: models.FlowModel, unfolded: Collection[str] = ()) -> Waterfall:
    """Return the lines of a flow, depth first.

    Duplicates are folded into the first event with their id, unless its position is in `unfolded`.
    """
    events = [] if flow.events is UNSET else flow.events
    times = {event.position: _time(event) for event in events}
    known = [time for time in times.values() if time is not None]
    start, end = (min(known), max(known)) if known else (0, 0)
    children, copies = _children(events, times.keys(), unfolded)
    lines: list[WaterfallLine] = []
    roots = children[None]
    waiting = [(event, "", at == len(roots) - 1, 0) for at, event in enumerate(roots)][::-1]
    while waiting:  # iterative, because a flow can be a chain of ten thousand events
        event, before, last, depth = waiting.pop()
        joint = "" if depth == 0 else ("└╴" if last else "├╴")
        if event.parent_inferred and depth:
            joint = "└┄" if last else "├┄"
        inner = "" if depth == 0 else (before + ("  " if last else "│ "))[: 2 * MAX_INDENT_LEVELS]
        guide = before + joint
        if depth > MAX_INDENT_LEVELS:
            guide = f"{before[: 2 * MAX_INDENT_LEVELS]}{depth}╴"
        cause = times.get(event.parent) if event.parent is not None else None
        time = times[event.position]
        lines.append(
            WaterfallLine(
                event.position,
                event,
                guide,
                None if time is None else (time - start) / 1000,
                None if cause is None else (cause - start) / 1000,
                copies.get(event.position, 0),
                event.position not in unfolded,
                inferred=event.parent_inferred,
                missing=event.parent is None and event.causation_id is not None and depth == 0,
            )
        )
        below = children[event.position]
        if event.rejection is not None:
            under = (inner if depth <= MAX_INDENT_LEVELS else before[: 2 * MAX_INDENT_LEVELS]) + (
                "│ " if below else "  "
            )
            why = event.rejection.message
            if event.rejection.path and not why.startswith(event.rejection.path):
                why = f"{event.rejection.path}: {why}"
            lines.append(WaterfallLine(f"{event.position} why", event, under, None, None, why=why))
        waiting += [(child, inner, at == len(below) - 1, depth + 1) for at, child in enumerate(below)][::-1]
    pause = find_pause((time - start) / 1000 for time in known)
    return Waterfall(lines, (end - start) / 1000, pause)


def _children(
    events: list[models.FlowEventModel], held: Collection[str], unfolded: Collection[str]
) -> tuple[dict[str | None, list[models.FlowEventModel]], dict[str, int]]:
    """Return the children of each position (None: the roots), and how many duplicates each position has."""
    first = _firsts(events)
    hidden = {copy: of for copy, of in first.items() if of not in unfolded}
    children: dict[str | None, list[models.FlowEventModel]] = defaultdict(list)
    copies: dict[str, int] = defaultdict(int)
    for event in events:
        of = first.get(event.position)
        if of is not None:
            copies[of] += 1
            if event.position in hidden:
                continue
        parent = event.parent if event.parent in held else None
        if of is not None:
            parent = of
        children[hidden.get(parent, parent) if parent is not None else None].append(event)
    return children, copies


def _firsts(events: list[models.FlowEventModel]) -> dict[str, str]:
    """Return, for each duplicate that can be folded, the position that it is folded into."""
    first: dict[tuple[str, str], str] = {}
    for event in events:
        if event.event_id and event.status != "duplicate":
            first.setdefault((event.stream, event.event_id), event.position)
    firsts: dict[str, str] = {}
    for event in events:
        if event.status == "duplicate" and event.event_id:
            of = first.get((event.stream, event.event_id))
            if of is not None and of != event.position:
                firsts[event.position] = of
    return firsts


def _time(event: models.FlowEventModel) -> int | None:
    """Return when an event occurred. For a replayed event it is the time of the replay."""
    return micros(event.appended_at if event.replay_of else event.occurred_at or event.appended_at)


def bar(line: WaterfallLine, length: float, width: int) -> tuple[int, str, int]:
    """Return where the bar of an event begins (in cells), the stretch from its cause, and the column of its mark."""
    if line.at is None:
        return 0, "", -1
    at = _cell(line.at, length, width)
    if line.begins is None:
        return at, "", at
    begins = _cell(line.begins, length, width)
    if begins >= at:
        return at, "", at
    stretch = ("╌" if line.inferred else "━") * (at - begins - 1)
    return begins, ("╶" if line.inferred else "╺") + stretch, at


def _cell(time: float, length: float, width: int) -> int:
    return 0 if length <= 0 else max(0, min(width - 1, round(time / length * (width - 1))))


_TICK_STEPS_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 300_000, 600_000,
                  3_600_000, 6 * 3_600_000, 86_400_000, 7 * 86_400_000)  # fmt: skip


def ticks(length: float, width: int, label: int = 9) -> list[tuple[int, float]]:
    """Return the ticks of the time axis from 0 on, as column and time.

    Each label has `label` cells. The caller draws the end of the axis.
    """
    if length <= 0 or width < 2:
        return [(0, 0.0)]
    room = max(1, (width - label) // label)
    step = next((step for step in _TICK_STEPS_MS if length / step <= room), length)
    result: list[tuple[int, float]] = []
    time = 0.0
    while time < length and len(result) <= room:
        result.append((_cell(time, length, width), time))
        time += step
    return result


def shape(flow: models.FlowModel, cells: int) -> list[tuple[int, bool]]:
    """Return a small histogram of a flow: for each cell the number of events, and whether one was rejected."""
    events = [] if flow.events is UNSET else flow.events
    times = [(_time(event), event.status == "rejected") for event in events]
    known = [time for time, _ in times if time is not None]
    histogram = [(0, False)] * cells
    if not known:
        return histogram
    start, length = min(known), (max(known) - min(known)) or 1
    for time, bad in times:
        if time is not None:
            at = min(cells - 1, int((time - start) / length * cells))
            histogram[at] = (histogram[at][0] + 1, histogram[at][1] or bad)
    return histogram
