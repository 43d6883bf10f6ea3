"""Dry run of a replay: the records it would send, their targets and receivers, and the result of the checks now."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from sidecar.dead_letters.grouping import affected_aggregate
from sidecar.dead_letters.reader import LetterSource
from sidecar.domain.errors import TracecarError
from sidecar.domain.model import Outgoing, Rejection
from sidecar.domain.ports.index import Node
from sidecar.domain.stream_names import StreamNames
from sidecar.domain.timestamps import format_rfc3339
from sidecar.pipeline.consumer_groups.tracker import ConsumerGroupTracker, TrackedGroup
from sidecar.replay.models import CheckResult, ReplayPlan, ReplayReceiver, ReplayRequest, ReplayTarget
from sidecar.replay.selection import ReplayCandidate, ReplaySelection
from sidecar.replay.step_planner import ReplayItem, StepPlanner

MAX_CHECKED_LETTERS = 500
"""Letters to read and check. The others are assumed to be similar."""
MAX_FAILURE_KINDS = 50
"""Kinds of failures to distinguish."""
MAX_AGGREGATES = 300
"""Aggregates to check for later events."""


class AggregateIndex(Protocol):
    """The part of the index that finds later events of an aggregate."""

    async def aggregate(self, id: str, limit: int = 1000) -> list[Node]: ...


RecordCheck = Callable[[Sequence[Outgoing]], Awaitable[Sequence[Rejection | None]]]
"""Function that decodes and validates records before they are sent. Returns a rejection or None for each."""


async def plan_letters(
    source: LetterSource,
    selection: ReplaySelection,
    request: ReplayRequest,
    planner: StepPlanner,
    tracker: ConsumerGroupTracker,
    check_records: RecordCheck,
    index: AggregateIndex,
    *,
    names: bool = True,
) -> ReplayPlan:
    """Plan the replay of a selection, without changing anything.

    `names`: True if warnings may contain aggregate ids. Raises Outage, Refused.
    """
    candidates = selection.candidates
    skipped = dict(selection.left_out)
    free: list[ReplayCandidate] = []
    passed_by: dict[tuple[str, str], int] = {}
    for candidate in candidates:
        why = planner.find_hold_reason(candidate.letter, candidate.groups)
        if why is None:
            free.append(candidate)
            continue
        skipped[why] = skipped.get(why, 0) + 1
        for group in planner.passed_by(candidate.letter, candidate.groups):
            reader = group, target_of(candidate, request)
            passed_by[reader] = passed_by.get(reader, 0) + 1
    items = await planner.items([free_candidate.ref for free_candidate in free[:MAX_CHECKED_LETTERS]])
    passes, fails, unsendable = await _check_items(items, check_records)
    for why, count in unsendable.items():
        skipped[why] = skipped.get(why, 0) + count
    warnings = [
        *selection.list_notes(force=request.force),
        *describe_missing(selection),
        *await _list_warnings(source, free, request, index, names),
    ]
    warnings += _list_item_warnings(items)
    if tracker.note is not None:
        warnings.append(f"consumer groups: {tracker.note}")
    targets = await _count_targets(source, free, request)
    warnings += [
        f"there is no stream {target.stream}: create it first, or choose another with --to"
        for target in targets
        if not target.exists
    ]
    return ReplayPlan(
        selected=len(candidates),
        sendable=len(free) - sum(unsendable.values()),
        skipped=skipped,
        targets=targets,
        receivers=_list_receivers(source, free, passed_by, request, tracker),
        passes=passes,
        fails=fails,
        looked_at=len(items),
        warnings=list(dict.fromkeys(warnings)),
        changes=list(next((item.changes for item in items if item.changes), ())),
    )


async def plan_range(
    source: LetterSource, request: ReplayRequest, count: int, tracker: ConsumerGroupTracker
) -> ReplayPlan:
    """Plan the replay of a range of events, without changing anything."""
    assert request.to is not None
    exists = bool(await source.broker.partitions(request.to))
    warnings = [] if exists else [f"there is no stream {request.to}: create it first, or choose another"]
    if exists and not await _is_watched(source, request.to):
        warnings.append(f"{request.to} is not a watched stream: its consumer groups are unknown here")
    if tracker.note is not None:
        warnings.append(f"consumer groups: {tracker.note}")
    return ReplayPlan(
        selected=count,
        sendable=count,
        skipped={},
        targets=[ReplayTarget(stream=request.to, count=count, exists=exists)],
        receivers=[
            ReplayReceiver(group=reading.group, stream=request.to, lag=_lag(reading, request.to))
            for reading in tracker.readers(source.broker.system, request.to)
        ],
        passes=0,
        fails=[],
        looked_at=0,
        warnings=warnings,
    )


def target_of(candidate: ReplayCandidate, request: ReplayRequest) -> str:
    return request.to or candidate.letter.stream


async def _count_targets(
    source: LetterSource, free: Sequence[ReplayCandidate], request: ReplayRequest
) -> list[ReplayTarget]:
    counts: dict[str, int] = {}
    for candidate in free:
        stream = target_of(candidate, request)
        counts[stream] = counts.get(stream, 0) + 1
    return [
        ReplayTarget(stream=stream, count=count, exists=bool(await source.broker.partitions(stream)))
        for stream, count in sorted(counts.items(), key=lambda candidate: -candidate[1])
    ]


def _list_receivers(
    source: LetterSource,
    free: Sequence[ReplayCandidate],
    passed_by: Mapping[tuple[str, str], int],
    request: ReplayRequest,
    tracker: ConsumerGroupTracker,
) -> list[ReplayReceiver]:
    """List the groups that read a target, and the groups because of which letters are left out.

    `passed_by` counts the letters left out by group and stream.
    """
    receivers: list[ReplayReceiver] = []
    for stream in dict.fromkeys(
        [*(target_of(candidate, request) for candidate in free), *(stream for _, stream in passed_by)]
    ):
        for reading in tracker.readers(source.broker.system, stream):
            receiver = ReplayReceiver(group=reading.group, stream=stream, lag=_lag(reading, stream))
            receiver.kept_back = passed_by.get((reading.group, stream), 0)
            for candidate in free:
                origin = candidate.letter.origin
                if origin is None or origin.stream != stream:
                    continue
                passed = reading.has_consumed(origin)
                receiver.passed += passed is True
                receiver.not_passed += passed is False
                receiver.unknown += passed is None
            receivers.append(receiver)
    return receivers


def _lag(reading: TrackedGroup, stream: str) -> int | None:
    """Return the lag of a group on one stream; None if the server does not tell."""
    lags = [partition.latest.lag for log, partition in reading.partitions.items() if log.stream == stream]
    known = [lag for lag in lags if lag is not None]
    return sum(known) if len(known) == len(lags) else None


async def _check_items(
    items: Sequence[ReplayItem], check_records: RecordCheck
) -> tuple[int, list[CheckResult], dict[str, int]]:
    """Count the items that pass, and collect the failures and the reasons why others cannot be sent."""
    unsendable: dict[str, int] = {}
    ready = [item for item in items if item.outgoing is not None]
    for item in items:
        if item.fail is not None:
            unsendable[item.fail] = unsendable.get(item.fail, 0) + 1
    passes, kinds = 0, dict[tuple[str, str | None], CheckResult]()
    rejections = await check_records([item.outgoing for item in ready if item.outgoing is not None])
    for item, rejection in zip(ready, rejections, strict=True):
        if rejection is None:
            passes += 1
            continue
        kind = rejection.code, rejection.path
        check = kinds.get(kind)
        if check is not None:
            check.count += 1
        elif len(kinds) < MAX_FAILURE_KINDS:
            kinds[kind] = CheckResult(
                code=rejection.code,
                message=rejection.message,
                path=rejection.path,
                count=1,
                example=item.ref.ids[-1],
            )
    return passes, sorted(kinds.values(), key=lambda check: -check.count), unsendable


def _list_item_warnings(items: Sequence[ReplayItem]) -> list[str]:
    """List the different warnings about single letters, each with the number of letters."""
    counts: dict[str, int] = {}
    for item in items:
        if item.warning is not None:
            counts[item.warning] = counts.get(item.warning, 0) + 1
    return [f"{count} of the letters: {warning}" for warning, count in counts.items()]


def describe_missing(selection: ReplaySelection) -> list[str]:
    """Return a warning about ids that no stream has; nothing if all exist."""
    if not selection.missing:
        return []
    some = ", ".join(selection.missing[:3]) + (" …" if len(selection.missing) > 3 else "")
    return [f"{len(selection.missing)} of the ids belong to no existing dead letter: {some}"]


async def _list_warnings(
    source: LetterSource, free: Sequence[ReplayCandidate], request: ReplayRequest, index: AggregateIndex, names: bool
) -> list[str]:
    warnings: list[str] = []
    since = await _find_overtaken(free, index)
    if since:
        some = f" ({', '.join(since[:3])}{' …' if len(since) > 3 else ''})" if names else ""
        have = "aggregate has" if len(since) == 1 else "aggregates have"
        warnings.append(
            f"{len(since)} {have} later events on the same stream: the replayed records come after them{some}"
        )
    if request.to is not None and not await _is_watched(source, request.to):
        warnings.append(f"{request.to} is not a watched stream: its consumer groups are unknown here")
    if request.group is not None:
        warnings.append(
            f"intended for {request.group}: the other groups receive it too, and skip it only if they check the header "
            "tracecar.replay-group"
        )
    warnings += await warn_of_fewer_partitions(source, free, request)
    begun = await _find_ledger_start(source, free)
    before = sum(
        1
        for candidate in free
        if begun is not None and candidate.letter.replays and candidate.letter.appended_at < begun
    )
    if before and begun is not None:
        warnings.append(
            f"{before} of these letters come from replays before the ledger began ({format_rfc3339(begun * 1000)}): an "
            "earlier ledger was deleted, so letters that it recorded as replayed are open again"
        )
    return warnings


async def warn_of_fewer_partitions(
    source: LetterSource, free: Sequence[ReplayCandidate], request: ReplayRequest
) -> list[str]:
    """Return warnings about targets that cannot keep letters in their original partitions. Raises Outage, Refused."""
    most: dict[str, int] = {}
    for candidate in free:
        if candidate.letter.origin is not None:
            target = target_of(candidate, request)
            most[target] = max(most.get(target, 0), candidate.letter.origin.partition + 1)
    warnings: list[str] = []
    for target, needed in list(most.items())[:MAX_FAILURE_KINDS]:
        there = len(await source.broker.partitions(target))
        if 0 < there < needed:
            warnings.append(
                f"{target} has {there} partition{'s' if there > 1 else ''}, and these letters come from {needed} or "
                "more: those with the same key stay in order, others do not"
            )
    return warnings


async def _find_overtaken(free: Sequence[ReplayCandidate], index: AggregateIndex) -> list[str]:
    """Find aggregates with later valid events on the same stream."""
    overtaken: list[str] = []
    first: dict[str, ReplayCandidate] = {}
    for candidate in free:
        aggregate = affected_aggregate(candidate.letter)
        if aggregate is not None and candidate.letter.origin is not None and len(first) < MAX_AGGREGATES:
            first.setdefault(aggregate, candidate)
    for aggregate, candidate in first.items():
        origin = candidate.letter.origin
        assert origin is not None
        for node in await index.aggregate(aggregate):
            at = node.event.position
            if node.event.rejection is None and at.log == origin.log and at.offset > origin.offset:
                overtaken.append(aggregate)
                break
    return overtaken


async def _is_watched(source: LetterSource, stream: str) -> bool:
    return any(status.partition.stream == stream for status in await source.broker.status())


async def _find_ledger_start(source: LetterSource, free: Sequence[ReplayCandidate]) -> int | None:
    streams = dict.fromkeys(
        (candidate.letter.origin or candidate.letter.position).stream for candidate in free if candidate.letter.replays
    )
    moments: list[int] = []
    for stream in list(streams)[:20]:
        try:
            begun = await source.broker.ledger.ledger_started_at(stream)
        except TracecarError:
            continue
        if begun is not None:
            moments.append(begun)
    return max(moments, default=None)


def refuse_target(to: str | None, naming: StreamNames) -> str | None:
    """Return the reason why nothing may be sent to this stream; None if it is allowed."""
    if to is not None and naming.is_dead_letter(to):
        return f"{to} is a dead-letter stream, or the ledger: name an ordinary stream"
    return None
