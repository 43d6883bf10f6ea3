"""Rules about streams and types without consumers."""

from __future__ import annotations

from collections.abc import Iterable

from sidecar.domain.ports.index import Flow, Node
from sidecar.insights.lint.evidence import Evidence, LintFinding, Severity
from sidecar.insights.lint.rule import COPIES, LintContext, RuleInfo
from sidecar.insights.producer_name import name_producer

NOT_CONSUMED = RuleInfo(
    name="stream-without-consumer",
    severity=Severity.NOTE,
    summary="No consumer group consumes a stream on which events arrive.",
    reason="Events are stored that no service uses, or a consumer was lost unnoticed.",
    remedy="Start the consumer, or stop the producer. A consumer that commits no offsets cannot be seen: silence the "
    "rule for its stream.",
)
TYPE_NOT_CONSUMED = RuleInfo(
    name="type-without-consumer",
    severity=Severity.NOTE,
    summary="Each group that consumes a stream reacts to other types of it, and none of them to this one.",
    reason="Every consumer reads and skips these events, or the one that used them was lost unnoticed.",
    remedy="Stop publishing the type, or add the consumer. The rule looks at the events that a group publishes in "
    "answer; where a group handles the type without publishing anything, silence the rule for the type.",
)
MIN_TYPE_EVENTS = 10
"""Events of a type without any effect from which it is reported."""


class ConsumptionRule:
    """Compares the streams that have events with the groups that the broker knows."""

    infos = (NOT_CONSUMED,)

    def __init__(self) -> None:
        self._streams: dict[tuple[str, str], tuple[Evidence, set[str]]] = {}

    def observe(self, node: Node) -> None:
        event = node.event
        position = event.position
        stream = position.system, position.stream
        seen = self._streams.get(stream)
        if seen is None:
            seen = self._streams[stream] = Evidence(), set()
        seen[0].add(event)
        if event.type is not None:
            seen[1].add(event.type)

    def findings(self, context: LintContext) -> Iterable[LintFinding]:
        for (system, stream), (evidence, types) in self._streams.items():
            if system not in context.consumption.polled_systems:
                continue
            if context.consumption.groups_by_stream.get((system, stream)):
                continue
            names = sorted(types)
            listed = ", ".join(names[:5]) + (f" and {len(names) - 5} more types" if len(names) > 5 else "")
            of_types = f" ({listed})" if names else ""
            message = f"no consumer group consumes {stream}{of_types}: {evidence.count:,} events"
            yield NOT_CONSUMED.finding(message, evidence, subject=stream, stream=stream)


class ReactionRule:
    """Compares the types of each stream with those that its consumer groups react to by events of their own.

    A group reacts to an event if a producer of the group's name states it as a cause. Streams with a group that was
    never seen to react are left out: such a group may use every type.
    """

    infos = (TYPE_NOT_CONSUMED,)

    def __init__(self) -> None:
        self._types: dict[tuple[str, str], dict[str, Evidence]] = {}
        self._reactions: dict[tuple[str, str], dict[str, set[str]]] = {}

    def observe_flow(self, flow: Flow) -> None:
        nodes = {node.event.position: node.event for node in flow.nodes}
        for node in flow.nodes:
            event = node.event
            if event.type is not None and node.status not in COPIES:
                stream = event.position.system, event.position.stream
                self._types.setdefault(stream, {}).setdefault(event.type, Evidence()).add(event)
            cause = None if node.parent is None or node.parent_inferred else nodes.get(node.parent)
            if cause is not None and cause.type is not None and event.producer is not None:
                stream = cause.position.system, cause.position.stream
                self._reactions.setdefault(stream, {}).setdefault(cause.type, set()).add(name_producer(event.producer))

    def findings(self, context: LintContext) -> Iterable[LintFinding]:
        for (system, stream), types in self._types.items():
            reactions = self._reactions.get((system, stream), {})
            groups = context.consumption.groups_by_stream.get((system, stream), ())
            reacting = {name for names in reactions.values() for name in names}
            if not groups or not reacting.issuperset(groups):
                continue
            for type, evidence in types.items():
                if type in reactions or evidence.count < MIN_TYPE_EVENTS:
                    continue
                message = (
                    f"{', '.join(sorted(groups)[:5])} consume {stream} and react to other types of it; no event is an "
                    f"effect of {evidence.count:,} events of type {type}"
                )
                yield TYPE_NOT_CONSUMED.finding(message, evidence, subject=type, stream=stream, type=type)
