"""Validity of what the chart renders: generated files, the linter, values of releases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from helm import generate
from tests.helm.charts import (
    CHART,
    REDIS,
    container,
    helm,
    rendered,
    workload,
)
from tests.helm.matrix import MATRIX

RELEASES = sorted((Path(__file__).parent / "releases").glob("*/values.yaml"))


def test_generated_files_are_current():
    for file, text in generate.files().items():
        assert file.read_text("utf-8") == text, f"{file.name} is stale: run python -m helm.generate"


def test_every_value_is_documented():
    documented = {value.path for value in generate.values()}

    def leaves(path: str, value: Any) -> Any:
        if path in documented or not isinstance(value, dict):
            yield path
        else:
            for name, inner in value.items():
                yield from leaves(f"{path}.{name}" if path else name, inner)

    assert set(leaves("", yaml.safe_load((CHART / "values.yaml").read_text()))) == documented


def test_the_images_tag_is_the_charts_own_version():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    image = container(workload(rendered({"config": REDIS}))["spec"]["template"]["spec"])["image"]
    assert image == f"tracecar:{chart['appVersion']}"


@pytest.mark.parametrize("name", MATRIX)
def test_the_chart_passes_the_strict_linter(name, tmp_path):
    values = tmp_path / "values.yaml"
    values.write_text(json.dumps(MATRIX[name]))
    assert "0 chart(s) failed" in helm("lint", "--strict", CHART, "-f", values, "--kube-version", "1.34")


def test_the_chart_without_values_passes_the_strict_linter():
    assert "0 chart(s) failed" in helm("lint", "--strict", CHART)


@pytest.mark.parametrize("values", RELEASES, ids=[file.parent.name for file in RELEASES])
def test_the_values_of_each_release_still_render(values):
    """An upgrade with `--reuse-values` passes all values of the previous release."""
    old = yaml.safe_load(values.read_text())
    for name in ("redis", "kafka", "everything"):
        assert workload(rendered({**old, **MATRIX[name]}))["kind"] == "Deployment"
