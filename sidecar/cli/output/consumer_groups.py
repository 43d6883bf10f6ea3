"""One line about which consumer groups have consumed an event or a flow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sidecar.api import models


NAMED = 8
"""Groups that a line names."""


def readers(delivery: Sequence[models.DeliveryModel]) -> str:
    """Such as `billing at 12:00:05.120, mail not yet (12 behind)`; those that have not passed it come first."""
    order = {False: 0, None: 1, True: 2}
    return _joined([_reader(one) for one in sorted(delivery, key=lambda one: order[one.passed])])


def _reader(delivery: models.DeliveryModel) -> str:
    if delivery.passed is None:
        return f"{delivery.group} unknown"
    if delivery.passed:
        return f"{delivery.group} {_moment(delivery)}"
    details = [f"{delivery.behind} behind"] if delivery.behind is not None else []
    if delivery.deliveries:
        details.append(f"delivered {delivery.deliveries} time{'s' * (delivery.deliveries > 1)}, not acknowledged")
    if delivery.stopped is not None:
        details.append(f"stopped here since {delivery.stopped.since}, probably poisoned")
    return f"{delivery.group} not yet" + (f" ({', '.join(details)})" if details else "")


def _moment(delivery: models.DeliveryModel) -> str:
    """When it passed: known within the time between two looks."""
    if delivery.passed_at is None:
        return "has (time unknown)"
    by = delivery.passed_at.rstrip("Z")
    after = (delivery.passed_after or "").rstrip("Z")
    day = by.partition("T")[0]
    since = after.partition("T")[2][:8] if after.startswith(day) else after
    return f"between {since} and {by.partition('T')[2][:8]}" if since else f"at {by}"


def flow_readers(delivery: Sequence[models.FlowDeliveryModel]) -> str:
    """Such as `billing 4 of 5 (next kafka://orders/0/17), mail 5 of 5`."""
    return _joined(
        [f"{one.group} {one.passed} of {one.events}{f' (next {one.next})' if one.next else ''}" for one in delivery]
    )


def _joined(parts: Sequence[str]) -> str:
    return ", ".join(parts[:NAMED]) + (f", and {len(parts) - NAMED} more" if len(parts) > NAMED else "")
