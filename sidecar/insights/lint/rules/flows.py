"""Rules about how events cause one another: long chains, cycles, requests that wait for replies, and clocks."""

from __future__ import annotations

import re
from collections.abc import Iterable
from statistics import median

from sidecar.domain.model import Event
from sidecar.domain.ports.index import Flow, Node
from sidecar.domain.position import Position
from sidecar.insights.lint.evidence import Evidence, LintFinding, Severity
from sidecar.insights.lint.rule import COPIES, LintContext, RuleInfo
from sidecar.insights.lint.type_grammar import type_words

LONG_CHAIN = RuleInfo(
    name="long-chain",
    severity=Severity.NOTE,
    summary="A chain of events that cause one another is longer than `lint.max_chain`.",
    reason="Each step adds delay and a place to fail, and no team owns the whole.",
    remedy="Let one service orchestrate the process, or publish the fact that the last service needs at the start.",
)
CYCLE = RuleInfo(
    name="cycle",
    severity=Severity.ERROR,
    summary="An event causes, over others, an event of its own type about the same aggregate.",
    reason="Nothing but luck ends such a loop: a change of a condition makes it run for ever.",
    remedy="Break the loop: let the service ignore events that its own events caused.",
)
REQUEST_REPLY = RuleInfo(
    name="synchronous-request-reply",
    severity=Severity.WARNING,
    summary="Requests over streams are answered at once, one reply for each: a remote call over a broker.",
    reason="The caller waits while it holds resources, and both services must run at the same time, so that the "
    "broker adds cost and no independence.",
    remedy="Call the other service directly, or let the caller go on when the reply's event arrives.",
)
CLOCK_SKEW = RuleInfo(
    name="clock-skew",
    severity=Severity.WARNING,
    summary="Producers' clocks disagree: an effect is earlier than its cause, or an event is from the future.",
    reason="A consumer that sorts by the time of occurrence sees the events in a wrong order.",
    remedy="Synchronize the clock of the producer that the finding names (NTP), and check the unit of its times.",
)
MAX_CHAIN_EVENTS = 10
MAX_SKEW_US = 1_000_000
"""Difference of two clocks that is not reported."""
MAX_SYNCHRONOUS_MS = 1_000.0
"""Median time to a reply up to which a request counts as synchronous."""
MIN_REPLIES = 3
"""Pairs of request and reply from which they count as a habit."""
_REQUEST_WORDS = frozenset({"request", "requested", "query", "rpc", "command", "ask"})
_REPLY_WORDS = frozenset({"reply", "replied", "response", "responded", "result", "answer", "answered"})
_REPLY_STREAM = re.compile(r"(?:^|[._:/-])(?:repl(?:y|ies)|responses?|answers?)(?:$|[._:/-])", re.IGNORECASE)


class ChainRule:
    """Follows the causes that events state, back to the first one. Inferred causes are ignored: they prove nothing."""

    infos = LONG_CHAIN, CYCLE

    def __init__(self, max_chain: int = MAX_CHAIN_EVENTS) -> None:
        self._max_chain = max_chain
        self._long: dict[str, tuple[Evidence, int]] = {}
        self._cycles: dict[str, tuple[Evidence, str]] = {}

    def observe_flow(self, flow: Flow) -> None:
        nodes = {node.event.position: node for node in flow.nodes}
        parents = {node.parent for node in flow.nodes if not node.parent_inferred}
        lengths: dict[Position, int] = {}
        for node in flow.nodes:  # parents precede their children
            is_effect = node.parent is not None and not node.parent_inferred
            length = 1 + (lengths.get(node.parent, 0) if node.parent is not None and is_effect else 0)
            lengths[node.event.position] = length
            if node.status in COPIES:
                continue
            if length > self._max_chain and node.event.position not in parents:
                self._add_long(node, length)
            if is_effect:
                self._find_cycle(node, nodes)

    def _add_long(self, node: Node, length: int) -> None:
        type = node.event.type or node.event.position.stream
        evidence, longest = self._long.get(type, (Evidence(), 0))
        evidence.add(node.event)
        self._long[type] = evidence, max(longest, length)

    def _find_cycle(self, node: Node, nodes: dict[Position, Node]) -> None:
        event, between = node.event, 0
        path = [event.type or event.position.stream]
        parent = node.parent
        while parent is not None and parent in nodes:
            ancestor = nodes[parent]
            path.append(ancestor.event.type or ancestor.event.position.stream)
            if between and _same_kind(ancestor.event, event):
                evidence, _ = self._cycles.setdefault(path[0], (Evidence(), " → ".join(reversed(path))))
                evidence.add(event)
                return
            between += 1
            if between > 100:
                return
            parent = None if ancestor.parent_inferred else ancestor.parent

    def findings(self, context: LintContext) -> Iterable[LintFinding]:
        for type, (evidence, longest) in self._long.items():
            message = f"{type} ends chains of up to {longest} events, more than {self._max_chain}"
            yield LONG_CHAIN.finding(message, evidence, subject=type, type=type)
        for type, (evidence, path) in self._cycles.items():
            yield CYCLE.finding(f"events cause one another in a circle: {path}", evidence, subject=type, type=type)


def _same_kind(first: Event, second: Event) -> bool:
    return (
        first.type is not None
        and first.type == second.type
        and first.position.stream == second.position.stream
        and first.aggregate_id == second.aggregate_id
    )


class RequestReplyRule:
    """Measures the time from requests to their replies."""

    infos = (REQUEST_REPLY,)

    def __init__(self) -> None:
        self._pairs: dict[tuple[str, str], tuple[Evidence, list[float]]] = {}

    def observe_flow(self, flow: Flow) -> None:
        nodes = {node.event.position: node.event for node in flow.nodes}
        for node in flow.nodes:
            request = nodes.get(node.parent) if node.parent is not None else None
            if request is None or node.status in COPIES or not _is_reply(request, node.event):
                continue
            key = request.type or "", node.event.type or node.event.position.stream
            evidence, latencies = self._pairs.setdefault(key, (Evidence(), []))
            evidence.add(node.event)
            latencies.append(float(node.event.appended_at - request.appended_at))

    def findings(self, context: LintContext) -> Iterable[LintFinding]:
        for (request, reply), (evidence, latencies) in self._pairs.items():
            usual = median(latencies)
            if len(latencies) >= MIN_REPLIES and usual <= MAX_SYNCHRONOUS_MS:
                message = (
                    f"{request} is answered by {reply} after {usual:.0f} ms (median of {len(latencies):,}): a call "
                    "that waits for its result"
                )
                yield REQUEST_REPLY.finding(message, evidence, subject=request, type=request)


def _is_reply(request: Event, reply: Event) -> bool:
    if request.type is None or not _REQUEST_WORDS.intersection(type_words(request.type)):
        return False
    is_named_so = reply.type is not None and bool(_REPLY_WORDS.intersection(type_words(reply.type)))
    return is_named_so or _REPLY_STREAM.search(reply.position.stream) is not None


class ClockRule:
    """Compares the times of causes and effects, and of events with the broker's clock."""

    infos = (CLOCK_SKEW,)

    def __init__(self) -> None:
        self._future: dict[tuple[str, str | None], tuple[Evidence, int]] = {}
        self._early: dict[tuple[str | None, str | None, str], tuple[Evidence, int]] = {}

    def observe(self, node: Node) -> None:
        event = node.event
        if event.occurred_at is None or event.replay_of is not None:
            return
        ahead = event.occurred_at - event.appended_at * 1000
        if ahead > MAX_SKEW_US:
            key = event.position.stream, event.producer
            evidence, most = self._future.get(key, (Evidence(), 0))
            evidence.add(event)
            self._future[key] = evidence, max(most, ahead)

    def observe_flow(self, flow: Flow) -> None:
        nodes = {node.event.position: node.event for node in flow.nodes}
        for node in flow.nodes:
            cause, event = nodes.get(node.parent) if node.parent is not None else None, node.event
            if cause is None or node.parent_inferred or cause.producer == event.producer or node.status in COPIES:
                continue
            if cause.occurred_at is None or event.occurred_at is None:
                continue
            behind = cause.occurred_at - event.occurred_at
            if behind > MAX_SKEW_US:
                key = cause.producer, event.producer, event.position.stream
                evidence, most = self._early.get(key, (Evidence(), 0))
                evidence.add(event)
                self._early[key] = evidence, max(most, behind)

    def findings(self, context: LintContext) -> Iterable[LintFinding]:
        for (stream, producer), (evidence, most) in self._future.items():
            by = "a producer" if producer is None else producer
            message = f"the clock of {by} on {stream} is up to {most / 1e6:,.1f} s ahead of the broker's"
            yield CLOCK_SKEW.finding(message, evidence, subject=stream, stream=stream)
        for (first, second, stream), (evidence, most) in self._early.items():
            message = (
                f"events of {second or 'a producer'} on {stream} occurred up to {most / 1e6:,.1f} s before the events "
                f"of {first or 'a producer'} that caused them"
            )
            yield CLOCK_SKEW.finding(message, evidence, subject=stream, stream=stream)
