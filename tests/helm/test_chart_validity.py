"""Validity of what the chart renders: generated files, the linter, the schemas of Kubernetes and of operators."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from helm import generate
from tests.helm.charts import (
    CHART,
    POLICIES,
    REDIS,
    container,
    helm,
    rendered,
    workload,
)
from tests.helm.matrix import MATRIX, NEEDS_DEFINITIONS
from tests.servers import kubernetes_tools

VALIDATED = [f"1.{minor}" for minor in range(23, 31)]
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


def _write(file: Path, manifests: list[dict[str, Any]]) -> None:
    """Write the manifests that a cluster without operators knows and whose schemas the validator has."""
    later = ("MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding", *NEEDS_DEFINITIONS)
    file.write_text(yaml.safe_dump_all([one for one in manifests if one["kind"] not in later]))


@pytest.fixture(scope="module")
def everything(tmp_path_factory) -> Path:
    """All manifests of the matrix."""
    folder = tmp_path_factory.mktemp("rendered")
    for name, values in MATRIX.items():
        _write(folder / f"{name}.yaml", rendered(values, "--api-versions", POLICIES))
    return folder


@pytest.mark.parametrize("version", VALIDATED)
def test_the_manifests_are_valid_for_each_version_of_kubernetes(version, everything, umbrella, tmp_path):
    _write(tmp_path / "example.yaml", rendered({}, "--kube-version", version, chart=umbrella))
    validate = kubernetes_tools.program("kubectl-validate")
    done = subprocess.run(
        [validate, str(everything), str(tmp_path), "--version", version],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3_000:] + done.stderr[-3_000:]


@pytest.fixture(scope="module")
def operators(tmp_path_factory) -> Path:
    """The CustomResourceDefinitions of operators."""
    folder = tmp_path_factory.mktemp("definitions")
    for file in kubernetes_tools.definitions():
        shutil.copy(file, folder)
    return folder


def _validated(operators: Path, folder: Path, manifests: list[dict[str, Any]]) -> subprocess.CompletedProcess[str]:
    (folder / "all.yaml").write_text(yaml.safe_dump_all(manifests))
    command = [kubernetes_tools.program("kubectl-validate"), str(folder), "--local-crds", str(operators)]
    return subprocess.run([*command, "--version", "1.30"], capture_output=True, text=True, timeout=120, check=False)


def test_resources_of_operators_are_valid_by_their_definitions(operators, tmp_path):
    relabelled = {"relabelings": [{"sourceLabels": ["__address__"], "targetLabel": "at"}], "enabled": True}
    cases = [*MATRIX.items(), ("relabelled", {"config": REDIS, "serviceMonitor": relabelled})]
    made = [one for _, values in cases for one in rendered(values, "--api-versions", POLICIES)]
    made = [one for one in made if one["kind"] in NEEDS_DEFINITIONS]
    assert {one["kind"] for one in made} == set(NEEDS_DEFINITIONS)
    done = _validated(operators, tmp_path, made)
    assert done.returncode == 0, done.stdout[-3_000:] + done.stderr[-3_000:]
    made[0]["spec"]["selectors"] = {}
    done = _validated(operators, tmp_path, made)
    assert done.returncode != 0
    assert "selectors" in done.stdout + done.stderr


def test_the_validator_rejects_unknown_fields(everything, tmp_path):
    text = (everything / "redis.yaml").read_text()
    (tmp_path / "wrong.yaml").write_text(text.replace("automountServiceAccountToken", "automountServiceAccountTokens"))
    validate = kubernetes_tools.program("kubectl-validate")
    done = subprocess.run([validate, str(tmp_path), "--version", "1.30"], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "automountServiceAccountTokens" in done.stdout + done.stderr


@pytest.mark.parametrize("values", RELEASES, ids=[file.parent.name for file in RELEASES])
def test_the_values_of_each_release_still_render(values):
    """An upgrade with `--reuse-values` passes all values of the previous release."""
    old = yaml.safe_load(values.read_text())
    for name in ("redis", "kafka", "everything"):
        assert workload(rendered({**old, **MATRIX[name]}))["kind"] == "Deployment"
