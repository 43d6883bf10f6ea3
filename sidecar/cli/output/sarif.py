"""Lint findings as SARIF 2.1.0 (OASIS), which code-scanning tools read."""

from __future__ import annotations

from typing import Any

from sidecar.api import models

SCHEMA_URL = "https://json.schemastore.org/sarif-2.1.0.json"


def to_sarif(page: models.LintPage, version: str) -> dict[str, Any]:
    """Build a SARIF log with one run.

    Events have no files: a finding's location is its subject as a logical location, and `events/SUBJECT` as an
    artifact, without which some readers drop a result.
    """
    return {
        "$schema": SCHEMA_URL,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": {"name": "tracecar", "version": version, "rules": list(map(_rule, page.rules))}},
                "results": [_result(finding, page.rules) for finding in page.items],
            }
        ],
    }


def _rule(rule: models.LintRuleModel) -> dict[str, Any]:
    return {
        "id": rule.name,
        "shortDescription": {"text": rule.summary},
        "fullDescription": {"text": rule.reason},
        "help": {"text": rule.remedy},
        "defaultConfiguration": {"level": rule.severity},
    }


def _result(finding: models.LintFindingModel, rules: list[models.LintRuleModel]) -> dict[str, Any]:
    return {
        "ruleId": finding.rule,
        "ruleIndex": next(index for index, rule in enumerate(rules) if rule.name == finding.rule),
        "level": finding.severity,
        "message": {"text": finding.message},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": f"events/{_uri_path(finding.stream or finding.subject)}"},
                    "region": {"startLine": 1},
                },
                "logicalLocations": [
                    {"name": finding.subject, "fullyQualifiedName": _full_name(finding), "kind": "resource"}
                ],
            }
        ],
        "partialFingerprints": {"tracecar/v1": f"{finding.rule}:{_full_name(finding)}"},
        "occurrenceCount": max(1, finding.count),
        "properties": {
            "evidence": finding.evidence,
            "firstSeen": finding.first_seen,
            "lastSeen": finding.last_seen,
        },
    }


def _full_name(finding: models.LintFindingModel) -> str:
    return "/".join(dict.fromkeys(part for part in (finding.stream, finding.type, finding.subject) if part))


def _uri_path(name: str) -> str:
    from urllib.parse import quote

    return quote(name, safe="")
