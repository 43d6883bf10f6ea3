"""The rendered container runs as a process, with its environment and files, on real brokers."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from tests.helm.charts import container, example, rendered, workload
from tests.servers.kafka import create_topic, unique
from tests.support.ports import free_port
from tests.support.sidecar_process import TRACECAR

pytestmark = pytest.mark.valkey
SECONDS = 120


class Container:
    """The process of a rendered container, with its files under a folder instead of the root."""

    def __init__(self, spec: Any, files: dict[str, str], folder: Path, secrets: dict[str, str]) -> None:
        self._folder, self._log = folder, folder / "log"
        for path, text in files.items():
            (folder / path.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
            (folder / path.lstrip("/")).write_text(text)
        self.arguments = [self._moved(one) for one in spec["args"]]
        named = {one["name"]: self._moved(str(one["value"])) for one in spec["env"]}
        self.environment = {"PATH": os.environ["PATH"], "NO_COLOR": "1", **named, **secrets}
        self._process: subprocess.Popen[bytes] | None = None

    def _moved(self, text: str) -> str:
        return text if "://" in text or not text.startswith("/") else f"{self._folder}{text}"

    def __enter__(self) -> Container:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [TRACECAR, *self.arguments], env=self.environment, stdout=log, stderr=log, cwd="/"
            )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(60) == 0, self._log.read_text()

    def tracecar(self, *arguments: str) -> str:
        """Run tracecar as `kubectl exec` does."""
        done = subprocess.run(
            [TRACECAR, *arguments], env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr + self._log.read_text()
        return done.stdout

    def wait_ready(self, url: str) -> None:
        for _ in range(SECONDS * 20):
            assert self._process is not None
            assert self._process.poll() is None, self._log.read_text()
            try:
                if httpx2.get(url, timeout=5).status_code == 200:
                    return
            except httpx2.TransportError:
                pass
            try:
                self._process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
        raise AssertionError(self._log.read_text())


def _files(manifests: list[Any], pod: Any) -> dict[str, str]:
    """Write the pod's ConfigMaps where the kubelet would."""
    maps = {one["metadata"]["name"]: one["data"] for one in manifests if one["kind"] == "ConfigMap"}
    volumes = {one["name"]: one for one in pod["volumes"]}
    return {
        f"{mount['mountPath']}/{name}": text.replace("host: 0.0.0.0", "host: 127.0.0.1")  # there is no pod network here
        for mount in container(pod)["volumeMounts"]
        if "configMap" in volumes[mount["name"]]
        for name, text in maps[volumes[mount["name"]]["configMap"]["name"]].items()
    }


def _config(**sources: Any) -> dict[str, Any]:
    """Change the configuration to loopback and free ports."""
    return {
        "service": unique("shop"),
        "sources": sources,
        "api": {"port": free_port()},
        "health": {"port": free_port()},
    }


def _run(manifests: list[Any], pod: Any, folder: Path, **secrets: str) -> Container:
    return Container(container(pod), _files(manifests, pod), folder, secrets)


def test_standalone_on_a_real_valkey(valkey, tmp_path):
    stream = unique("orders")
    config = _config(redis={"url": valkey.url, "streams": [stream], "start": "earliest"})
    manifests = rendered({"config": config})
    with _run(manifests, workload(manifests)["spec"]["template"]["spec"], tmp_path) as sidecar:
        sidecar.wait_ready(f"http://127.0.0.1:{config['health']['port']}/readyz")
        found = sidecar.tracecar("check", *sidecar.arguments[1:])
        assert "FAILED" not in found, found
        assert stream in sidecar.tracecar("status")  # with its generated token, from the path that the chart names
        assert (tmp_path / "var/lib/tracecar/.local/state/tracecar/token").exists()


def test_beside_a_service_on_a_real_valkey(valkey, tmp_path):
    umbrella = example(tmp_path / "helm")
    config = _config(redis={"url": valkey.url, "streams": [unique("orders")]})
    config["index"] = {"redis": {"url": valkey.url, "prefix": unique("shared")}}
    manifests = rendered({"orders": {"tracecar": {"config": config}}}, chart=umbrella)
    (pod,) = [one["spec"]["template"]["spec"] for one in manifests if one["metadata"]["name"] == "r-orders"]
    with _run(manifests, pod, tmp_path, TRACECAR_TOKEN="from-a-secret") as sidecar:
        sidecar.wait_ready(f"http://127.0.0.1:{config['health']['port']}/readyz")
        assert config["service"] in sidecar.tracecar("status")


@pytest.mark.kafka
def test_standalone_on_a_real_kafka(kafka, tmp_path):
    topic = create_topic(kafka.bootstrap_servers, unique("orders"))
    sasl = {"mechanism": "PLAIN", "username": "admin", "password": "${KAFKA_PASSWORD}"}
    config = _config(kafka={"bootstrap_servers": kafka.address("SASL"), "topics": [topic], "sasl": sasl})
    manifests = rendered({"config": config, "existingSecret": "hidden"})
    pod = workload(manifests)["spec"]["template"]["spec"]
    assert container(pod)["envFrom"] == [{"secretRef": {"name": "hidden"}}]
    with _run(manifests, pod, tmp_path, KAFKA_PASSWORD="s3cret", TRACECAR_TOKEN="x" * 20) as sidecar:
        sidecar.wait_ready(f"http://127.0.0.1:{config['health']['port']}/readyz")
        assert topic in sidecar.tracecar("status")
    written = yaml.safe_load(_files(manifests, pod)["/etc/tracecar/config/tracecar.yaml"])
    assert written["sources"]["kafka"]["sasl"]["password"] == "${KAFKA_PASSWORD}"
