"""PromQL expressions of the shipped dashboard and alerts, and the metrics that they use."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import yaml

CHART = Path(__file__).parents[2] / "helm" / "tracecar"
_NAME = re.compile(r"\b(?:tracecar|messaging)_[a-z_]+")
LABELS = re.compile(r"\b(?:by|without|on|ignoring) ?\(([^)]*)\)|\{([^}]*)\}")
PARTS = re.compile(r"_(?:bucket|sum|count)$")


def metrics_of(expression: str) -> set[str]:
    """Return the names of the metrics in a PromQL expression."""
    assert expression.count("(") == expression.count(")")
    assert expression.count("{") == expression.count("}")
    return set(_NAME.findall(LABELS.sub("", expression)))


def promql_expressions() -> Iterator[tuple[str, str]]:
    """Yield each expression of the dashboard and the alerts, with its panel's title or its alert's name."""
    dashboard = json.loads((CHART / "dashboards" / "tracecar.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for group in yaml.safe_load((CHART / "rules" / "tracecar.yaml").read_text())["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]
