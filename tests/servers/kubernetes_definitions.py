"""Schemas that others publish, out of the Go modules that `kubernetes_tools/definitions` pins: the kinds of Kubernetes
releases, of the Prometheus operator, of KEDA and of the Gateway API, and the metadata of KEDA's scalers."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from tests.servers import kubernetes_tools

MODULE = kubernetes_tools.MODULE / "definitions"
KEDA = "github.com/kedacore/keda/v2"
KEDA_VERSIONS = ("v2.14.1", "v2.16.1", "v2.18.0", "v2.20.2", "v2.21.0")
KUBERNETES = "k8s.io/kubernetes"
KUBERNETES_VERSIONS = {
    "1.31": "v1.31.14",
    "1.32": "v1.32.13",
    "1.33": "v1.33.13",
    "1.34": "v1.34.4",
    "1.35": "v1.35.4",
    "1.36": "v1.36.3",
    "1.37": "v1.37.2",
}
"""Releases that kubectl-validate does not carry itself."""
_OTHERS = ("github.com/prometheus-operator/prometheus-operator", "sigs.k8s.io/gateway-api")
_PLACES = ("example/prometheus-operator-crd/*.yaml", "config/crd/standard/*_httproutes.yaml")


def operators(keda: str = KEDA_VERSIONS[-1]) -> list[Path]:
    """Return the CustomResourceDefinitions of the Prometheus operator, the Gateway API and a version of KEDA."""
    files = [file for path in _OTHERS for place in _PLACES for file in sorted(_module(path).glob(place))]
    return files + sorted(_module(KEDA, keda).glob("config/crd/bases/keda.sh_*.yaml"))


def scalers(keda: str = KEDA_VERSIONS[-1]) -> dict[str, dict[str, Any]]:
    """Return the parameters of KEDA's scalers by type and name. Versions before 2.18 publish none."""
    (file,) = _module(KEDA, keda).glob("schema/generated/scalers-*schema.json")
    return {
        scaler["type"]: {parameter["name"]: parameter for parameter in scaler["parameters"]}
        for scaler in json.loads(file.read_text())["scalers"]
    }


def scaler_sources(keda: str) -> dict[str, str]:
    """Return the source text of KEDA's scalers by type, of Kafka and of Redis streams."""
    folder = _module(KEDA, keda) / "pkg"
    builder = (folder / "scaling" / "scalers_builder.go").read_text()
    kafka = (folder / "scalers" / "kafka_scaler.go").read_text()
    redis = "".join((folder / "scalers" / f"redis{part}_scaler.go").read_text() for part in ("", "_streams"))
    texts = {"kafka": kafka} | {f"redis{part}-streams": redis for part in ("", "-sentinel", "-cluster")}
    return {name: text for name, text in texts.items() if f'case "{name}":' in builder}


def releases(minor: str) -> Path:
    """Return a folder with the schemas of a Kubernetes release, as kubectl-validate reads them.

    Only the schemas are kept: a release has 100 MB of sources.
    """
    version = KUBERNETES_VERSIONS[minor]
    folder = kubernetes_tools.directory().parent / f"kubernetes-schemas-{version}"
    with (folder.parent / "kubernetes-schemas.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=folder.parent) as modules:
                source = _module(KUBERNETES, version, GOMODCACHE=modules, GOFLAGS="-modcacherw")
                making = Path(modules) / "schemas"
                specification = source / "api" / "openapi-spec" / "v3"
                for file in (*specification.glob("api__v1_*.json"), *specification.glob("apis__*__*_openapi.json")):
                    place = making / (file.name.removesuffix("_openapi.json").replace("__", "/") + ".json")
                    place.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(file, place)
                making.rename(folder)
    return folder


def bring() -> None:
    """Fetch everything, before the tests want it."""
    for keda in KEDA_VERSIONS:
        operators(keda)
    for minor in KUBERNETES_VERSIONS:
        releases(minor)


@cache
def _pinned() -> dict[str, str]:
    lines = (line.split() for line in (MODULE / "go.mod").read_text().splitlines() if line.startswith("\t"))
    return {path: version for path, version, *_ in lines}


@cache
def _module(path: str, version: str = "", **environment: str) -> Path:
    go = kubernetes_tools.find_go()
    if go is None:
        raise RuntimeError(kubernetes_tools.missing())
    wanted = f"{path}@{version or _pinned()[path]}"
    done = subprocess.run(
        [go, "mod", "download", "-json", wanted],
        cwd=MODULE,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"go could not fetch {wanted}: {done.stdout[-2_000:]}{done.stderr[-2_000:]}")
    return Path(json.loads(done.stdout)["Dir"])
