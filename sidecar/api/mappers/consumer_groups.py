"""Progress of consumer groups as JSON models."""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.api import models
from sidecar.domain.json_safe import to_text
from sidecar.domain.ports.index import Flow
from sidecar.domain.position import Position
from sidecar.domain.timestamps import format_rfc3339
from sidecar.pipeline.consumer_groups.progress import GroupPartitionProgress, GroupStop
from sidecar.pipeline.consumer_groups.tracker import ConsumerGroupTracker, GroupConsumption, TrackedGroup

MAX_EVENTS_PER_FLOW = 2_000
"""Largest flow that is returned with the progress of consumer groups."""
MAX_STOPS_IN_STATUS = 20


def add_delivery(event: models.EventModel, position: Position, tracker: ConsumerGroupTracker) -> None:
    """Add the consumption by consumer groups to an event, if the groups of its broker were polled."""
    polled = tracker.polled_at.get(position.system)
    if polled is not None:
        event.delivery, event.delivery_at = (
            _delivery(tracker.consumption(position), tracker.now),
            format_rfc3339(polled),
        )


def _delivery(groups: Sequence[GroupConsumption], now: int) -> list[models.DeliveryModel]:
    return [
        models.DeliveryModel(
            group=to_text(group.group),
            passed=group.passed,
            passed_after=format_rfc3339(group.after),
            passed_at=format_rfc3339(group.by),
            behind=group.behind,
            deliveries=group.deliveries,
            stopped=None if group.stop is None else _stop(group.stop, now),
        )
        for group in groups
    ]


def flow_delivery(flow: Flow, tracker: ConsumerGroupTracker) -> list[models.FlowDeliveryModel] | None:
    """Count the events of a flow that each group consumed, by name of the group.

    Returns None for a flow of more than `MAX_EVENTS_PER_FLOW` events, and before the first poll of the groups.
    """
    if len(flow.nodes) > MAX_EVENTS_PER_FLOW or not tracker.polled_at:
        return None
    deliveries: dict[str, models.FlowDeliveryModel] = {}
    readers: dict[tuple[str, str], list[TrackedGroup]] = {}
    for node in flow.nodes:
        position = node.event.position
        stream = position.system, position.stream
        if stream not in readers:
            readers[stream] = tracker.readers(*stream)
        for group in readers[stream]:
            delivery = deliveries.setdefault(group.group, models.FlowDeliveryModel(group=to_text(group.group)))
            passed = group.has_consumed(position)
            delivery.events += 1
            delivery.passed += passed is True
            if passed is False and delivery.next is None:
                delivery.next = str(position)
    return [deliveries[group] for group in sorted(deliveries)]


def groups(tracker: ConsumerGroupTracker) -> models.GroupPage:
    """Build the page of all tracked groups."""
    return models.GroupPage(
        items=[_group(group, tracker.now) for group in tracker.groups()],
        looked_at=format_rfc3339(tracker.oldest_poll_at),
        note=tracker.note,
    )


def describe_stopped(tracker: ConsumerGroupTracker) -> list[str]:
    """Describe each group that stopped in one sentence."""
    return [
        f"{to_text(group.group)} stopped at {stop.position}: {stop.describe(tracker.now)}"
        for group in tracker.groups()
        for stop in group.stops
    ][:MAX_STOPS_IN_STATUS]


def list_consumers(tracker: ConsumerGroupTracker) -> dict[tuple[str, str], list[str]]:
    """Return the names of the groups that consume each stream, by broker and stream."""
    consumers: dict[tuple[str, str], list[str]] = {}
    for group in tracker.groups():
        for stream in group.streams:
            consumers.setdefault((group.system, stream), []).append(group.group)
    return consumers


def _group(group: TrackedGroup, now: int) -> models.GroupModel:
    streams = []
    for stream in sorted(group.streams):
        of_stream = [progress for partition, progress in group.partitions.items() if partition.stream == stream]
        streams.append(
            models.GroupStreamModel(
                stream=to_text(stream),
                partitions=len(of_stream),
                lag=_lag(of_stream),
                rate=_rate(of_stream),
                behind_s=_behind_s(of_stream, now),
            )
        )
    every_partition = list(group.partitions.values())
    stops = group.stops
    return models.GroupModel(
        group=to_text(group.group),
        system=group.system,
        members=group.members,
        streams=streams,
        lag=_lag(every_partition),
        rate=_rate(every_partition),
        stuck_at=str(stops[0].position) if stops else None,
        stopped=[_stop(stop, now) for stop in stops],
    )


def _stop(stop: GroupStop, now: int) -> models.GroupStopModel:
    return models.GroupStopModel(
        position=str(stop.position), since=format_rfc3339(stop.since), reason=stop.describe(now)
    )


def _lag(partitions: Sequence[GroupPartitionProgress]) -> int | None:
    known = [partition.latest.lag for partition in partitions if partition.latest.lag is not None]
    return sum(known) if len(known) == len(partitions) else None


def _behind_s(partitions: Sequence[GroupPartitionProgress], now: int) -> float | None:
    """Return the largest time that a record of these partitions waits; None if none is known."""
    known = [seconds for progress in partitions if (seconds := progress.behind_s(now)) is not None]
    return round(max(known), 1) if known else None


def _rate(partitions: Sequence[GroupPartitionProgress]) -> float | None:
    known = [partition.rate for partition in partitions if partition.rate is not None]
    return round(sum(known), 1) if known else None
