"""Simulation of an order: all its events in advance, by the code of the running services but without a broker."""

from __future__ import annotations

from sidecar.demo.shop.handlers import Emission, EventHandlers
from sidecar.demo.shop.messages import UnreadableMessage
from sidecar.demo.shop.saga import SERVICES, input_streams
from sidecar.demo.shop.serializers import Serializers


def simulate_order(handlers: EventHandlers, formats: Serializers, number: int, at: int = 0) -> list[Emission]:
    """Return every record that the shop will publish for an order, each after its cause."""
    planned = handlers.place(number, at)
    done: set[tuple[str, str]] = set()
    for emission in planned:  # the loop appends to it
        for service in SERVICES.values():
            if emission.service.stream not in input_streams(service.name):
                continue
            try:
                message = formats.read(emission.wire, emission.service)
            except UnreadableMessage:
                continue
            if (service.name, message.id) not in done:
                done.add((service.name, message.id))
                planned += handlers.react(service, message, emission.message.at)
    return planned
