"""Hypothesis strategies for small sets of events with shared keys, wrong clocks, duplicates, missing causes, loops,
replays and keys of too many events."""

from __future__ import annotations

from hypothesis import strategies as st

from sidecar.domain.model import Event, Rejection
from sidecar.domain.position import Position

JOINS = st.sampled_from(
    [
        frozenset({"trace", "correlation", "causation"}),
        frozenset({"trace", "correlation"}),
        frozenset({"trace"}),
        frozenset({"causation"}),
    ]
)
STREAMS = [("kafka", "orders"), ("kafka", "payments"), ("redis", "orders"), ("memory", "stock")]
REPLAYS = ["@kafka://x/0/1", "?"]
IDS = ["a", "b", "c", "d", "e", "f", "g", "h"]
POSITIONS = [
    Position(system, stream, partition, offset)
    for system, stream in STREAMS
    for partition in ((0,) if system == "redis" else (0, 1))
    for offset in (0, 1, 2, 3, 1 << 70)
    if offset < 1 << 63 or system == "redis"
]


HOPS = [*map(str, POSITIONS[:4]), "kafka://gone/0/1"]


def maybe(strategy: st.SearchStrategy) -> st.SearchStrategy:
    return st.none() | strategy


def event_at(position: Position) -> st.SearchStrategy[Event]:
    return st.builds(
        Event,
        position=st.just(position),
        key=st.just(None),
        appended_at=st.integers(-1, 12),
        observed_at=st.integers(0, 3).map(lambda time: time * 4_000),
        event_id=maybe(st.sampled_from(IDS)),
        occurred_at=maybe(st.integers(-1, 12).map(lambda time: time * 1_000)),
        aggregate_id=maybe(st.sampled_from(["4711", "a"])),
        trace_id=maybe(st.sampled_from([1, 2, (1 << 128) - 1])),
        span_id=maybe(st.sampled_from([1, 2, 3, (1 << 64) - 1])),
        parent_span_id=maybe(st.sampled_from([1, 2, 3, (1 << 64) - 1])),
        correlation_id=maybe(st.sampled_from(["x", "y", "a"])),
        causation_id=maybe(st.sampled_from([*IDS, "gone"])),
        producer=maybe(st.sampled_from(["shop", "till", "store"])),
        unchecked=st.booleans(),
        rejection=st.sampled_from([None, None, Rejection("decode.malformed", "no")]),
        replay_of=maybe(st.sampled_from([*(f"group@{one}" for one in POSITIONS), *REPLAYS])),
        digest=st.integers(0, 1),
        hop_of=st.sampled_from([*[None] * len(HOPS), *HOPS]),
    )


EVENTS = st.lists(st.sampled_from(POSITIONS), unique=True, max_size=24).flatmap(
    lambda positions: st.tuples(*map(event_at, positions)).map(list)
)
