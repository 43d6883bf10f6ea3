"""Who has read what, as the contract's JSON."""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.api import models
from sidecar.domain.json_safe import text
from sidecar.domain.ports.index import Flow
from sidecar.domain.position import Position
from sidecar.domain.timestamps import format_rfc3339
from sidecar.pipeline.consumer_groups.progress import GroupPartitionProgress, GroupStop
from sidecar.pipeline.consumer_groups.tracker import ConsumerGroupTracker, GroupConsumption, TrackedGroup

MOST_EVENTS = 2_000
"""Events of a flow that are looked at one by one."""
MOST_STOPS = 20
"""Stopped groups that the status names."""


def add(event: models.EventModel, position: Position, follower: ConsumerGroupTracker) -> None:
    """Say in `event`, which lies at `position`, what each group did with it, where that was looked at."""
    looked = follower.looked.get(position.system)
    if looked is not None:
        event.delivery, event.delivery_at = _delivery(follower.of(position)), format_rfc3339(looked)


def _delivery(groups: Sequence[GroupConsumption]) -> list[models.DeliveryModel]:
    return [
        models.DeliveryModel(
            group=text(group.group),
            passed=group.passed,
            passed_after=format_rfc3339(group.after),
            passed_at=format_rfc3339(group.by),
            behind=group.behind,
            deliveries=group.deliveries,
            stopped=None if group.stop is None else _stop(group.stop),
        )
        for group in groups
    ]


def flow_delivery(flow: Flow, follower: ConsumerGroupTracker) -> list[models.FlowDeliveryModel] | None:
    """How much of a flow each group has passed, by name; None for a flow that is too long to look through, and
    before the first look."""
    if len(flow.nodes) > MOST_EVENTS or not follower.looked:
        return None
    found: dict[str, models.FlowDeliveryModel] = {}
    readers: dict[tuple[str, str], list[TrackedGroup]] = {}
    for node in flow.nodes:
        position = node.event.position
        stream = position.system, position.stream
        if stream not in readers:
            readers[stream] = follower.readers(*stream)
        for reading in readers[stream]:
            one = found.setdefault(reading.group, models.FlowDeliveryModel(group=text(reading.group)))
            passed = reading.passed(position)
            one.events += 1
            one.passed += passed is True
            if passed is False and one.next is None:
                one.next = str(position)
    return [found[group] for group in sorted(found)]


def groups(follower: ConsumerGroupTracker) -> models.GroupPage:
    """Every group that is followed."""
    return models.GroupPage(
        items=[_group(reading) for reading in follower.groups()],
        looked_at=format_rfc3339(follower.looked_at),
        note=follower.note,
    )


def stopped(follower: ConsumerGroupTracker) -> list[str]:
    """A sentence for each group that stands still."""
    return [
        f"{text(reading.group)} stopped in front of {stop.position}: {stop.reason}"
        for reading in follower.groups()
        for stop in reading.stops
    ][:MOST_STOPS]


def _group(reading: TrackedGroup) -> models.GroupModel:
    streams = []
    for stream in sorted(reading.streams):
        of_stream = [one for partition, one in reading.partitions.items() if partition.stream == stream]
        streams.append(
            models.GroupStreamModel(
                stream=text(stream), partitions=len(of_stream), lag=_lag(of_stream), rate=_rate(of_stream)
            )
        )
    everything = list(reading.partitions.values())
    stops = reading.stops
    return models.GroupModel(
        group=text(reading.group),
        system=reading.system,
        members=reading.members,
        streams=streams,
        lag=_lag(everything),
        rate=_rate(everything),
        stuck_at=str(stops[0].position) if stops else None,
        stopped=[_stop(stop) for stop in stops],
    )


def _stop(stop: GroupStop) -> models.GroupStopModel:
    return models.GroupStopModel(position=str(stop.position), since=format_rfc3339(stop.since), reason=stop.reason)


def _lag(partitions: Sequence[GroupPartitionProgress]) -> int | None:
    known = [partition.seen.lag for partition in partitions if partition.seen.lag is not None]
    return sum(known) if len(known) == len(partitions) else None


def _rate(partitions: Sequence[GroupPartitionProgress]) -> float | None:
    known = [partition.rate for partition in partitions if partition.rate is not None]
    return round(sum(known), 1) if known else None
