"""Real sidecars as processes, to query through the API and to kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx2

from tests.support.ports import free_port

TOKEN = "test-token"
TRACECAR = str(Path(sys.executable).with_name("tracecar"))


class Sidecar:
    """`tracecar run` with its own configuration in `directory`."""

    def __init__(self, directory: Path, config: Mapping[str, Any], name: str = "tracecar") -> None:
        self.directory = directory
        self._file = directory / f"{name}.yaml"
        self._log = directory / f"{name}.log"
        self._port_file = directory / f"{name}.port"
        self.config = {"api": {"port": free_port(), "token": TOKEN}, **config}
        self._file.write_text(json.dumps(self.config))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.config['api']['port']}"

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")[-6_000:]

    @property
    def environment(self) -> dict[str, str]:
        """Environment of the command line: address and token of the sidecar."""
        return {**os.environ, "TRACECAR_URL": self.url, "TRACECAR_TOKEN": TOKEN, "NO_COLOR": "1"}

    def __enter__(self) -> Sidecar:
        self.start()
        self.wait_ready()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([TRACECAR, "run", "-c", str(self._file)], stdout=log, stderr=log)

    def wait_ready(self) -> None:
        self.wait(lambda: self._ready(), "the sidecar to be ready")

    def _ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"the sidecar ended:\n{self.log}"
        try:
            return httpx2.get(f"{self.url}/readyz", timeout=5).status_code == 200
        except httpx2.TransportError:
            return False

    def kill(self) -> None:
        """Kill it, like the out-of-memory killer."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def stop(self) -> int:
        """Stop it like Kubernetes, and return the exit code."""
        if self._process is None:
            return 0
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(60)
        self._process = None
        return code

    def get(self, path: str, **query: Any) -> Any:
        answer = httpx2.get(f"{self.url}{path}", params=query, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30)
        assert answer.status_code == 200, f"{answer.status_code} {answer.text}\n{self.log}"
        return answer.json()

    def metrics(self) -> str:
        """Return its metrics as Prometheus reads them."""
        return httpx2.get(f"{self.url}/metrics", timeout=30).text

    def cli(self, *arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            [TRACECAR, *arguments], env=self.environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == code, f"{done.returncode}: {done.stdout}{done.stderr}\n{self.log}"
        return done.stdout

    def rows(self, *arguments: str) -> list[dict[str, Any]]:
        """Return the rows that a command prints with `--json`."""
        return [json.loads(line) for line in self.cli(*arguments, "--json").splitlines()]

    def wait(self, condition: Callable[[], object], what: str, seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"waited in vain for {what}\n{self.log}"
            time.sleep(0.05)
