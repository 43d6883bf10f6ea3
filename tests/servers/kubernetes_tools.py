"""Helm, kubectl, kubectl-validate, a real API server with etcd, and a node, built by Go.

`kubernetes_tools/go.mod` and `go.sum` pin the modules. They are built once into the user's cache directory, which takes
some minutes.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

MODULE = Path(__file__).parent / "kubernetes_tools"
PROGRAMS = {
    "helm": (MODULE, "helm.sh/helm/v3/cmd/helm"),
    "kubectl": (MODULE, "k8s.io/kubernetes/cmd/kubectl"),
    "etcd": (MODULE, "go.etcd.io/etcd/server/v3"),
    "kube-apiserver": (MODULE, "k8s.io/kubernetes/cmd/kube-apiserver"),
    "node": (MODULE, "./node"),
    "kubectl-validate": (MODULE / "validate", "sigs.k8s.io/kubectl-validate"),
}
RELEASE = "v1.34.2"
_VERSION = "k8s.io/component-base/version"
FLAGS = f"-s -w -X {_VERSION}.gitVersion={RELEASE} -X {_VERSION}.gitMajor=1 -X {_VERSION}.gitMinor=34"
"""Kubernetes takes its version from build flags; Helm asks for it."""
FASTER = "-gcflags=all=-dwarf=false"
"""Debug information is stripped anyway; not writing it saves a sixth of the build time."""
OLDEST_GO = "1.21"
"""It downloads a newer toolchain by itself if go.mod needs one."""


def directory() -> Path:
    """Return the directory of the programs, built first if needed. Raises RuntimeError if Go cannot build them."""
    home = _home()
    cache = home.parent
    if not home.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with (cache / "kubernetes-tools.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not home.exists():
                _build(home)
    return home


def _home() -> Path:
    pins = [MODULE / part / name for part in (".", "validate") for name in ("go.mod", "go.sum")]
    pins += sorted((MODULE / "node").glob("*.go"))
    pinned = hashlib.sha256(b"".join([FLAGS.encode(), *(pin.read_bytes() for pin in pins)])).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tracecar"
    return cache / f"kubernetes-tools-{pinned}"


def find_go() -> str | None:
    """Return the path of Go; None if it is not there."""
    return shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")


def missing() -> str | None:
    """Return why the programs are not available here, or None."""
    if _home().exists() or find_go() is not None:
        return None
    return f"Go {OLDEST_GO} or later is not there, which builds Helm and the API server"


def program(name: str) -> str:
    """Return the path of one of `PROGRAMS`."""
    return str(directory() / name)


def _build(home: Path) -> None:
    go = find_go()
    if go is None:
        raise RuntimeError(missing())
    making = home.with_suffix(".making")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir()
    # Garbage collection is a fifth of the compiler's work unless its target is raised.
    quicker = {"GOGC": "400", "GOMEMLIMIT": "2GiB"}
    environment = {**os.environ, **quicker, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false"}
    # All programs of a module at once: one is linked on one processor while the next is compiled.
    for module in dict.fromkeys(module for module, _ in PROGRAMS.values()):
        packages = [package for where, package in PROGRAMS.values() if where == module]
        command = [go, "build", "-trimpath", FASTER, f"-ldflags={FLAGS}", "-o", f"{making}/", *packages]
        built = subprocess.run(command, cwd=module, env=environment, capture_output=True, text=True, check=False)
        if built.returncode != 0:
            raise RuntimeError(f"go could not build {' '.join(packages)}: {built.stderr[-4_000:]}")
    (making / "server").rename(making / "etcd")  # go names a program by its package
    making.rename(home)
