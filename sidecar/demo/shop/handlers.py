"""Reactions of the services to an event, without a broker.

A reaction is a function of the seed, the order and the event types. So the same seed gives the same events with the
same ids and faults, in any order of delivery.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from sidecar.demo.shop import event_data, fault_injection
from sidecar.demo.shop.bad_habits import create_habit_records
from sidecar.demo.shop.fault_injection import FaultContext, ShopFault
from sidecar.demo.shop.messages import ShopMessage, TraceIds, WireRecord
from sidecar.demo.shop.orders import Order, create_order, create_random, parse_order_number
from sidecar.demo.shop.saga import PLACED, SERVICES, SagaStep, ShopService, publisher_of, steps_of
from sidecar.demo.shop.serializers import Serializers

HABIT_INTERVAL_S = 0.005
"""Time between the records of a bad habit, which keeps their order."""


@dataclass(frozen=True, slots=True)
class Emission:
    """A record to publish."""

    service: ShopService
    message: ShopMessage
    wire: WireRecord
    delay: float
    """Seconds of work before the record is published."""
    fault: ShopFault | None
    """The fault of this record, or None."""
    repeat: bool = False
    """True if the event was published before."""
    is_habit: bool = False
    """True for a record of a bad habit, which belongs to no order."""
    opens_flow: bool = False
    """True for the first record of a habit: its records are a flow of their own."""


class EventHandlers:
    """Reactions of all services. The only state is the seed."""

    def __init__(self, seed: int, formats: Serializers, *, clean: bool = False) -> None:
        """Create the reactions. `clean`: True for a shop that makes no mistake."""
        self._seed, self._formats, self._clean = seed, formats, clean

    def place(self, number: int, at: int) -> list[Emission]:
        """Place an order. `at`: milliseconds since 1970."""
        order = self._order(number)
        emissions = self._emissions(SagaStep("orders", "", PLACED), order, None, at)
        return emissions if self._clean else [*emissions, *self._habits(order, at)]

    def _order(self, number: int) -> Order:
        return create_order(self._seed, number, loses_parcels=not self._clean)

    def _habits(self, order: Order, at: int) -> Iterator[Emission]:
        for records in create_habit_records(self._seed, order, at, self._formats):
            for place, (service, message, wire, repeats_id) in enumerate(records):
                delay = HABIT_INTERVAL_S * place
                yield Emission(
                    SERVICES[service], message, wire, delay, None, repeats_id, is_habit=True, opens_flow=place == 0
                )

    def react(self, service: ShopService, cause: ShopMessage, at: int) -> list[Emission]:
        """Return the records that a service publishes when `cause` arrives."""
        order = self._order(parse_order_number(cause.order))
        steps = [step for step in steps_of(service.name, cause.type) if order.outcome in step.outcomes]
        return [emission for step in steps for emission in self._emissions(step, order, cause, at)]

    def _emissions(self, step: SagaStep, order: Order, cause: ShopMessage | None, at: int) -> list[Emission]:
        emissions: list[Emission] = []
        for at_line in range(len(order.lines) if step.per_line else 1):
            roll = create_random(self._seed, order.number, step.on, step.emits, at_line)
            service = publisher_of(step.emits)
            delay = roll.uniform(*step.after) / 1000
            trace = cause.trace if cause else None
            message = ShopMessage(
                type=step.emits,
                id=str(UUID(int=roll.getrandbits(128), version=4)),
                order=order.id,
                aggregate=event_data.aggregate_id_of(service.aggregate, order),
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
                data=event_data.create_data(step.emits, order, step.on, order.lines[at_line]),
            )
            if self._clean and "email" in message.data:
                message.data["email"] = ""
            wire = self._formats.write(message, service)
            fault = None if self._clean else fault_injection.choose_fault(step.emits, roll)
            if fault is None or fault.repeats:
                emissions.append(Emission(service, message, wire, delay, None))
            if fault is not None:
                spoiled = fault.create_record(FaultContext(wire, message, order, self._formats, roll))
                emissions.append(Emission(service, message, spoiled, delay, fault, repeat=fault.repeats))
        return emissions
