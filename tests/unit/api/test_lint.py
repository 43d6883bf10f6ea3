"""Lint over the whole API: events are published, and findings come back redacted, as JSON and as SARIF."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sidecar.api import models
from sidecar.api.client.client import BadRequest
from sidecar.api.services.lint import LintService
from sidecar.api.services.lint_monitor import LintMonitor, LintTally
from sidecar.cli.output.sarif import to_sarif
from sidecar.runtime.insight_wiring import LintMetrics
from tests.support.api import READER, Sidecar, order, serving

SECRET = "ada@example.com"


async def _lint(sidecar: Sidecar, query: str = "") -> models.LintPage:
    async with sidecar.client(READER) as client:
        return await client.lint(query)


async def _pass_faults(sidecar: Sidecar) -> list[str]:
    """Publish an event with an email address, a valid event, and one that does not match its schema. Returns their
    positions."""
    bodies: list[Any] = [order(1, data={"email": SECRET}), order(2), order(9, data={"total": [1]})]
    return [str((await sidecar.pass_on(body)).event.position) for body in bodies]


async def test_findings_name_rule_subject_and_evidence(tmp_path: Path) -> None:
    async with serving(tmp_path / "token") as sidecar:
        positions = await _pass_faults(sidecar)
        page = await _lint(sidecar)
    by_rule = {finding.rule: finding for finding in page.items}
    assert by_rule["personal-data"].message.endswith("data.email")
    assert by_rule["personal-data"].evidence == positions[:1]
    assert by_rule["failing-events"].evidence == positions[2:]
    assert by_rule["failing-events"].severity == "error"
    assert (page.events, page.payloads) == (3, 3)
    assert {rule.name for rule in page.rules} == set(by_rule)
    assert SECRET not in repr(page)


async def test_a_query_chooses_the_events(tmp_path: Path) -> None:
    async with serving(tmp_path / "token") as sidecar:
        await _pass_faults(sidecar)
        assert "failing-events" not in {finding.rule for finding in (await _lint(sidecar, "-status:rejected")).items}
        assert (await _lint(sidecar, "stream:payments")).items == []
        with pytest.raises(BadRequest, match="leave out conditions on"):
            await _lint(sidecar, "body.data.email:x")


async def test_redacted_fields_and_silenced_findings_are_not_reported(tmp_path: Path) -> None:
    hidden = ["body:data.email", "body:aggregateId", "body:eventId"]
    async with serving(tmp_path / "token", redact=hidden, silenced=["failing-events:orders"]) as sidecar:
        await _pass_faults(sidecar)
        rules = {finding.rule for finding in (await _lint(sidecar)).items}
    assert not rules & {"personal-data", "failing-events", "missing-id", "id-with-different-bodies", "streams-disagree"}


async def test_a_limit_of_events_is_reported(tmp_path: Path) -> None:
    async with serving(tmp_path / "token") as sidecar:
        await _pass_faults(sidecar)
        service: LintService = sidecar.services.lint
        page = await service.findings("", max_events=2)
    assert page.events == 2
    assert page.coverage.note is not None
    assert "the newest 2 events" in page.coverage.note


async def test_sarif_has_a_rule_and_a_place_for_each_result(tmp_path: Path) -> None:
    async with serving(tmp_path / "token") as sidecar:
        await _pass_faults(sidecar)
        page = await _lint(sidecar)
    (run,) = to_sarif(page, "1.0")["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert len(run["results"]) == len(page.items)
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in ("error", "warning", "note")
        (location,) = result["locations"]
        assert location["physicalLocation"]["artifactLocation"]["uri"].startswith("events/")
        assert location["logicalLocations"][0]["fullyQualifiedName"]


async def test_findings_are_counted_by_one_member(tmp_path: Path) -> None:
    async with serving(tmp_path / "token") as sidecar:
        await _pass_faults(sidecar)
        tally, responsible = LintTally(), [True]
        monitor = LintMonitor(sidecar.services.lint, tally, 60, lambda: responsible[0])
        (instrument,) = LintMetrics(tally).instruments()
        assert list(instrument.read()) == []
        await monitor.count()
        points = {labels["rule"]: (count, labels["severity"]) for count, labels in instrument.read()}
        assert points["failing-events"] == (1, "error")
        assert points["cycle"] == (0, "error")
        responsible[0] = False
        await monitor.count()
        assert list(instrument.read()) == []
