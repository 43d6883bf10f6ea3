"""The demo's shop without a broker: equal seeds give equal shops, every fault happens, and the sidecar's verdict on
each record is the one that the shop expects."""

from __future__ import annotations

import asyncio
import functools
from collections import Counter
from collections.abc import AsyncGenerator, Sequence

import pytest

from sidecar.adapters.registry.directory import DirectoryRegistry
from sidecar.config import schema as config
from sidecar.decoding.decoder import EventDecoder, stop_on_outage
from sidecar.decoding.schema_cache import SchemaCache
from sidecar.demo.runner import load_registered_schemas
from sidecar.demo.shop.fault_injection import FAULTS
from sidecar.demo.shop.handlers import Emission, EventHandlers
from sidecar.demo.shop.messages import UnreadableMessage, WireRecord
from sidecar.demo.shop.orders import FIRST_NUMBER, OrderOutcome, create_order
from sidecar.demo.shop.saga import SERVICES, STREAMS
from sidecar.demo.shop.schemas import DIRECTORY
from sidecar.demo.shop.serializers import Serializers
from sidecar.demo.shop.services import MAX_RECORDS_PER_STUCK_READER, Shop
from sidecar.demo.shop.simulation import simulate_order
from sidecar.demo.shop.transport import ShopTransport
from sidecar.domain.model import Decoded, Record, TraceOrigin
from sidecar.domain.position import Position
from tests.support.schema_formats import FORMATS

ORDERS = 250
AT = 1_767_225_600_000


def formats(*, flat: bool = False) -> Serializers:
    return Serializers(asyncio.run(load_registered_schemas()), flat_entries=flat)


def plan(seed: int, orders: int = ORDERS, *, flat: bool = False) -> list[Emission]:
    written = formats(flat=flat)
    reactions = EventHandlers(seed, written)
    return [one for n in range(orders) for one in simulate_order(reactions, written, FIRST_NUMBER + n, AT)]


planned = functools.cache(plan)


def judged(emissions: Sequence[Emission], system: str) -> list[Decoded]:
    """Decode these records as a sidecar does."""

    async def judge() -> list[Decoded]:
        catalog = SchemaCache(DirectoryRegistry(DIRECTORY), FORMATS)
        judge = EventDecoder(catalog, config.EnvelopeConfig())
        records = [
            Record(
                Position(system, one.service.stream, 0, number),
                one.wire.key if system == "kafka" else None,
                one.wire.value,
                one.wire.headers,
                AT,
            )
            for number, one in enumerate(emissions)
        ]
        decoded = await judge.decode_with_schemas(records, stop_on_outage)
        await catalog.close()
        return decoded

    return asyncio.run(judge())


def test_the_same_seed_is_the_same_shop() -> None:
    assert plan(7, 40) == plan(7, 40)
    assert plan(7, 40) != plan(8, 40)


def test_the_outcome_of_an_order_does_not_depend_on_others() -> None:
    written = formats()
    reactions = EventHandlers(3, written)
    alone = simulate_order(reactions, written, FIRST_NUMBER + 20, AT)
    assert alone == [one for one in planned(3, 30) if one.message.order == f"order-{FIRST_NUMBER + 20}"]


@pytest.mark.slow
def test_at_least_six_services_publish_and_every_one_of_them() -> None:
    assert len(SERVICES) >= 6
    assert {one.service.name for one in planned(1)} == set(SERVICES)
    assert {one.service.stream for one in planned(1)} == set(STREAMS)


def test_every_fault_happens() -> None:
    assert {one.fault.name for one in planned(1) if one.fault} == {fault.name for fault in FAULTS}


@pytest.mark.parametrize(
    ("fate", "then", "never"),
    [
        (
            OrderOutcome.FINE,
            ["OrderConfirmed", "ParcelDelivered", "OrderCompleted"],
            ["OrderCancelled", "PaymentRefunded"],
        ),
        (OrderOutcome.REFUSED, ["PaymentRefused", "OrderCancelled"], ["StockReserved", "PaymentRefunded"]),
        (
            OrderOutcome.SHORT,
            ["StockShort", "PaymentRefunded", "OrderCancelled"],
            ["StockReserved", "ParcelDispatched"],
        ),
        (
            OrderOutcome.RETURNED,
            ["ParcelReturned", "StockReleased", "PaymentRefunded", "OrderCancelled", "CreditNoteIssued"],
            ["OrderCompleted"],
        ),
        (OrderOutcome.LOST, ["ParcelDispatched"], ["ParcelDelivered", "OrderCompleted", "OrderCancelled"]),
    ],
)
def test_a_saga_that_fails_undoes_what_was_done(fate: OrderOutcome, then: list[str], never: list[str]) -> None:
    flows: dict[str, list[Emission]] = {}
    for one in planned(1):
        flows.setdefault(one.message.order, []).append(one)
    whole = [
        [one.message.type for one in flow]
        for order, flow in flows.items()
        if create_order(1, int(order[6:])).outcome is fate and not any(one.fault for one in flow)
    ]
    assert whole
    for types in whole:
        assert set(then) <= set(types)
        assert not set(never) & set(types)


def test_every_sound_record_reads_back_as_what_was_meant() -> None:
    for flat in (False, True):
        written = formats(flat=flat)
        for one in planned(1, 60, flat=flat):
            if one.fault is None and not one.is_habit and one.service.name != "scanner":
                read = written.read(one.wire, one.service)
                assert (read.type, read.id, read.order) == (one.message.type, one.message.id, one.message.order)
                assert read.correlation == one.message.correlation


def test_a_service_ignores_events_that_break_their_contract() -> None:
    written = formats()
    broken = [one for one in planned(1) if one.fault and one.fault.code not in (None, "schema.unknown_version")]
    assert len(broken) > 20
    for one in broken:
        with pytest.raises(UnreadableMessage):
            written.read(one.wire, one.service)


@pytest.mark.parametrize("system", ["kafka", "redis"])
def test_the_decoders_verdict_on_every_record_is_the_expected_one(system: str) -> None:
    emissions = planned(1, flat=system == "redis")
    decoded = judged(emissions, system)
    for one, found in zip(emissions, decoded, strict=True):
        rejection = found.event.rejection
        assert (rejection.code if rejection else None) == (one.fault.code if one.fault else None), one
        if rejection is None and not one.is_habit:
            assert found.event.event_id == one.message.id
            assert (found.event.type or "").rpartition(".")[2] == one.message.type
            assert found.event.aggregate_id == one.message.aggregate
            assert found.event.correlation_id == one.message.correlation
            assert found.event.unchecked == (one.service.name == "loyalty")


def test_services_carry_their_trace_in_different_ways_and_one_in_none() -> None:
    emissions = planned(1, 60)
    origins: dict[str, set[TraceOrigin | None]] = {}
    for one, found in zip(emissions, judged(emissions, "kafka"), strict=True):
        if found.event.rejection is None and not one.is_habit:
            origins.setdefault(one.service.name, set()).add(found.event.trace_origin)
    assert origins.pop("notifications") == {None}
    assert origins.pop("stock") == {TraceOrigin.B3}
    assert origins.pop("shipping") == {TraceOrigin.CLOUDEVENTS}
    assert all(found == {TraceOrigin.W3C} for found in origins.values())


class Wires(ShopTransport):
    """A broker within the process: it delivers every record to all readers of its stream."""

    def __init__(self, queues: dict[str, list[asyncio.Queue[tuple[str, WireRecord]]]]) -> None:
        self._queues = queues

    async def publish(self, stream: str, wire: WireRecord) -> None:
        for queue in self._queues.get(stream, []):
            queue.put_nowait((stream, wire))

    async def read(self, streams: Sequence[str]) -> AsyncGenerator[tuple[str, WireRecord], None]:
        queue = asyncio.Queue[tuple[str, WireRecord]]()
        for stream in streams:
            self._queues.setdefault(stream, []).append(queue)
        while True:
            yield await queue.get()

    async def close(self) -> None:
        return


async def test_the_running_shop_publishes_its_plan_for_any_timing() -> None:
    written = Serializers(await load_registered_schemas(), flat_entries=False)
    queues: dict[str, list[asyncio.Queue[tuple[str, WireRecord]]]] = {}

    async def connect(service: str) -> ShopTransport:
        return Wires(queues)

    shop = Shop(connect, written, seed=5, rate=100.0)
    assert await shop.run(asyncio.Event(), 40)
    reactions = EventHandlers(5, written)
    expected = [one for n in range(40) for one in simulate_order(reactions, written, FIRST_NUMBER + n)]
    assert shop.ledger.types == Counter(one.message.type for one in expected)
    assert shop.ledger.rejections == Counter(one.fault.code for one in expected if one.fault and one.fault.code)
    assert shop.ledger.duplicates == sum(one.repeat for one in expected)
    assert shop.ledger.orders == 40


async def test_a_stopping_shop_completes_its_orders_and_accepts_no_more() -> None:
    written = Serializers(await load_registered_schemas(), flat_entries=False)
    stop = asyncio.Event()
    queues: dict[str, list[asyncio.Queue[tuple[str, WireRecord]]]] = {}

    async def connect(service: str) -> ShopTransport:
        return Wires(queues)

    shop = Shop(connect, written, seed=5, rate=50.0)
    running = asyncio.ensure_future(shop.run(stop))
    while shop.ledger.orders < 5:
        await asyncio.sleep(0)
    stop.set()
    assert await running
    assert shop.ledger.orders < 10
    assert shop.ledger.types["OrderPlaced"] == shop.ledger.orders


@pytest.mark.parametrize("clean", [False, True])
async def test_a_group_of_the_shop_is_slow_and_one_is_stuck_so_that_people_see_it(clean: bool) -> None:
    written = Serializers(await load_registered_schemas(), flat_entries=False)
    queues: dict[str, list[asyncio.Queue[tuple[str, WireRecord]]]] = {}
    taken: Counter[str] = Counter()

    class CountedWires(Wires):
        def __init__(self, service: str) -> None:
            super().__init__(queues)
            self._service = service

        async def read(self, streams: Sequence[str]) -> AsyncGenerator[tuple[str, WireRecord], None]:
            async for record in super().read(streams):
                taken[self._service] += 1
                yield record

    async def connect(service: str) -> ShopTransport:
        return CountedWires(service)

    shop = Shop(connect, written, seed=5, rate=200.0, clean=clean)
    assert await shop.run(asyncio.Event(), 40)
    assert taken["reporting"] > 100
    if clean:
        assert {"analytics", "fraud-check"}.isdisjoint(taken)
    else:
        assert taken["fraud-check"] == MAX_RECORDS_PER_STUCK_READER + 1
        assert 1 <= taken["analytics"] < shop.ledger.types["OrderPlaced"]
