"""A rule about failures: which producer, schema version and deployment a cause of rejections came with."""

from __future__ import annotations

from collections.abc import Iterable

from sidecar.domain.failure_fingerprint import normalize_message, without_indexes
from sidecar.domain.model import Event, SchemaRef
from sidecar.domain.ports.index import Node
from sidecar.domain.timestamps import format_rfc3339
from sidecar.insights.lint.evidence import Evidence, LintFinding, Severity, count_events
from sidecar.insights.lint.rule import LintContext, PayloadSample, RuleInfo

FAILING = RuleInfo(
    name="failing-events",
    severity=Severity.ERROR,
    summary="Events are rejected for one cause, with what they have in common: producer, schema version, deployment.",
    reason="Rejected events do not reach their consumers, or make them fail.",
    remedy="Correct the producer that the finding names, then replay the dead letters: `tracecar dlq groups`.",
)
DEPLOYMENT_HEADERS = (
    "service.version",
    "service-version",
    "app-version",
    "deployment",
    "x-deployment",
    "git-sha",
    "x-version",
    "build",
)
"""Headers in which producers state their deployment, in order of preference."""
_Cause = tuple[str, str, str | None, str]


TraitCounts = dict[tuple[str | None, SchemaRef | None], int]
"""Number of events by producer and schema."""


def _list_distinctive(failing: TraitCounts, passing: TraitCounts) -> list[str]:
    """Return what all failing events have, and no passing one."""
    if not passing:
        return []
    traits = []
    producers = {producer for producer, _ in failing}
    if len(producers) == 1 and (producer := next(iter(producers))) and all(other != producer for other, _ in passing):
        traits.append(f"the producer {producer}")
    versions = {_version(schema) for _, schema in failing}
    version = next(iter(versions)) if len(versions) == 1 else None
    if version is not None and all(_version(schema) != version for _, schema in passing):
        traits.append(version)
    return traits


def _version(schema: SchemaRef | None) -> str | None:
    return None if schema is None or schema.version is None else f"version {schema.version} of {schema.subject}"


class FailureProfile:
    """The events that one cause rejects."""

    __slots__ = ("evidence", "traits", "types")

    def __init__(self) -> None:
        self.evidence = Evidence()
        self.traits: TraitCounts = {}
        self.types: set[str | None] = set()

    def add(self, event: Event) -> None:
        """Add a rejected event."""
        self.evidence.add(event)
        kind = event.producer, event.schema
        self.traits[kind] = self.traits.get(kind, 0) + 1
        self.types.add(event.type)


class FailureRule:
    """Counts producers, schema versions and deployments of failing and of passing events."""

    infos = (FAILING,)

    def __init__(self) -> None:
        self._causes: dict[_Cause, FailureProfile] = {}
        self._passing: dict[str, TraitCounts] = {}
        self._deployments: dict[tuple[str, bool], dict[str, int]] = {}

    def observe(self, node: Node) -> None:
        event = node.event
        stream = event.position.stream
        rejection = event.rejection
        if rejection is None:
            passing = self._passing.get(stream)
            if passing is None:
                passing = self._passing[stream] = {}
            kind = event.producer, event.schema
            passing[kind] = passing.get(kind, 0) + 1
            return
        cause = stream, rejection.code, without_indexes(rejection.path), normalize_message(rejection.message)
        profile = self._causes.get(cause)
        if profile is None:
            profile = self._causes[cause] = FailureProfile()
        profile.add(event)

    def observe_payload(self, sample: PayloadSample) -> None:
        event = sample.node.event
        name = next((name for name in DEPLOYMENT_HEADERS if sample.headers.get(name)), None)
        if name is not None:
            counts = self._deployments.setdefault((event.position.stream, event.rejection is not None), {})
            label = f"{name} {sample.headers[name][:80]}"
            counts[label] = counts.get(label, 0) + 1

    def findings(self, context: LintContext) -> Iterable[LintFinding]:
        for (stream, code, path, _), profile in self._causes.items():
            passing = self._passing.get(stream, {})
            at = f" at {path}" if path else ""
            types = sorted(type for type in profile.types if type is not None)
            of_type = f" of type {', '.join(types[:3])}" if types else ""
            since = format_rfc3339(None if profile.evidence.first_ms is None else profile.evidence.first_ms * 1000)
            sentences = [
                f"{count_events(profile.evidence.count)}{of_type} on {stream} rejected: {code}{at}, since {since}"
            ]
            blamed = [*_list_distinctive(profile.traits, passing), *self._list_distinctive_deployments(stream)]
            if blamed:
                sentences.append(f"all of them, and no event that passes, have {' and '.join(blamed)}")
            yield FAILING.finding(
                "; ".join(sentences),
                profile.evidence,
                subject=types[0] if len(types) == 1 else stream,
                stream=stream,
                type=types[0] if len(types) == 1 else None,
            )

    def _list_distinctive_deployments(self, stream: str) -> list[str]:
        failing, passing = self._deployments.get((stream, True), {}), self._deployments.get((stream, False), {})
        return [next(iter(failing))] if len(failing) == 1 and not failing.keys() & passing.keys() else []
