"""The simplest implementation of the rules of correlation, to compare with. It is slow."""

from __future__ import annotations

from hashlib import blake2b

from sidecar.domain.correlation.duplicates import MAX_REPLAY_STEPS
from sidecar.domain.model import Event
from sidecar.domain.position import Position


def when(event: Event) -> tuple[int, Position]:
    return (event.appended_at * 1000 if event.occurred_at is None else event.occurred_at, event.position)


def came(event: Event) -> tuple[int, Position]:
    return (event.appended_at, event.position)


def hop_root(event: Event) -> str:
    return event.hop_of or str(event.position)


def hashed(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=16).digest(), "big")


def cause(event: Event) -> str | None:
    return event.causation_id if event.causation_id != event.event_id else None


def stream(event: Event) -> tuple[str, str]:
    return event.position.system, event.position.stream


class Naive:
    def __init__(self, events: list[Event], join: frozenset[str], max_flow: int) -> None:
        self.events, self.join, self.max_flow = events, join, max_flow

    def first(self, event_id: str | None) -> Event | None:
        return min((one for one in self.events if event_id and one.event_id == event_id), key=came, default=None)

    # --- trace ids

    def trace_id(self, event: Event) -> int:
        if event.trace_id is not None:
            return event.trace_id
        if event.correlation_id is not None:
            return hashed(event.correlation_id)
        if cause(event) is not None:
            return hashed(self.root(event))
        return hashed(event.event_id or str(event.position))

    def root(self, event: Event) -> str:
        walked: list[Event] = []
        name = cause(event)
        while (found := self.first(name)) is not None:
            if found in walked:
                return min(walked[walked.index(found) :], key=when).event_id
            walked.append(found)
            if cause(found) is None:
                return found.event_id
            name = cause(found)
        return name

    # --- flows

    def keys(self, event: Event) -> set[str]:
        keys = set()
        if "trace" in self.join:
            if event.trace_id is not None:
                keys.add(f"trace:{event.trace_id:032x}")
            elif event.correlation_id is None and cause(event) is None and event.event_id is not None:
                keys.add(f"trace:{hashed(event.event_id):032x}")
        if "correlation" in self.join and event.correlation_id is not None:
            keys.add(f"correlation:{event.correlation_id}")
        if "causation" in self.join:
            if event.causation_id is not None:
                keys.add(f"causation:{event.causation_id}")
            if any(event.event_id is not None and other.causation_id == event.event_id for other in self.events):
                keys.add(f"causation:{event.event_id}")
        return keys

    def broken(self) -> set[str]:
        carried = [key for event in self.events for key in self.keys(event)]
        return {key for key in carried if carried.count(key) > self.max_flow}

    def flow_of(self, event: Event) -> list[Event]:
        broken = self.broken()
        flow = [event]
        for member in flow:
            for other in self.events:
                if other not in flow and (self.keys(member) & self.keys(other)) - broken:
                    flow.append(other)
        return sorted(flow, key=when)

    def broken_keys(self, flow: list[Event]) -> list[str]:
        return sorted({key for event in flow for key in self.keys(event)} & self.broken())

    # --- duplicates

    def record(self, event: Event) -> str | None:
        """Return the position of the record that an event is finally a replay or a hop of; None if unknown."""
        at = str(event.position)
        for _ in range(MAX_REPLAY_STEPS):
            here = [other for other in self.events if str(other.position) == at and other.event_id == event.event_id]
            if not here or (here[0].replay_of is None and here[0].hop_of is None):
                break
            if here[0].replay_of is not None and not here[0].replay_of.startswith("group@"):
                return None
            at = (here[0].replay_of or here[0].hop_of).removeprefix("group@")
        return at

    def original(self, event: Event) -> Event | None:
        if event.event_id is None:
            return None
        same = [other for other in self.events if other.event_id == event.event_id]
        own = [other for other in same if hop_root(other) == hop_root(event)]
        record = self.record(event)
        if any(other.hop_of for other in same):
            event = min(own, key=lambda other: (other.hop_of is not None, came(other)))
        apart = [
            other
            for other in same
            if came(other) < came(event) and record is not None and self.record(other) not in (None, record)
        ]
        return min(apart, key=came, default=None)

    def status(self, event: Event) -> str:
        ways = {
            "rejected": event.rejection is not None,
            "duplicate": self.original(event) is not None,
            "replayed": event.replay_of is not None,
            "unchecked": event.unchecked,
        }
        return next((status for status, holds in ways.items() if holds), "ok")

    def changed(self, event: Event) -> bool:
        original = self.original(event)
        return original is not None and original.digest != event.digest

    # --- parents

    def consumes(self, producer: str | None, flow: list[Event], facts: dict[Position, Event]) -> set[tuple[str, str]]:
        if producer is None:
            return set()
        named = {
            stream(other)
            for event in self.events
            if event.producer == producer and cause(event) is not None
            for other in self.events
            if other.event_id == cause(event)
        }
        ours = [one for one in flow if one.producer == producer and one.position in facts]
        return named | {stream(facts[one.position]) for one in ours}

    def facts(self, flow: list[Event]) -> dict[Position, Event]:
        firsts = [
            event
            for event in flow
            if event.event_id is None
            or event == min((other for other in flow if other.event_id == event.event_id), key=came)
        ]
        parents: dict[Position, Event] = {}
        for event in flow:
            named = [one for one in firsts if cause(event) is not None and one.event_id == cause(event)]
            if named and named[0].rejection is not None:
                again = [
                    one
                    for one in flow
                    if one.event_id == cause(event)
                    and one.replay_of is not None
                    and one.rejection is None
                    and came(one) <= came(event)
                ]
                named = sorted(again, key=came, reverse=True) or named
            spans = [
                one
                for one in firsts
                if None not in (event.trace_id, event.parent_span_id)
                and (one.trace_id, one.span_id) == (event.trace_id, event.parent_span_id)
            ]
            # The first of several siblings with one span is taken; it is not its own parent.
            if spans and (spans[0] is event or (event.event_id is not None and spans[0].event_id == event.event_id)):
                spans = []
            if named or spans:
                parents[event.position] = (named or spans)[0]
        for event in flow:  # the first event of each loop loses its parent
            above = self.ancestors(event, parents)
            if event in above and event == min(above, key=when):
                del parents[event.position]
        return parents

    def ancestors(self, event: Event, parents: dict[Position, Event]) -> list[Event]:
        found: list[Event] = []
        while event.position in parents and parents[event.position] not in found:
            event = parents[event.position]
            found.append(event)
        return found

    def parents(self, flow: list[Event]) -> dict[Position, tuple[Event, bool]]:
        facts = self.facts(flow)
        firsts = {
            event.position
            for event in flow
            if event.event_id is None
            or event == min((other for other in flow if other.event_id == event.event_id), key=came)
        }
        parents = dict(facts)
        for number, event in enumerate(flow):
            if event.position in facts:
                continue
            able = [
                one
                for one in flow[:number]
                if one.position in firsts
                and not (event.event_id is not None and one.event_id == event.event_id)
                and event not in self.ancestors(one, parents)
            ]
            consumed = self.consumes(event.producer, flow, facts)
            best = [one for one in able if stream(one) in consumed] or [
                one for one in able if stream(one) != stream(event)
            ]
            if best:
                parents[event.position] = best[-1]
        return {position: (parent, position not in facts) for position, parent in parents.items()}

    def order(self, flow: list[Event], parents: dict[Position, tuple[Event, bool]]) -> list[tuple[Event, int]]:
        def below(parent: Event | None, depth: int) -> list[tuple[Event, int]]:
            found = []
            for event in flow:
                if parents.get(event.position, (None,))[0] == parent:
                    found += [(event, depth), *below(event, depth + 1)]
            return found

        return below(None, 0)

    def hops(self, event: Event, flow: list[Event]) -> list[Event]:
        """Return the event and its hops in the flow, with the one that represents all of them first."""
        own = [
            other
            for other in flow
            if other is event
            or (event.event_id is not None and event.event_id == other.event_id and hop_root(other) == hop_root(event))
        ]
        first = min(own, key=lambda other: (other.hop_of is not None, came(other)))
        return [first, *sorted((other for other in own if other is not first), key=came)]

    def answer(self, flow: list[Event]) -> dict[str, object]:
        whole = flow
        flow = [event for event in whole if self.hops(event, whole)[0] is event]
        parents = self.parents(flow)
        return {
            "trace_id": self.trace_id(flow[0]),
            "broken_keys": self.broken_keys(whole),
            "nodes": [
                {
                    "position": event.position,
                    "status": self.status(event),
                    "trace_id": self.trace_id(event),
                    "parent": parents[event.position][0].position if event.position in parents else None,
                    "parent_inferred": parents.get(event.position, (None, False))[1],
                    "depth": depth,
                    "changed": self.changed(event),
                    "hops": [hop.position for hop in self.hops(event, whole)[1:]],
                }
                for event, depth in self.order(flow, parents)
            ],
        }

    def answers(self) -> list[dict[str, object]]:
        """Return all flows, newest first."""
        flows: list[list[Event]] = []
        for event in sorted(self.events, key=came, reverse=True):
            if not any(event in flow for flow in flows):
                flows.append(self.flow_of(event))
        return [self.answer(flow) for flow in flows]


def told(flow: object) -> dict[str, object]:
    """Return a Flow in the same shape."""
    return {
        "trace_id": flow.trace_id,
        "broken_keys": flow.broken_keys,
        "nodes": [
            {
                "position": node.event.position,
                "status": node.status,
                "trace_id": node.trace_id,
                "parent": node.parent,
                "parent_inferred": node.parent_inferred,
                "depth": node.depth,
                "changed": node.changed,
                "hops": list(node.hops),
            }
            for node in flow.nodes
        ],
    }
