"""Running services of the shop: each reads its streams and reacts, and orders are placed at a steady rate."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack, aclosing

from sidecar.demo.shop.expected_counts import ExpectedCounts
from sidecar.demo.shop.handlers import Emission, EventHandlers
from sidecar.demo.shop.messages import UnreadableMessage
from sidecar.demo.shop.orders import FIRST_NUMBER
from sidecar.demo.shop.saga import READERS, SERVICES, SLOW_READERS, STUCK_READERS, ShopService, input_streams
from sidecar.demo.shop.serializers import Serializers
from sidecar.demo.shop.simulation import simulate_order
from sidecar.demo.shop.transport import Connect, ShopTransport

MAX_REMEMBERED_IDS = 10_000
"""Number of event ids by which a service recognizes duplicates."""
SLOW_READ_S = 2.0
"""Time that a slow reader takes for an event."""
MAX_RECORDS_PER_STUCK_READER = 20

_BY_STREAM = {service.stream: service for service in SERVICES.values()}


class Shop:
    """All services in one process, each with its own connection and consumer group."""

    def __init__(self, connect: Connect, formats: Serializers, *, seed: int, rate: float, clean: bool = False) -> None:
        """Create the shop. `rate`: orders per second. `clean`: True for a shop that makes no mistake."""
        self.ledger = ExpectedCounts()
        self._connect, self._formats, self._rate, self._clean = connect, formats, rate, clean
        self._handlers = EventHandlers(seed, formats, clean=clean)
        self._due: list[int] = []
        self._published = asyncio.Event()

    async def run(self, stop: asyncio.Event, orders: int | None = None) -> bool:
        """Place orders at a steady rate and wait until all their events are published.

        Args:
            stop: Stops placing orders.
            orders: Number of orders; None: until `stop`.

        Returns:
            False if events are missing after 30 seconds, because a service lost something.
        """
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
            transports: dict[str, ShopTransport] = {}
            faulty = {} if self._clean else {**SLOW_READERS, **STUCK_READERS}
            for name in (*SERVICES, *READERS, *faulty):
                transports[name] = await self._connect(name)
                stack.push_async_callback(transports[name].close)
            service_tasks = [
                group.create_task(self._serve(service, transports[service.name])) for service in SERVICES.values()
            ]
            service_tasks += [
                group.create_task(_read_only(transports[name], streams)) for name, streams in READERS.items()
            ]
            for name, streams in faulty.items():
                read = _read_slowly if name in SLOW_READERS else _read_until_stuck
                service_tasks.append(group.create_task(read(transports[name], streams)))
            await self._place(transports["orders"], stop, orders, group)
            complete = await self._await_completion(timeout=30)
            for task in service_tasks:
                task.cancel()
        return complete

    async def _place(
        self, transport: ShopTransport, stop: asyncio.Event, orders: int | None, group: asyncio.TaskGroup
    ) -> None:
        started = time.monotonic()
        while not stop.is_set() and (orders is None or self.ledger.orders < orders):
            number = FIRST_NUMBER + self.ledger.orders
            self.ledger.orders += 1
            self._due.append(len(simulate_order(self._handlers, self._formats, number)))
            group.create_task(self._publish(transport, self._handlers.place(number, _now_ms())))
            due = started + self.ledger.orders / self._rate
            await _sleep_until(stop, due - time.monotonic())

    async def _serve(self, service: ShopService, transport: ShopTransport) -> None:
        """Run a service: react to each event. Work on several orders overlaps."""
        streams = input_streams(service.name)
        if not streams:
            return
        handled = RecentIds(MAX_REMEMBERED_IDS)
        async with aclosing(transport.read(streams)) as records, asyncio.TaskGroup() as work:
            async for stream, wire in records:
                try:
                    message = self._formats.read(wire, _BY_STREAM[stream])
                except UnreadableMessage:
                    self.ledger.unreadable += 1
                    continue
                if handled.add(message.id):
                    work.create_task(self._publish(transport, self._handlers.react(service, message, _now_ms())))

    async def _publish(self, transport: ShopTransport, emissions: Iterable[Emission]) -> None:
        started_at = time.monotonic()
        for emission in sorted(emissions, key=lambda emission: emission.delay):
            await asyncio.sleep(started_at + emission.delay - time.monotonic())
            await transport.publish(emission.service.stream, emission.wire)
            self.ledger.add(emission)
            self._published.set()

    async def _await_completion(self, timeout: float) -> bool:
        """Wait until all events of the placed orders are published."""
        due = sum(self._due)
        try:
            async with asyncio.timeout(timeout):
                while self.ledger.events < due:
                    self._published.clear()
                    await self._published.wait()
        except TimeoutError:
            return False
        return self.ledger.events == due


async def _read_only(transport: ShopTransport, streams: Sequence[str]) -> None:
    """Read streams and do nothing."""
    async with aclosing(transport.read(streams)) as records:
        async for _ in records:
            pass


async def _read_slowly(transport: ShopTransport, streams: Sequence[str]) -> None:
    """Read streams more slowly than they grow."""
    async with aclosing(transport.read(streams)) as records:
        async for _ in records:
            await asyncio.sleep(SLOW_READ_S)


async def _read_until_stuck(transport: ShopTransport, streams: Sequence[str]) -> None:
    """Read some records of streams, then stay at the next one without acknowledging it."""
    async with aclosing(transport.read(streams)) as records:
        number = 0
        async for _ in records:
            number += 1
            if number > MAX_RECORDS_PER_STUCK_READER:
                await asyncio.Event().wait()


class RecentIds:
    """Recent event ids, so that a service handles each event once despite at-least-once delivery."""

    def __init__(self, max_ids: int) -> None:
        self._max_ids = max_ids
        self._ids: OrderedDict[str, None] = OrderedDict()

    def add(self, id: str) -> bool:
        """Add an id. Returns True if it is new."""
        if id in self._ids:
            return False
        self._ids[id] = None
        if len(self._ids) > self._max_ids:
            self._ids.popitem(last=False)
        return True


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


async def _sleep_until(stop: asyncio.Event, seconds: float) -> None:
    """Sleep until `stop` is set or the time is over."""
    try:
        async with asyncio.timeout(max(seconds, 0)):
            await stop.wait()
    except TimeoutError:
        pass
