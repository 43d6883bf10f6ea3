"""The order in which an aggregate's events are applied, and the events that are not.

Events are ordered by the aggregate's own version or sequence number where they carry one. Else the order of appending
counts within a partition, and across partitions the time of occurrence; a cause comes before its effect. What is odd is
noted, and never applied in silence: gaps, reordered events, duplicates, rejected events, bodies that cannot be read.
The order of the input makes no difference.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence

from msgspec import Struct

from sidecar.api.services.aggregates.sequence import Numbers, SequenceChoice, SequenceReader
from sidecar.domain.correlation.event_order import Moment, moment
from sidecar.domain.derived_ids import cause_of
from sidecar.domain.model import Event
from sidecar.domain.ports.index import Node
from sidecar.domain.position import Partition, Position

MAX_NOTES = 200
_FIRST_NUMBERS = (0, 1)
"""Numbers with which an aggregate's own count may begin."""


class AggregateEvent(Struct, frozen=True, gc=False):
    """An event of an aggregate, with the sequence numbers that its payload carries."""

    node: Node
    numbers: Numbers = ()
    unread: str | None = None
    """The reason why it has no body to apply, such as a payload that the broker no longer holds."""

    @property
    def event(self) -> Event:
        return self.node.event


class ReplayNote(Struct, frozen=True):
    """A remark about a rebuilt state, such as a gap, a reordered event or an unreadable body."""

    kind: str
    """gap | reordered | conflict | duplicate | rejected | unread | omitted."""
    position: Position | None
    message: str


class ReplayOrder(Struct, frozen=True):
    """The events of an aggregate in the order of their application."""

    events: list[AggregateEvent]
    """All of them, also those that are not applied."""
    skipped: frozenset[Position]
    """Events that are not applied."""
    notes: list[ReplayNote]
    sequence: SequenceChoice | None
    whole: bool
    """The aggregate's own numbers show that no event is missing, from the first on."""

    def iterate_applied(self) -> Iterator[AggregateEvent]:
        """Iterate over the events that are applied, in order."""
        return (event for event in self.events if event.event.position not in self.skipped)


def order_events(events: Sequence[AggregateEvent], reader: SequenceReader) -> ReplayOrder:
    """Order the events of an aggregate and find the ones that cannot be applied."""
    appended = list(_merge_logs(events))
    skipped, notes = _find_skipped(appended)
    counted = [event for event in appended if event.event.position not in skipped]
    choice = reader.choose([event.numbers for event in counted])
    if choice is None:
        notes += _note_time_order(counted)
        return _answer(appended, skipped, notes, None, whole=False)
    ordered = _order_by_sequence(appended, skipped, choice.index)
    counted = [event for event in ordered if event.event.position not in skipped]
    notes += _note_sequence(counted, choice)
    numbers = [event.numbers[choice.index] or 0 for event in counted]
    unread = any(note.kind == "unread" for note in notes)
    contiguous = numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    whole = choice.counts and not unread and contiguous and numbers[0] in _FIRST_NUMBERS
    return _answer(ordered, skipped, notes, choice, whole=whole)


def _answer(
    events: list[AggregateEvent],
    skipped: frozenset[Position],
    notes: list[ReplayNote],
    choice: SequenceChoice | None,
    *,
    whole: bool,
) -> ReplayOrder:
    rank = {event.event.position: number for number, event in enumerate(events)}
    notes.sort(key=lambda note: -1 if note.position is None else rank[note.position])
    if len(notes) > MAX_NOTES:
        omitted = len(notes) - MAX_NOTES
        notes = [*notes[:MAX_NOTES], ReplayNote("omitted", None, f"{omitted} more notes are not listed")]
    return ReplayOrder(events, skipped, notes, choice, whole)


def _merge_logs(events: Sequence[AggregateEvent]) -> Iterator[AggregateEvent]:
    """Yield events in order of appending within each partition, and of occurrence across partitions.

    An event does not come before the one that it names as its cause, even if its time is earlier.
    """
    logs: dict[Partition, list[AggregateEvent]] = {}
    waiting = {event.event.event_id for event in events}
    for event in events:
        logs.setdefault(event.event.position.log, []).append(event)
    for log in logs.values():
        log.sort(key=lambda event: event.event.position, reverse=True)
    heads: list[tuple[Moment, Partition]] = [(moment(log[-1].event), name) for name, log in logs.items()]
    heapq.heapify(heads)
    blocked: list[tuple[Moment, Partition]] = []
    while heads or blocked:
        if not heads:  # a loop of causes, or a cause behind its effect in one partition: the earliest comes first
            head = blocked.pop(blocked.index(min(blocked)))
        else:
            head = heapq.heappop(heads)
            cause = cause_of(logs[head[1]][-1].event)
            if cause is not None and cause in waiting:
                blocked.append(head)
                continue
        name = head[1]
        event = logs[name].pop()
        yield event
        if logs[name]:
            heapq.heappush(heads, (moment(logs[name][-1].event), name))
        if event.event.event_id in waiting:
            waiting.discard(event.event.event_id)
            for each in [each for each in blocked if cause_of(logs[each[1]][-1].event) == event.event.event_id]:
                blocked.remove(each)
                heapq.heappush(heads, each)


def _find_skipped(events: Sequence[AggregateEvent]) -> tuple[frozenset[Position], list[ReplayNote]]:
    skipped: set[Position] = set()
    notes: list[ReplayNote] = []
    first: dict[str, Event] = {}
    for each in events:
        event, note = each.event, None
        if event.rejection is not None:
            note = ReplayNote(
                "rejected", event.position, f"rejected ({event.rejection.code}), so it does not change the state"
            )
        elif event.event_id is not None and event.event_id in first:
            note = _note_repetition(event, first[event.event_id])
        elif each.unread is not None:
            note = ReplayNote("unread", event.position, f"not applied: {each.unread}")
        elif event.event_id is not None:
            first[event.event_id] = event
        if note is not None:
            skipped.add(event.position)
            notes.append(note)
    return frozenset(skipped), notes


def _note_repetition(event: Event, first: Event) -> ReplayNote:
    kind = "a replay" if event.replay_of is not None else "a duplicate"
    content = "" if event.digest == first.digest else ", with different content"
    message = f"{kind} of the event at {first.position}{content}: not applied again"
    return ReplayNote("duplicate", event.position, message)


def _note_time_order(events: Sequence[AggregateEvent]) -> Iterator[ReplayNote]:
    """Note events that occurred before the one in front of them in their partition."""
    latest: dict[Partition, Event] = {}
    for each in events:
        event = each.event
        before = latest.get(event.position.log)
        if before is not None and moment(event)[0] < moment(before)[0]:
            yield ReplayNote(
                "reordered",
                event.position,
                f"occurred before the event at {before.position}, which was appended first: applied in the order of "
                "appending",
            )
        else:
            latest[event.position.log] = event


def _order_by_sequence(
    events: Sequence[AggregateEvent], skipped: frozenset[Position], index: int
) -> list[AggregateEvent]:
    """Order by number. Events that are not applied and have no number follow the event that was in front of them."""
    keys: list[tuple[tuple[int, int], AggregateEvent]] = []
    latest = -1
    for rank, event in enumerate(events):
        number = event.numbers[index] if event.numbers else None
        if number is not None:
            latest = number
        keys.append(((latest if number is None else number, rank), event))
    keys.sort(key=lambda key: key[0])
    return [event for _, event in keys]


def _note_sequence(events: Sequence[AggregateEvent], choice: SequenceChoice) -> Iterator[ReplayNote]:
    """Note numbers that are missing or that two events have, and events that were appended in another order."""
    before: AggregateEvent | None = None
    last_offsets: dict[Partition, Position] = {}
    for each in events:
        position, number = each.event.position, _number(each, choice)
        previous = -1 if before is None else _number(before, choice)
        if before is None:
            if choice.counts and number not in _FIRST_NUMBERS:
                message = f"the first event is number {number} ({choice.location}): earlier ones are missing"
                yield ReplayNote("gap", position, message)
        elif number == previous:
            yield ReplayNote(
                "conflict", position, f"has the same number {number} ({choice.location}) as {before.event.position}"
            )
        elif choice.counts and number > previous + 1:
            first, end = previous + 1, number - 1
            missing = f"number {first} is" if first == end else f"numbers {first} to {end} are"
            yield ReplayNote("gap", position, f"{missing} missing before it ({choice.location})")
        last = last_offsets.get(position.log)
        if last is not None and position < last:
            yield ReplayNote(
                "reordered", position, f"number {number} was appended before {last}: applied by its number"
            )
        else:
            last_offsets[position.log] = position
        before = each


def _number(event: AggregateEvent, choice: SequenceChoice) -> int:
    number = event.numbers[choice.index]
    assert number is not None, "a location is chosen only if every event has a number there"
    return number
