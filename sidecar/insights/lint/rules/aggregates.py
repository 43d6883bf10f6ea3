"""Rules about the events of one aggregate: their versions, their key and their partition."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from sidecar.domain.broker_traits import traits_of
from sidecar.domain.model import Event
from sidecar.domain.ports.index import Node
from sidecar.domain.position import Partition
from sidecar.insights.lint.evidence import Evidence, LintFinding, Severity
from sidecar.insights.lint.rule import LintContext, RuleInfo

VERSION_GAP = RuleInfo(
    name="version-gap",
    severity=Severity.ERROR,
    summary="Versions are missing in the sequence of an aggregate's events.",
    reason="An event was lost, or was published elsewhere: a state that is rebuilt from the stream is wrong.",
    remedy="Look for the missing event among the dead letters and in the producer's outbox.",
)
VERSION_REORDERED = RuleInfo(
    name="version-reordered",
    severity=Severity.ERROR,
    summary="A later version of an aggregate was appended before an earlier one.",
    reason="Consumers apply the events in the order of the stream and end with an old state.",
    remedy="Publish an aggregate's events from one place, one after another, with idempotence on and the aggregate's "
    "id as the key.",
)
WITHOUT_KEY = RuleInfo(
    name="aggregate-without-key",
    severity=Severity.WARNING,
    summary="Events of an aggregate have no key.",
    reason="The broker spreads them over all partitions, where their order is lost.",
    remedy="Use the aggregate's id as the record's key.",
)
SEVERAL_PARTITIONS = RuleInfo(
    name="aggregate-on-several-partitions",
    severity=Severity.WARNING,
    summary="The events of one aggregate are on several partitions of a stream.",
    reason="Order holds within a partition only: consumers see the events in any order.",
    remedy="Use the aggregate's id as the key, with one partitioner in all producers. After a change of the partition "
    "count the finding ends with the retention of the older events.",
)
MIN_SEQUENCE_EVENTS = 3
"""Events of an aggregate from which its versions can be told from a constant schema version."""
MIN_SEQUENCED_SHARE = 0.8
"""Share of a stream's aggregates whose versions must go up for the versions to count as sequences."""
MAX_VERSION_DIGITS = 15

_Aggregate = tuple[str | None, str]


class AggregateRule:
    """Collects the versions and partitions of each aggregate. Replays and duplicates are left out."""

    infos = VERSION_GAP, VERSION_REORDERED, WITHOUT_KEY, SEVERAL_PARTITIONS

    def __init__(self) -> None:
        self._versions: dict[_Aggregate, list[tuple[int, Event]]] = {}
        self._partitions: dict[tuple[str, str, str], int] = {}
        self._is_partitioned: dict[str, bool] = {}
        self._without_key: dict[tuple[str, str | None], Evidence] = {}
        self._spread: dict[str, Evidence] = {}

    def observe(self, node: Node) -> None:
        event = node.event
        id = event.aggregate_id
        if id is None or event.replay_of is not None or event.hop_of is not None or node.status == "duplicate":
            return
        position = event.position
        system, stream = position.system, position.stream
        is_partitioned = self._is_partitioned.get(system)
        if is_partitioned is None:
            is_partitioned = self._is_partitioned[system] = traits_of(system).partitioned
        if is_partitioned:
            partition = position.partition
            if event.key is None:
                self._without_key.setdefault((stream, event.type), Evidence()).add(event)
            elif self._partitions.setdefault((system, stream, id), partition) != partition:
                self._spread.setdefault(stream, Evidence()).add(event)
        version = event.version
        if version is not None and len(version) <= MAX_VERSION_DIGITS and version.isascii() and version.isdigit():
            aggregate = event.aggregate_type, id
            numbered = self._versions.get(aggregate)
            if numbered is None:
                numbered = self._versions[aggregate] = []
            numbered.append((int(version), event))

    def findings(self, context: LintContext) -> Iterable[LintFinding]:
        for (stream, type), evidence in self._without_key.items():
            message = f"{evidence.count:,} events on {stream} belong to an aggregate and have no key"
            yield WITHOUT_KEY.finding(message, evidence, subject=type or stream, stream=stream, type=type)
        for stream, evidence in self._spread.items():
            message = f"{evidence.count:,} events on {stream} are on another partition than others of their aggregate"
            yield SEVERAL_PARTITIONS.finding(message, evidence, subject=stream, stream=stream)
        yield from self._sequence_findings(context.complete_since)

    def _sequence_findings(self, since: int | None) -> Iterable[LintFinding]:
        sequenced = self._list_sequenced_streams()
        gaps: dict[str, Evidence] = {}
        reordered: dict[str, Evidence] = {}
        missing: dict[str, int] = {}
        for numbered in self._versions.values():
            events = [pair for pair in numbered if pair[1].position.stream in sequenced]
            if len(events) < 2:
                continue
            for after, count in _list_gaps(events, since):
                stream = after.position.stream
                gaps.setdefault(stream, Evidence()).add(after)
                missing[stream] = missing.get(stream, 0) + count
            for event in _list_reordered(events):
                reordered.setdefault(event.position.stream, Evidence()).add(event)
        for stream, evidence in gaps.items():
            message = (
                f"{missing[stream]:,} versions are missing before {evidence.count:,} events on {stream}: the event "
                "before them in their aggregate's sequence was never seen"
            )
            yield VERSION_GAP.finding(message, evidence, subject=stream, stream=stream)
        for stream, evidence in reordered.items():
            message = f"{evidence.count:,} events on {stream} were appended after a later version of their aggregate"
            yield VERSION_REORDERED.finding(message, evidence, subject=stream, stream=stream)

    def _list_sequenced_streams(self) -> frozenset[str]:
        """Return the streams on which versions number an aggregate's events instead of naming a schema."""
        judged: dict[str, list[bool]] = {}
        for numbered in self._versions.values():
            by_stream: dict[str, list[int]] = {}
            for version, event in numbered:
                by_stream.setdefault(event.position.stream, []).append(version)
            for stream, versions in by_stream.items():
                if len(versions) >= MIN_SEQUENCE_EVENTS:
                    judged.setdefault(stream, []).append(len(set(versions)) >= MIN_SEQUENCED_SHARE * len(versions))
        return frozenset(
            stream for stream, verdicts in judged.items() if sum(verdicts) >= MIN_SEQUENCED_SHARE * len(verdicts)
        )


def _list_gaps(numbered: list[tuple[int, Event]], since: int | None) -> Iterable[tuple[Event, int]]:
    """Yield each event before which versions are missing, with their number.

    Events before `since` are left out: what is missing beside them may have been evicted.
    """
    known = [pair for pair in numbered if since is None or pair[1].appended_at >= since]
    in_order = sorted(known, key=lambda pair: pair[0])
    for (before, _), (version, event) in pairwise(in_order):
        if version - before > 1:
            yield event, version - before - 1


def _list_reordered(numbered: list[tuple[int, Event]]) -> Iterable[Event]:
    """Yield each event that follows a later version of its aggregate on the same partition."""
    highest: dict[Partition, int] = {}
    for version, event in sorted(numbered, key=lambda pair: pair[1].position):
        log = event.position.log
        if version < highest.get(log, version):
            yield event
        else:
            highest[log] = version
