"""Queues of live subscribers count all bytes that they hold, and release them."""

from __future__ import annotations

import pytest

from sidecar.domain.model import Decoded, Event, Record
from sidecar.domain.position import Partition
from sidecar.domain.record_size import count_record_bytes
from sidecar.pipeline.live_stream import LiveStream, Subscription

ORDERS = Partition("redis", "orders", 0)


def entry(number: int, size: int, *, value: bytes | None = None, fields: int = 1) -> Decoded:
    """Build a flat entry, which has its bytes in the headers."""
    headers = tuple((f"field-{field}", b"x" * (size // fields)) for field in range(fields))
    record = Record(ORDERS.at(number), None, value, headers, 0)
    return Decoded(record, Event(record.position, None, 0, 0, event_id=f"e-{number}"), {"field": "x" * size})


def held(subscription: Subscription) -> int:
    return sum(count_record_bytes([each.record]) for batch, _ in subscription._queue for each in batch)


@pytest.mark.parametrize("fields", [1, 2_000])
def test_the_queue_of_an_idle_subscriber_is_bounded_for_any_entries(fields: int) -> None:
    live = LiveStream(most_bytes=8 << 20)
    with live.subscribe() as subscription:
        for batch in range(5):
            live.publish([entry(100 * batch + number, 200_000, fields=fields) for number in range(100)])
            assert held(subscription) <= 8 << 20
        assert subscription._queue
        events = sum(len(batch) for batch, _ in subscription._queue)
        assert live.dropped == 500 - events
    assert not subscription._queue


async def test_a_batch_larger_than_the_queue_loses_its_oldest_events_only() -> None:
    live = LiveStream(most_bytes=1_000_000)
    with live.subscribe() as subscription:
        live.publish([entry(number, 10_000) for number in range(100)])
        received = list[str | None]()
        while subscription._queue:
            received += [each.event.event_id for each in await subscription.next(1) or ()]
        assert received
        assert received == [f"e-{number}" for number in range(100 - len(received), 100)]
        assert subscription.take_missed_count() == 100 - len(received)


async def test_without_payloads_the_queue_holds_events_alone() -> None:
    live = LiveStream(most_bytes=1_000_000)
    with live.subscribe(with_payloads=False) as light, live.subscribe() as whole:
        live.publish([entry(number, 100_000, value=b"v" * 100_000) for number in range(200)])
        received = await light.next(1) or ()
        assert [each.event.event_id for each in received] == [f"e-{number}" for number in range(200)]
        assert all((each.body, each.record.value, each.record.headers) == (None, None, ()) for each in received)
        assert (await whole.next(1) or ())[0].body is not None
