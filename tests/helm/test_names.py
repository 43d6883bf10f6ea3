"""Names of any release: long ones, numbers, and what Kubernetes allows for each kind."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.helm.charts import REDIS, SHARED, Manifest, rendered, workload
from tests.helm.matrix import ON

SERVICE_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
LONG = "r" * 52
EVERYTHING = {"config": SHARED, "grafanaDashboard": ON, "serviceMonitor": ON, "keda": ON}


def _manifests(release: str, **values: Any) -> list[Manifest]:
    return rendered({**EVERYTHING, **values}, release=release)


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
@pytest.mark.parametrize("release", ["r", f"{LONG}a", "tracecar"])
def test_names_fit_whatever_the_release_is_called(release: str, kind: str) -> None:
    manifests = _manifests(release, workload=kind)
    for one in manifests:
        name = one["metadata"]["name"]
        assert len(name) <= 63
        if one["kind"] == "Service":
            assert SERVICE_NAME.fullmatch(name)
        if one["kind"] == "ScaledObject":
            assert len(name) <= 54  # KEDA names an autoscaler keda-hpa-NAME
            assert one["spec"]["scaleTargetRef"]["name"] == workload(manifests)["metadata"]["name"]
        for value in one["metadata"]["labels"].values():
            assert len(value) <= 63
    if kind == "StatefulSet":
        assert len(workload(manifests)["metadata"]["name"]) <= 52  # a label of its pods is NAME-HASH
        names = {one["metadata"]["name"] for one in manifests if one["kind"] == "Service"}
        assert workload(manifests)["spec"]["serviceName"] in names


def test_two_long_releases_never_share_an_object() -> None:
    for values in ({}, {"workload": "StatefulSet"}):
        first, second = (
            {(one["kind"], one["metadata"]["name"]) for one in _manifests(f"{LONG}{end}", **values)} for end in "ab"
        )
        assert not first & second


def test_numbers_stay_texts() -> None:
    values = {
        "config": {**REDIS, "service": "123"},
        "nameOverride": "123",
        "fullnameOverride": "x123",
        "serviceAccount": {"name": "456"},
        "existingSecret": "789",
        "commonLabels": {"a": "1", "b": "true", "c": "1e3", "d": "null"},
    }
    manifests = rendered(values, "--namespace", "123", release="1e3")
    for one in manifests:
        about = one["metadata"]
        texts = [about["name"], about["namespace"], *about["labels"].values(), *about.get("annotations", {}).values()]
        assert all(isinstance(text, str) for text in texts)
    pod = workload(manifests)["spec"]["template"]
    selector = workload(manifests)["spec"]["selector"]["matchLabels"]
    assert selector.items() <= pod["metadata"]["labels"].items()
    assert pod["spec"]["serviceAccountName"] == "456"
    (test,) = [one for one in manifests if one["kind"] == "Pod"]
    assert not selector.items() <= test["metadata"]["labels"].items()  # no Service selects the test
