"""One-line descriptions of the consumer groups that have consumed an event or a flow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sidecar.api import models


MAX_NAMED_GROUPS = 8


def describe_readers(delivery: Sequence[models.DeliveryModel]) -> str:
    """Describe the groups of an event; groups that have not consumed it come first.

    For example `mail not yet (12 behind), billing at 12:00:05`.
    """
    order = {False: 0, None: 1, True: 2}
    return _join([_describe_reader(group) for group in sorted(delivery, key=lambda group: order[group.passed])])


def _describe_reader(delivery: models.DeliveryModel) -> str:
    if delivery.passed is None:
        return f"{delivery.group} unknown"
    if delivery.passed:
        return f"{delivery.group} {_describe_time(delivery)}"
    details = [f"{delivery.behind} behind"] if delivery.behind is not None else []
    if delivery.deliveries:
        details.append(f"delivered {delivery.deliveries} time{'s' * (delivery.deliveries > 1)}, not acknowledged")
    if delivery.stopped is not None:
        details.append(f"stopped here since {delivery.stopped.since}: {delivery.stopped.reason}")
    return f"{delivery.group} not yet" + (f" ({', '.join(details)})" if details else "")


def _describe_time(delivery: models.DeliveryModel) -> str:
    """Describe when the group consumed the event: between two polls of its offsets."""
    if delivery.passed_at is None:
        return "has (at an unknown time)"
    by = delivery.passed_at.rstrip("Z")
    after = (delivery.passed_after or "").rstrip("Z")
    day = by.partition("T")[0]
    since = after.partition("T")[2][:8] if after.startswith(day) else after
    return f"between {since} and {by.partition('T')[2][:8]}" if since else f"at {by}"


def describe_flow_readers(delivery: Sequence[models.FlowDeliveryModel]) -> str:
    """Describe the groups of a flow: `billing 4 of 5 (next kafka://orders/0/17), mail 5 of 5`."""
    parts = []
    for group in delivery:
        following = f" (next {group.next})" if group.next else ""
        parts.append(f"{group.group} {group.passed} of {group.events}{following}")
    return _join(parts)


def _join(parts: Sequence[str]) -> str:
    return ", ".join(parts[:MAX_NAMED_GROUPS]) + (
        f", and {len(parts) - MAX_NAMED_GROUPS} more" if len(parts) > MAX_NAMED_GROUPS else ""
    )
