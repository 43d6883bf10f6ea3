"""Search for the events of a trace in the shared index, including those whose trace id is derived."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

from sidecar.adapters.index.redis.fetcher import Name
from sidecar.adapters.index.redis.flow_closure import FlowReader, derived_hash
from sidecar.adapters.index.redis.key_layout import id_hash, trace_hash
from sidecar.domain.derived_ids import derive_trace_id
from sidecar.domain.model import Event


def once(events: Iterable[Event]) -> list[Event]:
    """Return the events with each position only once."""
    return list({event.position: event for event in events}.values())


async def of_trace(reading: FlowReader, trace_id: int) -> list[Event]:
    """Find the events that carry this trace id, and those without a trace id for which it is derived."""
    own: Name = (b"t", trace_hash(trace_id.to_bytes(16, "big")))
    correlated: Name = (b"k", derived_hash(trace_id))
    named: Name = (b"i", derived_hash(trace_id))
    for name in (own, correlated, named):
        await reading.fetch(name)
    carriers = [event for event in reading.under(own) if event.trace_id == trace_id]
    silent = [event for event in (*reading.under(correlated), *reading.under(named)) if event.trace_id is None]
    async for some in _followers(reading, named, trace_id):
        silent += some
    await reading.know(silent)
    return once([*carriers, *(event for event in silent if reading.trace_id_of(event) == trace_id)])


async def _followers(reading: FlowReader, named: Name, trace_id: int) -> AsyncIterator[list[Event]]:
    """Events without a trace id that were caused, over any number of steps, by what the trace id is derived from."""
    effects = [event for event in reading.under(named) if event.causation_id is not None]
    effects = [event for event in effects if derive_trace_id(event.causation_id or "") == trace_id]
    seen: set[str] = set()
    while effects:
        yield [event for event in effects if event.trace_id is None]
        ids = {event.event_id for event in effects if event.event_id is not None} - seen
        seen |= ids
        await reading.everything((b"i", id_hash(id)) for id in ids)
        effects = [event for id in ids for event in reading.under((b"i", id_hash(id))) if event.causation_id == id]
