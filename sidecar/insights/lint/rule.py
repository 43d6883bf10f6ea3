"""The interface of a lint rule, and the data that rules check."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct

from sidecar.domain.ports.index import Flow, Node
from sidecar.insights.lint.evidence import Evidence, LintFinding, Severity


class RuleInfo(Struct, frozen=True, kw_only=True):
    """Name, severity and explanation of one rule. `docs/lint.md` is generated from it."""

    name: str
    """Name in findings and in `lint.ignore`, such as `missing-id`. It never changes."""
    severity: Severity
    summary: str
    """A sentence about the events that the rule reports."""
    reason: str
    """The problem that they cause."""
    remedy: str
    """The way to correct them, and when to silence the rule."""

    def finding(
        self, message: str, evidence: Evidence, *, subject: str, stream: str | None = None, type: str | None = None
    ) -> LintFinding:
        """Build a finding of this rule."""
        return LintFinding(
            rule=self.name,
            severity=self.severity,
            subject=subject,
            message=message,
            stream=stream,
            type=type,
            evidence=list(evidence.positions),
            count=evidence.count,
            first_seen=evidence.first_ms,
            last_seen=evidence.last_ms,
        )


class PayloadSample(Struct, frozen=True):
    """An event with its payload, which was read back from the broker."""

    node: Node
    headers: Mapping[str, str]
    """Redacted, names in lower case; of a repeated name the last value."""
    body: Any
    """Redacted. None where the record has no body."""
    size_bytes: int
    """Size of the record's value."""
    deprecated_fields: frozenset[str]
    """Paths of fields that the schema of the event marks as deprecated."""


COPIES = frozenset({"duplicate", "replayed", "rejected"})
"""Statuses of events that say nothing about the habits of their producer."""


class ConsumptionFacts(Struct, frozen=True):
    """Facts about consumption: which other consumer groups read the watched streams."""

    polled_systems: frozenset[str]
    """Brokers whose groups were polled; of the others nothing is known."""
    groups_by_stream: Mapping[tuple[str, str], Sequence[str]]
    """Names of the groups by broker and stream."""


class LintContext(Struct, frozen=True):
    """Facts beyond the events that rules may need, such as consumption and settings."""

    consumption: ConsumptionFacts
    complete_since: int | None
    """Milliseconds: every event that was appended from here on is among those that the rules saw. None: unknown."""


class LintRule(Protocol):
    """A check that sees each event, flow and payload once, and reports its findings at the end.

    Events come newest first. A rule keeps counts and positions, never bodies.
    """

    @property
    def infos(self) -> tuple[RuleInfo, ...]:
        """The rules (names) that this check reports."""

    def findings(self, context: LintContext) -> Iterable[LintFinding]:
        """Return the findings about everything that was observed."""


class EventRule(LintRule, Protocol):
    """A rule that looks at single events."""

    def observe(self, node: Node) -> None:
        """Check one event."""


class FlowRule(LintRule, Protocol):
    """A rule that looks at whole flows."""

    def observe_flow(self, flow: Flow) -> None:
        """Check one flow."""


class PayloadRule(LintRule, Protocol):
    """A rule that looks at sampled payloads."""

    def observe_payload(self, sample: PayloadSample) -> None:
        """Check one payload."""
