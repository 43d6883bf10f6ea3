"""All that follows an order, worked out in advance by the very code that runs, over no broker."""

from __future__ import annotations

from sidecar.demo.shop.handlers import Emission, EventHandlers
from sidecar.demo.shop.messages import UnreadableMessage
from sidecar.demo.shop.saga import SERVICES, inputs
from sidecar.demo.shop.serializers import Serializers


def consequences(reactions: EventHandlers, formats: Serializers, number: int, at: int = 0) -> list[Emission]:
    """Every record that the shop will publish because of order `number`, each after its cause."""
    planned = reactions.place(number, at)
    done: set[tuple[str, str]] = set()
    for emission in planned:  # it grows while we walk it
        for service in SERVICES.values():
            if emission.service.stream not in inputs(service.name):
                continue
            try:
                message = formats.read(emission.wire, emission.service)
            except UnreadableMessage:
                continue
            if (service.name, message.id) not in done:
                done.add((service.name, message.id))
                planned += reactions.to(service, message, at)
    return planned
