"""An event in, events out: what a service does, without a broker.

All of it is a function of the seed, the order and the events' types, so the same seed makes the same events, with the
same ids and faults, in whatever order the broker delivers."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from sidecar.demo.shop import event_data, fault_injection
from sidecar.demo.shop.fault_injection import FaultContext, ShopFault
from sidecar.demo.shop.messages import ShopMessage, TraceIds, WireRecord
from sidecar.demo.shop.orders import Order, dice, number_of, order_of
from sidecar.demo.shop.saga import PLACED, SagaStep, ShopService, publisher, steps_of
from sidecar.demo.shop.serializers import Serializers


@dataclass(frozen=True, slots=True)
class Emission:
    """One record to publish."""

    service: ShopService
    message: ShopMessage
    wire: WireRecord
    delay: float
    """Seconds of work before it."""
    fault: ShopFault | None
    """What is wrong with this record, if anything."""
    repeat: bool = False
    """It stands for an event that was published already."""


class EventHandlers:
    """What the services do. One for the whole shop: it keeps nothing but the seed."""

    def __init__(self, seed: int, formats: Serializers) -> None:
        self._seed = seed
        self._formats = formats

    def place(self, number: int, at: int) -> list[Emission]:
        """A customer orders. `at`: milliseconds since 1970."""
        order = order_of(self._seed, number)
        return self._emissions(SagaStep("orders", "", PLACED), order, None, at)

    def to(self, service: ShopService, cause: ShopMessage, at: int) -> list[Emission]:
        """What `service` publishes because `cause` has arrived."""
        order = order_of(self._seed, number_of(cause.order))
        steps = [step for step in steps_of(service.name, cause.type) if order.fate in step.fates]
        return [emission for step in steps for emission in self._emissions(step, order, cause, at)]

    def _emissions(self, step: SagaStep, order: Order, cause: ShopMessage | None, at: int) -> list[Emission]:
        made: list[Emission] = []
        for at_line in range(len(order.lines) if step.each_line else 1):
            roll = dice(self._seed, order.number, step.on, step.emits, at_line)
            service = publisher(step.emits)
            delay = roll.uniform(*step.after) / 1000
            trace = cause.trace if cause else None
            message = ShopMessage(
                type=step.emits,
                id=str(UUID(int=roll.getrandbits(128), version=4)),
                order=order.id,
                aggregate=event_data.aggregate_of(service.aggregate, order),
                aggregate_type=service.aggregate,
                correlation=cause.correlation if cause else str(UUID(int=roll.getrandbits(128), version=4)),
                cause=cause.id if cause else None,
                trace=TraceIds(
                    trace.trace_id if trace else f"{roll.getrandbits(128) | 1:032x}",
                    f"{roll.getrandbits(64) | 1:016x}",
                    trace.span_id if trace else None,
                ),
                at=at + round(delay * 1000),
                producer=service.name,
                data=event_data.data_of(step.emits, order, step.on, order.lines[at_line]),
            )
            wire = self._formats.write(message, service)
            fault = fault_injection.chosen(step.emits, roll)
            if fault is None or fault.repeats:
                made.append(Emission(service, message, wire, delay, None))
            if fault is not None:
                spoiled = fault.spoil(FaultContext(wire, message, order, self._formats, roll))
                made.append(Emission(service, message, spoiled, delay, fault, repeat=fault.repeats))
        return made
