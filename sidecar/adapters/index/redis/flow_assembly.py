"""Assembly of flows from the shared index: order, parents, depth."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence

from sidecar.adapters.index.redis.flow_closure import FlowClosure, FlowReader
from sidecar.domain.correlation.causality import Stream, find_stated_parents, infer_parents, order_forest
from sidecar.domain.correlation.connected_components import Key, format_key
from sidecar.domain.correlation.event_order import moment
from sidecar.domain.correlation.flows import build_node
from sidecar.domain.correlation.hops import Hops, fold_hops
from sidecar.domain.model import Event
from sidecar.domain.ports.index import Flow

EVENTS_PER_YIELD = 200
"""Events of a flow that are placed before the task yields to the event loop."""


async def assemble_flows(reading: FlowReader, closed: FlowClosure, flows: Sequence[Sequence[Event]]) -> list[Flow]:
    """Assemble the flows of a closure as `correlation.flows` does, yielding to the event loop in between."""
    await reading.know([event for flow in flows for event in flow])
    folded = [fold_hops(sorted(flow, key=moment)) for flow in flows]
    parents: list[list[int | None]] = []
    producers: set[str] = set()
    for events, _ in folded:
        named = find_stated_parents(events)
        parents.append(named)
        # The earliest event can have no inferred parent, and is mostly the only one without any.
        for event, parent in zip(events[1:], named[1:], strict=True):
            if parent is None and event.producer is not None:
                producers.add(event.producer)
        await asyncio.sleep(0)
    consumed = await reading.consumption(producers)
    assembled = []
    for flow, (events, hops), named in zip(flows, folded, parents, strict=True):
        broken = {key for event in flow for key in closed.broken.get(event.position, ())}
        assembled.append(await _draw(reading, broken, events, hops, named, consumed))
    return assembled


async def _draw(
    reading: FlowReader,
    broken: Collection[Key],
    events: Sequence[Event],
    hops: Hops,
    parents: Sequence[int | None],
    consumed: Mapping[str, Collection[Stream]],
) -> Flow:
    guesses = infer_parents(events, parents, consumed)
    await asyncio.sleep(0)
    order, depths = order_forest([guesses.get(number, parent) for number, parent in enumerate(parents)])
    nodes = []
    for count, number in enumerate(order, 1):
        nodes.append(build_node(number, events, parents, guesses, depths, reading.trace_id_of, reading.standing, hops))
        if not count % EVENTS_PER_YIELD:
            await asyncio.sleep(0)
    return Flow(trace_id=reading.trace_id_of(events[0]), nodes=nodes, broken_keys=sorted(map(format_key, broken)))
