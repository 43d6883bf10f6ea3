"""The package as it is published: its metadata, the rules of chart-testing and of Artifact Hub, and its image."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from helm.package import changes, package
from tests.helm.charts import REDIS, container, helm, workload
from tests.servers import kubernetes, kubernetes_tools

REPOSITORY = "https://code.example.org/acme/tracecar"
IMAGE = "registry.example.org/acme/tracecar"
CLUSTER = ("--kube-version", kubernetes.VERSION)
REQUIRED_BY_CHART_TESTING = ("apiVersion", "name", "version", "home", "maintainers", "description")


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published chart's files."""
    folder = tmp_path_factory.mktemp("package")
    archive = package(REPOSITORY, IMAGE, "v0.1.0", folder, kubernetes_tools.program("helm"))
    with tarfile.open(archive) as files:
        files.extractall(folder, filter="data")
    return folder / "tracecar"


@pytest.fixture(scope="module")
def about(unpacked: Path) -> Any:
    return yaml.safe_load((unpacked / "Chart.yaml").read_text())


def test_it_has_what_chart_testing_and_artifact_hub_ask_for(unpacked: Path, about: Any) -> None:
    assert all(about.get(name) for name in REQUIRED_BY_CHART_TESTING)
    assert all(value is None or isinstance(value, str) for value in about["annotations"].values())
    assert about["sources"] == [REPOSITORY]
    assert about["maintainers"] == [{"name": "acme", "url": "https://code.example.org/acme"}]
    assert about["icon"].endswith("/v0.1.0/helm/tracecar/icon.svg")
    assert about["annotations"]["artifacthub.io/category"] in ("monitoring-logging", "streaming-messaging")
    for name in ("changes", "images", "links"):
        entries = yaml.safe_load(about["annotations"][f"artifacthub.io/{name}"])
        assert entries, name
    for change in yaml.safe_load(about["annotations"]["artifacthub.io/changes"]):
        assert change["kind"] in ("added", "changed", "deprecated", "removed", "fixed", "security")
        assert change["description"]
    for name in ("LICENSE", "README.md", "values.schema.json", "icon.svg"):
        assert (unpacked / name).is_file()


def test_it_renders_the_image_that_it_names(unpacked: Path, about: Any, tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump({"config": REDIS}))
    manifests = [one for one in yaml.safe_load_all(helm("template", "r", unpacked, "-f", values, *CLUSTER)) if one]
    (image,) = yaml.safe_load(about["annotations"]["artifacthub.io/images"])
    assert container(workload(manifests)["spec"]["template"]["spec"])["image"] == image["image"]


def test_the_values_of_chart_testing_install(unpacked: Path) -> None:
    files = sorted((unpacked / "ci").glob("*-values.yaml"))
    assert files
    for file in files:
        assert "0 chart(s) failed" in helm("lint", "--strict", unpacked, "-f", file)
        assert helm("template", "r", unpacked, "-f", file, *CLUSTER)


def test_changes_of_the_chart_come_from_the_changelog() -> None:
    unreleased = changes("Unreleased")
    assert unreleased
    assert all(not change["description"].startswith("Helm chart") for change in unreleased)
    assert changes("9.9.9") == []
