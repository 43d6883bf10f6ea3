"""Builds flows from gathered events, by the rules that every index follows."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import NamedTuple

from sidecar.api.services.picture.gatherer import EventGatherer
from sidecar.domain.correlation.causality import find_stated_parents
from sidecar.domain.correlation.connected_components import Key, connect_events, format_key
from sidecar.domain.correlation.event_order import Moment, append_moment, moment
from sidecar.domain.correlation.flows import build_flow
from sidecar.domain.correlation.hops import fold_hops
from sidecar.domain.model import Event
from sidecar.domain.ports.index import Flow
from sidecar.domain.position import Position

MAX_INLINE_EVENTS = 500
"""Events that are connected in the event loop; more are connected in a thread."""


class GatheredFlow(NamedTuple):
    """A flow with the append moment of its latest event, which may be a hop that no node shows."""

    flow: Flow
    latest: Moment


async def build_gathered_flows(
    gatherer: EventGatherer, starts: Sequence[Event], join: Collection[str], max_flow: int
) -> list[GatheredFlow]:
    """Gather and build the flows of some events, newest first by their latest append time."""
    members = await gatherer.gather_flows(starts)
    events = list(gatherer.events.values())
    if len(events) > MAX_INLINE_EVENTS:
        components, broken = await asyncio.to_thread(connect_events, events, join, max_flow)
    else:
        components, broken = connect_events(events, join, max_flow)
    wanted = {event.position for event in starts}
    chosen = [component for component in components if any(event.position in wanted for event in component)]
    await gatherer.learn([gatherer.events[position] for position in members])
    consumed = await gatherer.find_consumption(_find_orphan_producers(chosen))
    flows: list[GatheredFlow] = []
    for component in sorted(chosen, key=lambda flow: max(map(append_moment, flow)), reverse=True):
        keys = _broken_keys(component, broken)
        flow = build_flow(component, gatherer.trace_id_of, gatherer.standing, consumed, keys)
        for node in flow.nodes:
            node.source = gatherer.sources[node.event.position]
        flows.append(GatheredFlow(flow, max(map(append_moment, component))))
        await asyncio.sleep(0)
    return flows


def _broken_keys(component: Sequence[Event], broken: dict[Position, list[Key]]) -> list[str]:
    return sorted({format_key(key) for event in component for key in broken.get(event.position, ())})


def _find_orphan_producers(components: Sequence[Sequence[Event]]) -> set[str]:
    """Find the producers of events without a stated parent. The earliest event of a flow can have no inferred one."""
    producers: set[str] = set()
    for component in components:
        events, _ = fold_hops(sorted(component, key=moment))
        parents = find_stated_parents(events)
        producers |= {
            event.producer
            for event, parent in zip(events[1:], parents[1:], strict=True)
            if parent is None and event.producer is not None
        }
    return producers
