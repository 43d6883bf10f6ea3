"""The services, running: each reads its streams and publishes what follows, and a clock places orders."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import AsyncExitStack, aclosing

from sidecar.demo.shop.expected_counts import ExpectedCounts
from sidecar.demo.shop.handlers import Emission, EventHandlers
from sidecar.demo.shop.messages import UnreadableMessage
from sidecar.demo.shop.orders import FIRST_NUMBER
from sidecar.demo.shop.saga import SERVICES, ShopService, inputs
from sidecar.demo.shop.serializers import Serializers
from sidecar.demo.shop.simulation import consequences
from sidecar.demo.shop.transport import Connect, ShopTransport

REMEMBERED = 10_000
"""Event ids by which a service knows what it has handled already."""

_BY_STREAM = {service.stream: service for service in SERVICES.values()}


class Shop:
    """All services in one process, each with its own connection and consumer group."""

    def __init__(self, connect: Connect, formats: Serializers, *, seed: int, rate: float) -> None:
        """`rate`: orders a second."""
        self.ledger = ExpectedCounts()
        self._connect, self._formats, self._rate = connect, formats, rate
        self._reactions = EventHandlers(seed, formats)
        self._due: list[int] = []
        self._published = asyncio.Event()

    async def run(self, stop: asyncio.Event, orders: int | None = None) -> bool:
        """Place `orders` orders (None: until `stop`) at a steady rate, then see every order through. Returns whether
        all that follows from them was published; where it was not within 30 seconds, a service has lost something."""
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
            transports: dict[str, ShopTransport] = {}
            for name in SERVICES:
                transports[name] = await self._connect(name)
                stack.push_async_callback(transports[name].close)
            serving = [group.create_task(self._serve(one, transports[one.name])) for one in SERVICES.values()]
            await self._place(transports["orders"], stop, orders, group)
            complete = await self._committed(timeout=30)
            for task in serving:
                task.cancel()
        return complete

    async def _place(
        self, transport: ShopTransport, stop: asyncio.Event, orders: int | None, group: asyncio.TaskGroup
    ) -> None:
        started = time.monotonic()
        while not stop.is_set() and (orders is None or self.ledger.orders < orders):
            number = FIRST_NUMBER + self.ledger.orders
            self.ledger.orders += 1
            self._due.append(len(consequences(self._reactions, self._formats, number)))
            group.create_task(self._publish(transport, self._reactions.place(number, _now())))
            due = started + self.ledger.orders / self._rate
            await _sleep_unless(stop, due - time.monotonic())

    async def _serve(self, service: ShopService, transport: ShopTransport) -> None:
        """One service's life: an event in, its work, events out. Work on several orders overlaps."""
        streams = inputs(service.name)
        if not streams:
            return
        handled = RecentIds(REMEMBERED)
        async with aclosing(transport.read(streams)) as records, asyncio.TaskGroup() as work:
            async for stream, wire in records:
                try:
                    message = self._formats.read(wire, _BY_STREAM[stream])
                except UnreadableMessage:
                    self.ledger.unreadable += 1
                    continue
                if handled.add(message.id):
                    work.create_task(self._publish(transport, self._reactions.to(service, message, _now())))

    async def _publish(self, transport: ShopTransport, emissions: Iterable[Emission]) -> None:
        begun = time.monotonic()
        for emission in sorted(emissions, key=lambda emission: emission.delay):
            await asyncio.sleep(begun + emission.delay - time.monotonic())
            await transport.publish(emission.service.stream, emission.wire)
            self.ledger.add(emission)
            self._published.set()

    async def _committed(self, timeout: float) -> bool:
        """Wait until everything that follows from the orders placed is published."""
        due = sum(self._due)
        try:
            async with asyncio.timeout(timeout):
                while self.ledger.events < due:
                    self._published.clear()
                    await self._published.wait()
        except TimeoutError:
            return False
        return self.ledger.events == due


class RecentIds:
    """Ids seen lately: how a service that reads at least once does its work only once."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._ids: OrderedDict[str, None] = OrderedDict()

    def add(self, id: str) -> bool:
        """Whether the id is new."""
        if id in self._ids:
            return False
        self._ids[id] = None
        if len(self._ids) > self._most:
            self._ids.popitem(last=False)
        return True


def _now() -> int:
    return time.time_ns() // 1_000_000


async def _sleep_unless(stop: asyncio.Event, seconds: float) -> None:
    """Sleep, but wake when `stop` is set."""
    try:
        async with asyncio.timeout(max(seconds, 0)):
            await stop.wait()
    except TimeoutError:
        pass
