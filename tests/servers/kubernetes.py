"""A real Kubernetes API server on a real etcd, as child processes. It admits what a cluster admits.

There are no controllers and no nodes, so Deployments create no pods; tests create them.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.servers import kubernetes_tools
from tests.support.ports import free_port

VERSION = "1.34"
_START_SECONDS = 180.0
_WATCH = 'read -r _ || kill -KILL "$0"'
"""A shell command that waits for a line from the parent, which ends normally, or for the end of the pipe, when the
parent has died."""


class Kubernetes:
    """An API server with Pod Security admission and mutating admission policies."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="tracecar-kubernetes-"))
        self._children: list[tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]]] = []
        self._token = secrets.token_hex(16)
        self.port = free_port()
        self.kubeconfig = self._directory / "kubeconfig"

    def __enter__(self) -> Kubernetes:
        etcd, peer = free_port(), free_port()
        self._service_account_key()
        (self._directory / "tokens.csv").write_text(f"{self._token},admin,admin,system:masters\n")
        self.start(
            "etcd",
            f"--data-dir={self._directory}/etcd",
            f"--listen-client-urls=http://127.0.0.1:{etcd}",
            f"--advertise-client-urls=http://127.0.0.1:{etcd}",
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
            "--unsafe-no-fsync",
        )
        self.start(
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{etcd}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={self.port}",
            f"--cert-dir={self._directory}/certs",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self._directory}/sa.key",
            f"--service-account-signing-key-file={self._directory}/sa.key",
            f"--token-auth-file={self._directory}/tokens.csv",
            "--authorization-mode=RBAC",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--feature-gates=MutatingAdmissionPolicy=true",
            "--runtime-config=admissionregistration.k8s.io/v1beta1=true",
        )
        self._write_kubeconfig()
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            ended = any(process.poll() is not None for process, _ in self._children)
            if ended or time.monotonic() > deadline:
                raise RuntimeError(f"the API server did not start:\n{self.log}")
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        for process, watch in reversed(self._children):
            process.send_signal(signal.SIGKILL)
            process.wait()
            watch.communicate(b"\n")
        shutil.rmtree(self._directory, ignore_errors=True)

    @property
    def environment(self) -> dict[str, str]:
        """Environment for helm and kubectl, which come first on the PATH."""
        path = f"{kubernetes_tools.directory()}:{os.environ['PATH']}"
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig), "PATH": path, "HOME": str(self._directory)}

    @property
    def log(self) -> str:
        return "\n".join(file.read_text(errors="replace")[-3_000:] for file in self._directory.glob("*.log"))

    def run(self, program: str, *arguments: str, stdin: str = "", ok: bool = True) -> str:
        """Run helm or kubectl and return its output. With `ok=False` it must fail, and its error is returned."""
        done = self.tried(program, *arguments, stdin=stdin)
        assert (done.returncode == 0) == ok, f"{done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout if ok else done.stderr

    def tried(self, program: str, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run helm or kubectl; it may fail."""
        command = [kubernetes_tools.program(program), *arguments]
        return subprocess.run(
            command, env=self.environment, input=stdin, capture_output=True, text=True, timeout=120, check=False
        )

    def namespace(self, name: str, **labels: str) -> str:
        """Create a namespace that enforces the restricted standard, with the account that a controller would create."""
        labels = {"pod-security.kubernetes.io/enforce": "restricted", **labels}
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
        account = {"name": "default", "namespace": name}
        self.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account})
        return name

    def apply(self, *manifests: dict[str, Any]) -> None:
        self.run("kubectl", "create", "-f", "-", stdin="\n---\n".join(map(json.dumps, manifests)))

    def get(self, *what: str, namespace: str) -> Any:
        return json.loads(self.run("kubectl", "get", *what, "-n", namespace, "-o", "json"))

    def client(self) -> httpx2.AsyncClient:
        """Return a client with an administrator's rights."""
        bearer = {"Authorization": f"Bearer {self._token}"}
        return httpx2.AsyncClient(base_url=f"https://127.0.0.1:{self.port}", headers=bearer, verify=False, timeout=60)

    def start(self, program: str, *arguments: str) -> None:
        """Run a further program until the block ends."""
        with (self._directory / f"{program}.log").open("ab") as log:
            process = subprocess.Popen(
                [kubernetes_tools.program(program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._directory,
                start_new_session=True,
            )
        watch = subprocess.Popen(["sh", "-c", _WATCH, str(process.pid)], stdin=subprocess.PIPE, start_new_session=True)
        self._children.append((process, watch))

    def _service_account_key(self) -> None:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import rsa

        key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
        pem = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        (self._directory / "sa.key").write_bytes(key.private_bytes(*pem))

    def _write_kubeconfig(self) -> None:
        cluster = {"server": f"https://127.0.0.1:{self.port}", "insecure-skip-tls-verify": True}
        self.kubeconfig.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{"name": "test", "cluster": cluster}],
                    "users": [{"name": "admin", "user": {"token": self._token}}],
                    "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
                    "current-context": "test",
                }
            )
        )

    def _answers(self) -> bool:
        trusting = ssl.create_default_context()
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        bearer = {"Authorization": f"Bearer {self._token}"}
        request = urllib.request.Request(f"https://127.0.0.1:{self.port}/readyz", headers=bearer)
        try:
            with urllib.request.urlopen(request, timeout=5, context=trusting) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


@pytest.fixture(scope="session")
def kubernetes() -> Iterator[Kubernetes]:
    """The server of the session. Tests use namespaces of their own."""
    with Kubernetes() as server:
        yield server
