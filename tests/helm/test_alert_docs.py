"""Every alert has its section in docs/alerts.md, which `runbook_url` links to."""

from __future__ import annotations

from pathlib import Path

import yaml

from tests.helm.charts import CHART

PAGE = Path(__file__).parents[2] / "docs" / "alerts.md"


def test_every_alert_is_explained_and_nothing_else() -> None:
    groups = yaml.safe_load((CHART / "rules" / "tracecar.yaml").read_text())["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"]}
    sections = {line.removeprefix("## ") for line in PAGE.read_text().splitlines() if line.startswith("## ")}
    assert sections == alerts
