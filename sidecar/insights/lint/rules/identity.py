"""Rules about ids: one id for one content."""

from __future__ import annotations

from collections.abc import Iterable

from sidecar.domain.ports.index import Node
from sidecar.domain.position import Position
from sidecar.insights.lint.evidence import Evidence, LintFinding, Severity
from sidecar.insights.lint.rule import LintContext, RuleInfo

ID_REUSED = RuleInfo(
    name="id-with-different-bodies",
    severity=Severity.ERROR,
    summary="One event id was published with different bodies on one stream.",
    reason="A consumer that drops duplicates by id keeps one of the bodies, and which one depends on the order.",
    remedy="Give each fact an id of its own; a retry must publish the same bytes again.",
)
STREAMS_DISAGREE = RuleInfo(
    name="streams-disagree",
    severity=Severity.WARNING,
    summary="Several streams carry one event id, or one version of an aggregate, with different contents.",
    reason="Consumers of the two streams believe different things about the same fact.",
    remedy="Publish a fact on one stream, or copy its bytes. Where the copies differ in form only, silence the rule "
    "for one of the streams.",
)


class IdentityRule:
    """Compares the contents of events that have the same id.

    Replays and the hops of retry topics are copies by design and are left out.
    """

    infos = ID_REUSED, STREAMS_DISAGREE

    def __init__(self) -> None:
        self._reused: dict[tuple[str, str | None], Evidence] = {}
        self._content: dict[str, tuple[Position, int, int]] = {}
        """Position, digest and append time of the earliest event with an id that was seen so far."""
        self._disagreeing: dict[tuple[str, str], Evidence] = {}

    def observe(self, node: Node) -> None:
        event = node.event
        if event.event_id is None or event.replay_of is not None or event.hop_of is not None:
            return
        stream = event.position.stream
        later = self._content.get(event.event_id)
        self._content[event.event_id] = event.position, event.digest, event.appended_at
        if later is None:
            return
        position, digest, appended_at = later
        if digest == event.digest:
            return
        if position.stream != stream:
            pair = (stream, position.stream) if stream < position.stream else (position.stream, stream)
            self._disagreeing.setdefault(pair, Evidence()).add(event)
        elif position.system == event.position.system:
            self._reused.setdefault((stream, event.type), Evidence()).add_at(position, appended_at)

    def findings(self, context: LintContext) -> Iterable[LintFinding]:
        for (stream, type), evidence in self._reused.items():
            message = f"{evidence.count:,} events on {stream} repeat an earlier event id with another body"
            yield ID_REUSED.finding(message, evidence, subject=type or stream, stream=stream, type=type)
        for (first, second), evidence in self._disagreeing.items():
            message = f"{first} and {second} carry {evidence.count:,} event ids with different contents"
            yield STREAMS_DISAGREE.finding(message, evidence, subject=first, stream=first)
