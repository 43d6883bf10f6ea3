"""The compose example: what its containers run, run as processes on a real Kafka and a real registry."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sidecar.demo.embedded_kafka import EmbeddedKafka
from tests.servers.apicurio import Apicurio
from tests.servers.kafka import create_topic
from tests.support.ports import free_port
from tests.support.sidecar_process import TRACECAR

pytestmark = [pytest.mark.system, pytest.mark.kafka, pytest.mark.registry]
COMPOSE = Path(__file__).parents[2] / "examples" / "compose"
SERVICES: dict[str, Any] = yaml.safe_load((COMPOSE / "compose.yaml").read_text())["services"]
POLLS = 600


@pytest.fixture(scope="module")
def kafka() -> Iterator[str]:
    """A Kafka with the settings of the example, but for its addresses, and the topic that the example creates."""
    settings = {
        name.removeprefix("KAFKA_").lower().replace("_", "."): value
        for name, value in SERVICES["kafka"]["environment"].items()
        if name.endswith(("_FACTOR", "_ISR"))
    }
    assert settings
    with EmbeddedKafka(**settings) as server:
        command = SERVICES["topics"]["command"]
        topic, partitions = (command[command.index(option) + 1] for option in ("--topic", "--partitions"))
        create_topic(server.bootstrap_servers, topic, int(partitions))
        yield server.bootstrap_servers


@pytest.fixture(scope="module")
def registry() -> Iterator[str]:
    with Apicurio() as server:
        yield server.url


def _mounted(service: str, path: str) -> Path:
    """Return the file of the example that a container sees at a path."""
    mounts = (volume.split(":") for volume in SERVICES[service]["volumes"])
    return next(COMPOSE / source for source, target, *_ in mounts if target == path)


def _until(read: Callable[[], list[Any]], process: subprocess.Popen[bytes], log: Path) -> list[Any]:
    for _ in range(POLLS):
        if found := read():
            return found
        assert process.poll() is None, log.read_text()
        try:
            process.wait(0.2)
        except subprocess.TimeoutExpired:
            continue
    raise AssertionError(log.read_text())


def test_the_example_shows_orders_and_dead_letters(kafka: str, registry: str, tmp_path: Path) -> None:
    port = free_port()
    *command, config = SERVICES["tracecar"]["command"]
    text = _mounted("tracecar", config).read_text().replace("kafka:9092", kafka)
    text = text.replace("http://registry:8080/apis/ccompat/v7", registry).replace("api:\n", f"api:\n  port: {port}\n")
    (tmp_path / "tracecar.yaml").write_text(text)
    environment = {**os.environ, **SERVICES["tracecar"]["environment"], "HOME": str(tmp_path)}
    client = {**environment, "TRACECAR_URL": f"http://127.0.0.1:{port}"}

    def asked(*words: str) -> list[Any]:
        done = subprocess.run([TRACECAR, *words, "--json"], env=client, capture_output=True, text=True, check=False)
        return [json.loads(line) for line in done.stdout.splitlines()] if done.returncode == 0 else []

    (program,) = SERVICES["producer"]["entrypoint"][1:]
    producer_environment = {**os.environ, "BOOTSTRAP_SERVERS": kafka, "REGISTRY_URL": registry}
    assert SERVICES["producer"]["environment"].keys() <= producer_environment.keys()
    log = tmp_path / "log"
    with log.open("wb") as written:
        producer = subprocess.Popen(
            [sys.executable, str(_mounted("producer", program))],
            env=producer_environment,
            stdout=written,
            stderr=written,
        )
        sidecar = subprocess.Popen(
            [TRACECAR, *command, str(tmp_path / "tracecar.yaml")], env=environment, stdout=written, stderr=written
        )
    try:
        events = _until(lambda: asked("events", "type:OrderPlaced"), sidecar, log)
        assert events[0]["stream"] == "orders"
        letters = _until(lambda: asked("dlq", "list"), sidecar, log)
        assert {letter["stream"] for letter in letters} == {"orders"}
        assert letters[0]["code"].startswith(("decode.", "schema."))
    finally:
        for process in (producer, sidecar):
            process.terminate()
        codes = [process.wait(60) for process in (producer, sidecar)]
    assert codes[1] == 0, log.read_text()
