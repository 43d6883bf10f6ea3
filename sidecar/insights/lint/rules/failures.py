"""A rule about failures: which producer, schema version and deployment a cause of rejections came with."""

from __future__ import annotations

import re
from collections.abc import Iterable

from sidecar.domain.failure_fingerprint import normalize_message
from sidecar.domain.model import Event
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
_INDEX = re.compile(r"\[\d+\]")
_Cause = tuple[str, str, str | None, str]


class TraitCounts:
    """Counts the producers and the schema versions of events."""

    __slots__ = ("events", "producers", "schemas")

    def __init__(self) -> None:
        self.events = 0
        self.producers: dict[str | None, int] = {}
        self.schemas: dict[str | None, int] = {}

    def add(self, event: Event) -> None:
        """Count one event."""
        self.events += 1
        self.producers[event.producer] = self.producers.get(event.producer, 0) + 1
        schema = event.schema
        name = None if schema is None or schema.version is None else f"version {schema.version} of {schema.subject}"
        self.schemas[name] = self.schemas.get(name, 0) + 1

    def list_distinctive(self, others: TraitCounts) -> list[str]:
        """Return what all of these events have, and none of the others."""
        traits = []
        if len(self.producers) == 1 and (producer := next(iter(self.producers))) and producer not in others.producers:
            traits.append(f"the producer {producer}")
        if len(self.schemas) == 1 and (schema := next(iter(self.schemas))) and schema not in others.schemas:
            traits.append(schema)
        return traits if others.events else []


class FailureProfile:
    """The events that one cause rejects."""

    __slots__ = ("evidence", "traits", "types")

    def __init__(self) -> None:
        self.evidence, self.traits = Evidence(), TraitCounts()
        self.types: set[str | None] = set()

    def add(self, event: Event) -> None:
        """Add a rejected event."""
        self.evidence.add(event)
        self.traits.add(event)
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
            self._passing.setdefault(stream, TraitCounts()).add(event)
            return
        path = None if rejection.path is None else _INDEX.sub("[]", rejection.path)
        cause = stream, rejection.code, path, normalize_message(rejection.message)
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
            passing = self._passing.get(stream, TraitCounts())
            at = f" at {path}" if path else ""
            types = sorted(type for type in profile.types if type is not None)
            of_type = f" of type {', '.join(types[:3])}" if types else ""
            since = format_rfc3339(None if profile.evidence.first_ms is None else profile.evidence.first_ms * 1000)
            sentences = [
                f"{count_events(profile.evidence.count)}{of_type} on {stream} rejected: {code}{at}, since {since}"
            ]
            blamed = [*profile.traits.list_distinctive(passing), *self._list_distinctive_deployments(stream)]
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
