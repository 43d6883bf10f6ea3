"""Flows of events, as pure functions of a set of events, so that the order of arrival makes no difference.

An index computes the same step by step over its own structures, and its results must equal those of `build_flows`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from sidecar.domain.correlation.causality import Stream, find_stated_parents, infer_parents, order_forest, stream_of
from sidecar.domain.correlation.connected_components import connect_events, format_key
from sidecar.domain.correlation.derived_trace_id import trace_id_of
from sidecar.domain.correlation.duplicates import original_of, status_of
from sidecar.domain.correlation.event_order import append_moment, moment
from sidecar.domain.correlation.hops import Hops, fold_hops
from sidecar.domain.derived_ids import cause_of
from sidecar.domain.model import Event
from sidecar.domain.ports.index import Flow, Node

FlowEventStatus = tuple[str, bool]
"""Status of an event, and True if it is a duplicate with different content."""


def build_flows(events: Sequence[Event], join: Collection[str], max_flow: int) -> list[Flow]:
    """Build all flows of a set of events, newest first by their latest append time.

    Of several events with one position the last counts.
    """
    held = list({event.position: event for event in events}.values())
    same_id: dict[str, list[Event]] = {}
    for event in held:
        if event.event_id is not None:
            same_id.setdefault(event.event_id, []).append(event)
    first = {event_id: min(same, key=append_moment) for event_id, same in same_id.items()}
    roots: dict[str, str] = {}
    consumed = find_consumed_streams(held, same_id)
    components, broken = connect_events(held, join, max_flow)
    flows = []
    for component in sorted(components, key=lambda flow: max(map(append_moment, flow)), reverse=True):
        keys = {key for event in component for key in broken.get(event.position, ())}
        flows.append(
            build_flow(
                component,
                lambda event: trace_id_of(event, first.get, roots),
                lambda event: flow_event_status(event, same_id.get(event.event_id or "", ()) if event.event_id else ()),
                consumed,
                sorted(map(format_key, keys)),
            )
        )
    return flows


def flow_event_status(event: Event, same_id: Sequence[Event]) -> FlowEventStatus:
    """Return the status of an event among all known events with its id."""
    original = original_of(event, same_id)
    return status_of(event, original), original is not None and original.digest != event.digest


def find_consumed_streams(events: Sequence[Event], same_id: Mapping[str, Sequence[Event]]) -> dict[str, set[Stream]]:
    """Find the streams that each producer consumes.

    They are the streams with an event that one of the producer's own events names as its cause.
    """
    consumed: dict[str, set[Stream]] = {}
    for event in events:
        cause = cause_of(event)
        if cause is not None and event.producer is not None:
            streams = {stream_of(other) for other in same_id.get(cause, ())}
            if streams:
                consumed.setdefault(event.producer, set()).update(streams)
    return consumed


def build_flow(
    component: Sequence[Event],
    trace_of: Callable[[Event], int],
    standing_of: Callable[[Event], FlowEventStatus],
    consumed: Mapping[str, Collection[Stream]],
    broken: Sequence[str],
) -> Flow:
    """Build one flow from its events: parents, depths and order."""
    events, hops = fold_hops(sorted(component, key=moment))
    parents = find_stated_parents(events)
    guesses = infer_parents(events, parents, consumed)
    order, depths = order_forest([guesses.get(number, parent) for number, parent in enumerate(parents)])
    nodes = [build_node(number, events, parents, guesses, depths, trace_of, standing_of, hops) for number in order]
    return Flow(trace_id=trace_of(events[0]), nodes=nodes, broken_keys=list(broken))


def build_node(
    number: int,
    events: Sequence[Event],
    parents: Sequence[int | None],
    guesses: Mapping[int, int],
    depths: Sequence[int],
    trace_of: Callable[[Event], int],
    standing_of: Callable[[Event], FlowEventStatus],
    hops: Hops,
) -> Node:
    """Build the node of an event: its place in its flow."""
    event = events[number]
    parent = guesses.get(number, parents[number])
    status, changed = standing_of(event)
    return Node(
        event=event,
        status=status,
        trace_id=trace_of(event),
        parent=None if parent is None else events[parent].position,
        parent_inferred=number in guesses,
        depth=depths[number],
        changed=changed,
        hops=hops.get(event.position, ()),
    )
