"""The shared index: the full way with it, two sidecars beside one, its memory, and how soon it answers."""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from tests.bench import report

Result = dict[str, Any]
FLOW = 50
"""Events of a flow."""
BATCH = 500


def rows(
    kafka: str,
    valkey: str,
    options: argparse.Namespace,
    side: Callable[..., Result],
    in_turns: Callable[[int, Callable[[int], Result], Callable[[int], Result]], Result],
    decoding: Result,
) -> Iterator[Result]:
    """The rows of the table."""
    from tests.bench import event_producer

    events, rounds = options.events, options.rounds

    found = side("shared", url=valkey, events=1_000_000)
    what = "shared index of a million events"
    yield {"what": f"{what}: Valkey's memory an event", "value": found["bytes"], "unit": "B", "bound": 700}
    took = found["flow_p99_ms"]
    yield {"what": f"{what}: a flow of {FLOW} events, p99", "value": took, "unit": "ms",
           **report.in_units(took * 1000, 4, decoding, 1_000)}  # fmt: skip
    stream = "bench.shared"
    print(f"shared index: loading {events:,} events")
    event_producer.load("kafka", kafka, stream, events, broken=0.0, partitions=4)
    run = {"system": "kafka", "address": kafka, "stream": stream, "events": events}

    def ours(number: int, **members: int) -> Result:
        _empty(valkey)
        group = f"shared-{members.get('members', 0)}-{number}"
        before = _spent(valkey)
        found = side("ours", **run, **members, group=group, index={"redis": {"url": valkey}})
        return {**found, "server_us": (_spent(valkey) - before) / events * 1e6}

    def bare(number: int) -> Result:
        return side("bare", **run, group=f"bare-shared-{number}")

    yield {"what": "kafka: the full way, shared index", "bound": 0.85, **in_turns(rounds, bare, ours)}
    yield from beside(max(2, rounds // 2), lambda number, members: ours(number, members=members), in_turns)


def beside(
    rounds: int,
    group: Callable[[int, int], Result],
    in_turns: Callable[[int, Callable[[int], Result], Callable[[int], Result]], Result],
) -> Iterator[Result]:
    """Two sidecars beside one, by the clock and by the processor.

    By the clock it takes a core for each sidecar, one for Kafka and one for Valkey: with fewer, one sidecar keeps them
    busy already, a second one has nowhere to run, and the row has no bound. What holds on any machine is how many
    events a sidecar gets done in a second of its own processor time: that of one of two, twice, beside that of one
    alone. It shows what sharing the work costs. That the server does not stand in the way is shown by the time that
    Valkey takes an event, of the one thread that it has."""
    cpu: dict[int, list[float]] = {1: [], 2: []}
    server: list[float] = []

    def run(number: int, members: int) -> Result:
        found = group(number, members)
        cpu[members].append(found["cpu_us"])
        if members == 2:
            server.append(found["server_us"])
        return found

    two = in_turns(rounds, lambda number: run(number, 1), lambda number: run(number, 2))
    cores = os.cpu_count() or 1
    where = "kafka: two sidecars with a shared index beside one"
    bound = 1.6 if cores >= 4 else None
    yield {"what": f"{where}, by the clock, on {cores} cores", "bound": bound, "bound_on": "ratio", **two}
    one, of_two = statistics.median(cpu[1]), statistics.median(cpu[2])
    yield {
        "what": f"{where}, by their processor time ({one:.1f} µs an event alone, {of_two:.1f} as one of two)",
        "bare": 1e6 / one,
        "ours": 2e6 / of_two,
        "ratio": statistics.median(2 * alone / shared for alone, shared in zip(cpu[1], cpu[2], strict=True)),
        "bound": 1.6,
        "bound_on": "ratio",
    }
    what = "shared index: Valkey's processor time an event, two sidecars"
    yield {"what": what, "value": statistics.median(server), "unit": "µs"}


def _spent(url: str) -> float:
    """Seconds of the processor that the server has taken so far."""
    from redis import Redis

    with Redis.from_url(url) as client:
        info = client.info("cpu")
    return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])


def _empty(url: str) -> None:
    from redis import Redis

    with Redis.from_url(url) as client:
        client.flushall()


def batch(start: int, dice: random.Random, before: list[str]) -> list[Any]:
    """Events as services write them: a UUID each, trace, correlation and causation, the order as aggregate and key.
    They come as twenty flows at a time."""
    from sidecar.domain.model import Event, SchemaRef, TraceOrigin
    from sidecar.domain.position import Position

    schema = SchemaRef("orders-value", 1, 1, None)
    found = []
    for number in range(start, start + BATCH):
        flow = number // (20 * FLOW) * 20 + number % 20
        id = str(uuid.UUID(int=dice.getrandbits(128)))
        cause, before[number % 20] = before[number % 20], id
        order = f"order-{flow:012d}"
        found.append(
            Event(
                position=Position("kafka", "orders", number % 4, number // 4),
                key=order,
                appended_at=1_767_225_600_000 + number // 20,
                observed_at=1_767_225_600_000_000 + number * 50 + 1_000,
                event_id=id,
                type="OrderPlaced",
                version="1",
                occurred_at=1_767_225_600_000_000 + number * 50,
                aggregate_id=order,
                trace_id=trace(flow),
                span_id=dice.getrandbits(64),
                trace_origin=TraceOrigin.W3C,
                correlation_id=f"c-{flow}",
                causation_id=cause if number % (20 * FLOW) >= 20 else None,
                producer="shop",
                schema=schema,
                digest=dice.getrandbits(32),
            )
        )
    return found


def trace(flow: int) -> int:
    return uuid.uuid5(uuid.NAMESPACE_OID, f"flow {flow}").int


async def measure(url: str, events: int) -> Result:
    from redis.asyncio import Redis

    from sidecar.adapters.index.redis.index import RedisIndex

    index = RedisIndex(
        url, join=["trace", "correlation", "causation"], max_flow=10_000, ttl_ms=10**12, max_events=2 * events
    )
    dice, before = random.Random(1), [""] * 20
    client = Redis.from_url(url)
    index.add(batch(0, dice, before))
    await index.wait_until_written()
    memory = (await client.info("memory"))["used_memory"]
    for start in range(BATCH, events, BATCH):
        index.add(batch(start, dice, before))
        await index.room()
    while index.waiting:
        await index.wait_until_written()
    grown = (await client.info("memory"))["used_memory"] - memory
    took = []
    for _ in range(2_000):
        flow = dice.randrange(events // FLOW)
        began = time.perf_counter()
        found = await index.flow(f"{trace(flow):032x}")
        took.append(time.perf_counter() - began)
        if found is None or len(found.nodes) != FLOW:
            raise RuntimeError("a flow is not whole")
    await client.flushall()
    await client.aclose()
    await index.close()
    took.sort()
    return {"bytes": grown / (events - BATCH), "flow_p99_ms": took[int(len(took) * 0.99)] * 1000}


def main() -> None:
    import uvloop

    given = json.loads(sys.argv[1])
    print(json.dumps(uvloop.run(measure(given["url"], given["events"]))))


if __name__ == "__main__":
    main()
