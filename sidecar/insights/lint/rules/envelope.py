"""Rules about what every event should carry: id, time, version and type."""

from __future__ import annotations

from collections.abc import Iterable

from sidecar.domain.model import Event
from sidecar.domain.ports.index import Node
from sidecar.insights.lint.evidence import Evidence, LintFinding, Severity, count_events
from sidecar.insights.lint.rule import LintContext, RuleInfo

MISSING_ID = RuleInfo(
    name="missing-id",
    severity=Severity.WARNING,
    summary="Events have no id.",
    reason="Without an id a consumer cannot recognize an event that is delivered twice, and no person can refer to it.",
    remedy="Set the header `ce_id` (CloudEvents) or `event-id`, or name the place in `envelope.event_id`.",
)
MISSING_TIME = RuleInfo(
    name="missing-time",
    severity=Severity.WARNING,
    summary="Events do not say when they occurred.",
    reason="The broker's time is the time of publication. After an outage or a replay it says nothing about the fact.",
    remedy="Set the header `ce_time` or a field `occurredAt`, or name the place in `envelope.occurred_at`.",
)
MISSING_VERSION = RuleInfo(
    name="missing-version",
    severity=Severity.NOTE,
    summary="Events carry neither a version nor a registered schema.",
    reason="A consumer cannot tell which form of the event it has when the form changes.",
    remedy="Register a schema, set the header `event-version`, or name the place in `envelope.version`.",
)
MISSING_TYPE = RuleInfo(
    name="missing-type",
    severity=Severity.WARNING,
    summary="Events do not say what they are.",
    reason="A consumer has to guess the meaning from the fields that happen to be there.",
    remedy="Set the header `ce_type` or `event-type`, or name the place in `envelope.type`.",
)


class EnvelopeRule:
    """Counts events that lack a field, by stream and type.

    Rejected events are left out, because what could not be decoded lacks everything; so are tombstones.
    """

    infos = MISSING_ID, MISSING_TIME, MISSING_VERSION, MISSING_TYPE

    def __init__(self, hidden_fields: frozenset[str] = frozenset()) -> None:
        """Create the rule. `hidden_fields`: fields of an event that are redacted, and cannot be judged."""
        self._judges_id = "event_id" not in hidden_fields
        self._judges_type = "type" not in hidden_fields
        self._judges_version = "version" not in hidden_fields
        self._judges_time = "occurred_at" not in hidden_fields
        self._totals: dict[tuple[str, str | None], int] = {}
        self._missing: dict[tuple[str, str, str | None], Evidence] = {}

    def observe(self, node: Node) -> None:
        event = node.event
        if event.rejection is not None or not event.digest:
            return
        kind = (event.position.stream, event.type)
        self._totals[kind] = self._totals.get(kind, 0) + 1
        if event.event_id is None and self._judges_id:
            self._miss(MISSING_ID, event)
        if event.occurred_at is None and self._judges_time:
            self._miss(MISSING_TIME, event)
        if event.version is None and event.schema is None and self._judges_version:
            self._miss(MISSING_VERSION, event)
        if event.type is None and self._judges_type:
            self._miss(MISSING_TYPE, event)

    def _miss(self, info: RuleInfo, event: Event) -> None:
        key = info.name, event.position.stream, event.type
        evidence = self._missing.get(key)
        if evidence is None:
            evidence = self._missing[key] = Evidence()
        evidence.add(event)

    def findings(self, context: LintContext) -> Iterable[LintFinding]:
        by_name = {info.name: info for info in self.infos}
        fields = {
            "missing-id": "an id",
            "missing-time": "a time",
            "missing-version": "a version",
            "missing-type": "a type",
        }
        for (name, stream, type), evidence in self._missing.items():
            total = self._totals[stream, type]
            what = f"{evidence.count:,} of {total:,} events" if evidence.count < total else f"all {count_events(total)}"
            of_type = "" if type is None else f" of type {type}"
            yield by_name[name].finding(
                f"{what}{of_type} on {stream} lack {fields[name]}",
                evidence,
                subject=type or stream,
                stream=stream,
                type=type,
            )
