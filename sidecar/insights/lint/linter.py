"""The linter: runs all rules in one pass over the events."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sidecar.domain.ports.index import Flow, Node
from sidecar.domain.redaction import HIDDEN
from sidecar.insights.lint.evidence import LintFinding, Severity
from sidecar.insights.lint.rule import EventRule, FlowRule, LintContext, LintRule, PayloadRule, PayloadSample, RuleInfo
from sidecar.insights.lint.rules.aggregates import AggregateRule
from sidecar.insights.lint.rules.consumption import ConsumptionRule, ReactionRule
from sidecar.insights.lint.rules.envelope import EnvelopeRule
from sidecar.insights.lint.rules.failures import FailureRule
from sidecar.insights.lint.rules.flows import MAX_CHAIN_EVENTS, ChainRule, ClockRule, RequestReplyRule
from sidecar.insights.lint.rules.identity import IdentityRule
from sidecar.insights.lint.rules.payloads import PayloadGrowthRule, PersonalDataRule
from sidecar.insights.lint.rules.schemas import OLD_VERSION_AFTER_S, DeprecatedFieldRule, SchemaVersionRule
from sidecar.insights.lint.rules.type_names import NamingRule

_ORDER = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.NOTE: 2}


class Linter:
    """Passes each event, flow and payload to the rules for it, and collects their findings."""

    def __init__(
        self,
        *,
        max_chain: int = MAX_CHAIN_EVENTS,
        old_version_after_s: float = OLD_VERSION_AFTER_S,
        ignore: Sequence[str] = (),
        hidden_fields: frozenset[str] = frozenset(),
    ) -> None:
        """Create a linter.

        Args:
            max_chain: Length of the longest causal chain that is not reported.
            old_version_after_s: Time that an old schema version may be produced beside a newer one.
            ignore: Findings to leave out: `RULE`, `RULE:STREAM` or `RULE:TYPE`.
            hidden_fields: Fields of an event that are redacted; the linter does not see their values.
        """
        clock, failures, effects = ClockRule(), FailureRule(), ReactionRule()
        self._ignore = frozenset(ignore)
        self._event_rules: tuple[EventRule, ...] = (
            failures,
            EnvelopeRule(hidden_fields),
            IdentityRule(),
            AggregateRule(),
            NamingRule(),
            SchemaVersionRule(old_version_after_s),
            clock,
            ConsumptionRule(),
        )
        self._flow_rules: tuple[FlowRule, ...] = (ChainRule(max_chain), RequestReplyRule(), clock, effects)
        self._payload_rules: tuple[PayloadRule, ...] = (
            PayloadGrowthRule(),
            PersonalDataRule(HIDDEN),
            DeprecatedFieldRule(),
            failures,
        )

    @property
    def rules(self) -> Sequence[LintRule]:
        """All rules, each once."""
        return list(dict.fromkeys([*self._event_rules, *self._flow_rules, *self._payload_rules]))

    def observe(self, nodes: Iterable[Node]) -> None:
        """Check events against the rules for single events. Call it with newer events first."""
        observers = [rule.observe for rule in self._event_rules]
        for node in nodes:
            for observe in observers:
                observe(node)

    def observe_flow(self, flow: Flow) -> None:
        """Check a whole flow against the rules for flows."""
        for rule in self._flow_rules:
            rule.observe_flow(flow)

    def observe_payload(self, sample: PayloadSample) -> None:
        """Check a sampled payload against the rules for payloads."""
        for rule in self._payload_rules:
            rule.observe_payload(sample)

    def findings(self, context: LintContext) -> list[LintFinding]:
        """Return what the rules found and the configuration does not silence, the most serious first."""
        findings = [finding for rule in self.rules for finding in rule.findings(context)]
        audible = [finding for finding in findings if not self._is_ignored(finding)]
        return sorted(audible, key=lambda finding: (_ORDER[finding.severity], finding.rule, finding.subject))

    def _is_ignored(self, finding: LintFinding) -> bool:
        names = {finding.rule}
        names.update(
            f"{finding.rule}:{name}" for name in (finding.subject, finding.stream, finding.type) if name is not None
        )
        return not names.isdisjoint(self._ignore)


def list_rules() -> list[RuleInfo]:
    """Return all rules, sorted by name."""
    return sorted((info for rule in Linter().rules for info in rule.infos), key=lambda info: info.name)
