"""Rendering the chart with the real Helm."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.servers import kubernetes, kubernetes_tools

HELM = Path(__file__).parents[2] / "helm"
CHART = HELM / "tracecar"
POLICIES = "admissionregistration.k8s.io/v1beta1/MutatingAdmissionPolicy"
REDIS = {"service": "shop", "sources": {"redis": {"url": "redis://valkey:6379/0", "streams": ["orders"]}}}
SHARED = {**REDIS, "index": {"redis": {"url": "redis://valkey:6379/1"}}}
KAFKA = {
    "service": "shop",
    "sources": {
        "kafka": {
            "bootstrap_servers": "kafka:9092",
            "topics": ["orders", "^payments\\..*"],
            "sasl": {"mechanism": "SCRAM-SHA-512", "username": "tracecar", "password": "${KAFKA_PASSWORD}"},
        }
    },
    "registry": {"directory": "/etc/tracecar/schemas"},
    "index": {"redis": {"url": "rediss://valkey:6379/1"}, "lookback": "15m"},
}

Manifest = dict[str, Any]


def helm(*arguments: str | Path, stdin: str = "", ok: bool = True) -> str:
    """Run Helm and return its output. With `ok=False` it must fail, and its error is returned."""
    done = subprocess.run(
        [kubernetes_tools.program("helm"), *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode == 0) == ok, f"{done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout if ok else done.stderr


def template(
    values: Mapping[str, Any], *arguments: str, chart: Path = CHART, ok: bool = True, release: str = "r"
) -> str:
    """Render the chart as text, for a release in the namespace `events`."""
    versions = ("--kube-version", kubernetes.VERSION) if "--kube-version" not in arguments else ()
    where = ("template", release, chart, "-n", "events", "-f", "-")
    if chart == CHART and "image" not in values:
        values = {"image": {"repository": "tracecar"}, **values}
        if "${" in json.dumps(values):  # references need a Secret or a variable
            values = {"existingSecret": "tracecar", **values}
        if "/etc/tracecar/schemas" in json.dumps(values):
            values = {"schemasConfigMap": "schemas", **values}
    return helm(*where, *versions, *arguments, stdin=json.dumps(values), ok=ok)


def attempted(values: Mapping[str, Any], *arguments: str, chart: Path = CHART) -> str:
    """Render a chart and return what Helm complains of, if it does."""
    command = [
        kubernetes_tools.program("helm"),
        "template",
        "r",
        str(chart),
        "-f",
        "-",
        "--kube-version",
        kubernetes.VERSION,
    ]
    done = subprocess.run(
        [*command, *arguments], input=json.dumps(values), capture_output=True, text=True, timeout=120, check=False
    )
    return done.stderr if done.returncode else ""


def rendered(values: Mapping[str, Any], *arguments: str, chart: Path = CHART, release: str = "r") -> list[Manifest]:
    """Return the rendered manifests."""
    return [one for one in yaml.safe_load_all(template(values, *arguments, chart=chart, release=release)) if one]


def of_kind(manifests: list[Manifest], kind: str) -> Manifest:
    """Return the only manifest of a kind."""
    (found,) = [one for one in manifests if one["kind"] == kind and "helm.sh/hook" not in _annotations(one)]
    return found


def _annotations(manifest: Manifest) -> Mapping[str, str]:
    return manifest["metadata"].get("annotations") or {}


def workload(manifests: list[Manifest]) -> Manifest:
    (found,) = [one for one in manifests if one["kind"] in ("Deployment", "StatefulSet")]
    return found


def container(pod: Manifest) -> Manifest:
    """Return Tracecar's container, wherever in the pod it is."""
    (found,) = [one for one in (*pod["containers"], *pod.get("initContainers", ())) if one["name"] == "tracecar"]
    return found


def service_chart(directory: Path, *workloads: str, options: tuple[str, ...] = ()) -> Path:
    """Write a service's chart that depends on this one and includes the sidecar beside each workload."""
    (directory / "templates").mkdir(parents=True)
    shutil.copytree(CHART, directory / "charts" / "tracecar")
    dependency = {"name": "tracecar", "version": "0.1.0", "repository": ""}
    about = {"apiVersion": "v2", "name": "shop", "version": "0.1.0", "dependencies": [dependency]}
    (directory / "Chart.yaml").write_text(json.dumps(about))
    for number, workload_ in enumerate(workloads):
        option = f" ({options[number]})" if options else ""
        define = f'{{{{ define "shop.w{number}" }}}}{workload_}{{{{ end }}}}'
        include = f'{{{{ include "tracecar.beside" (list . "shop.w{number}"{option}) }}}}'
        (directory / "templates" / f"w{number}.yaml").write_text(define + include)
    return directory


def example(directory: Path) -> Path:
    """Copy the example with its dependencies."""
    shutil.copytree(HELM, directory, ignore=shutil.ignore_patterns("*.tgz", "Chart.lock"))
    umbrella = directory / "example"
    for service in ("orders", "payments"):
        helm("dependency", "update", umbrella / "charts" / service)
    helm("dependency", "update", umbrella)
    return umbrella
