"""Rules about schema versions and deprecated fields."""

from __future__ import annotations

from collections.abc import Iterable

from sidecar.domain.ports.index import Node
from sidecar.domain.timestamps import format_duration
from sidecar.insights.lint.evidence import Evidence, LintFinding, Severity
from sidecar.insights.lint.rule import LintContext, PayloadSample, RuleInfo

OLD_SCHEMA = RuleInfo(
    name="old-schema-version",
    severity=Severity.WARNING,
    summary="An old version of a schema is still produced long after a newer one.",
    reason="A producer was not deployed again, and consumers have to keep the code for the old form.",
    remedy="Deploy the producer that the finding names.",
)
DEPRECATED_FIELD = RuleInfo(
    name="deprecated-field",
    severity=Severity.NOTE,
    summary="A field that its schema marks as deprecated still has values.",
    reason="The field cannot be removed while producers fill it, and consumers may still read it.",
    remedy="Stop filling the field, or remove the mark. A field is marked by `deprecated` in its documentation or as "
    "a property of the field.",
)
OLD_VERSION_AFTER_S = 600.0
"""Time that both versions are produced beside each other from which the old one is reported: longer than a rollout."""


class SchemaVersionRule:
    """Compares the spans of time in which the versions of one subject were produced."""

    infos = (OLD_SCHEMA,)

    def __init__(self, old_version_after_s: float = OLD_VERSION_AFTER_S) -> None:
        self._old_version_after_s = old_version_after_s
        self._versions: dict[tuple[str, str], dict[int, tuple[Evidence, set[str]]]] = {}

    def observe(self, node: Node) -> None:
        event = node.event
        schema = event.schema
        if schema is None or schema.subject is None or schema.version is None or event.replay_of is not None:
            return
        subject = event.position.stream, schema.subject
        versions = self._versions.get(subject)
        if versions is None:
            versions = self._versions[subject] = {}
        seen = versions.get(schema.version)
        if seen is None:
            seen = versions[schema.version] = Evidence(), set()
        seen[0].add(event)
        if event.producer is not None:
            seen[1].add(event.producer)

    def findings(self, context: LintContext) -> Iterable[LintFinding]:
        for (stream, subject), versions in self._versions.items():
            newest = max(versions)
            began = versions[newest][0].first_ms
            for version, (evidence, producers) in versions.items():
                if version == newest or began is None or evidence.last_ms is None:
                    continue
                overlap_s = (evidence.last_ms - began) / 1000
                if overlap_s < self._old_version_after_s:
                    continue
                by = f" by {', '.join(sorted(producers)[:3])}" if producers else ""
                overlap = format_duration(round(overlap_s / 60) * 60 if overlap_s >= 60 else round(overlap_s))
                message = (
                    f"version {version} of {subject} is still produced{by}, {overlap} after version {newest} appeared"
                )
                yield OLD_SCHEMA.finding(message, evidence, subject=stream, stream=stream)


class DeprecatedFieldRule:
    """Looks for values in deprecated fields of sampled payloads."""

    infos = (DEPRECATED_FIELD,)

    def __init__(self) -> None:
        self._fields: dict[tuple[str, str | None, str], Evidence] = {}

    def observe_payload(self, sample: PayloadSample) -> None:
        event = sample.node.event
        for path in sample.deprecated_fields:
            if _has_value(sample.body, path.split(".")):
                self._fields.setdefault((event.position.stream, event.type, path), Evidence()).add(event)

    def findings(self, context: LintContext) -> Iterable[LintFinding]:
        for (stream, type, path), evidence in self._fields.items():
            message = f"the deprecated field {path} of {type or stream} still has values"
            yield DEPRECATED_FIELD.finding(message, evidence, subject=type or stream, stream=stream, type=type)


def _has_value(value: object, names: list[str]) -> bool:
    if isinstance(value, list):
        return any(_has_value(item, names) for item in value[:10])
    if not names:
        return value is not None and value not in ("", {}, [])
    return isinstance(value, dict) and _has_value(value.get(names[0]), names[1:])
