"""Images built by buildah without a daemon: the real Dockerfile, on a base made of Debian packages."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

SUITE = "bookworm"
BASE = "localhost/tracecar-base"
IMAGE = "localhost/tracecar"
PACKAGES = ("sidecar", "exporters", "tui")
ROOT = Path(__file__).parents[2]
TRUSTED = "/etc/ssl/certs/ca-certificates.crt"


class Images:
    """A store of images and containers."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._environment = {**os.environ, "STORAGE_DRIVER": "vfs", "BUILDAH_ISOLATION": "chroot"}

    def buildah(self, *arguments: str | Path, seconds: float = 280) -> str:
        """Run buildah and return its output."""
        done = subprocess.run(
            self.command(*arguments),
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout[-4_000:]}{done.stderr[-4_000:]}"
        return done.stdout.strip()

    def command(self, *arguments: str | Path) -> list[str]:
        store = ["--root", f"{self._store}/root", "--runroot", f"{self._store}/run", "--storage-driver", "vfs"]
        return ["buildah", *store, *map(str, arguments)]

    def mounted(self, image: str) -> Path:
        """Mount a container and return its folder, whose files may be changed."""
        return Path(self.buildah("mount", self.buildah("from", "--pull-never", image)))

    @property
    def environment(self) -> dict[str, str]:
        return self._environment

    def base(self) -> str:
        """Create an image of a Debian with Python."""
        working = self.buildah("from", "scratch")
        self.buildah("add", "--quiet", working, rootfs(), "/")
        bundle = ssl.get_default_verify_paths().cafile or TRUSTED
        self.buildah("copy", "--quiet", working, bundle, TRUSTED)
        path = "PATH=/usr/local/bin:/usr/bin:/bin"
        self.buildah("config", "--env", path, "--env", f"SSL_CERT_FILE={TRUSTED}", working)
        self.buildah("commit", "--quiet", "--rm", working, BASE)
        return BASE

    def build(self, name: str, base: str, *arguments: str) -> None:
        """Build the Dockerfile, as Docker does. Downloads are kept by its cache mounts."""
        from_here = ("--network", "host", "--pull-never", "--format", "docker")
        self.buildah("bud", *from_here, "--build-arg", f"BASE={base}", *arguments, "--tag", name, ROOT)


def rootfs() -> Path:
    """Return the file system of a Debian with Python alone, created once in the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tracecar"
    kept = cache / f"rootfs-{SUITE}.tar"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "rootfs.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            making = kept.with_suffix(".making.tar")
            packages = "--include=python3,python3-venv,ca-certificates"
            command = ["mmdebstrap", "--quiet", "--variant=minbase", packages, SUITE, str(making)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
            assert done.returncode == 0, done.stderr[-4_000:]
            making.rename(kept)
    return kept


def missing() -> str | None:
    """Return why images cannot be built here, or None."""
    lacking = [name for name in ("buildah", "mmdebstrap") if shutil.which(name) is None]
    if lacking:
        return f"the system packages {' and '.join(lacking)} are not there"
    return None if os.geteuid() == 0 else "it takes root"


class Built(NamedTuple):
    """Tracecar's image: its files, its configuration, and the sources at the time of the build."""

    images: Images
    root: Path
    about: Any
    sources: set[Path]


@pytest.fixture(scope="session")
def tracecar_image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    """The image of the real Dockerfile on the base made here, built once for the session."""
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("images")
    store = Images(folder)
    before = sources(ROOT)
    store.build(IMAGE, store.base(), "--build-arg", "REVISION=abc")
    about = json.loads(store.buildah("inspect", "--type", "image", IMAGE))["Docker"]["config"]
    yield Built(store, store.mounted(IMAGE), about, before)
    # This driver makes plain folders only; removing them at once is quicker than removing each layer.
    shutil.rmtree(folder)


def sources(root: Path) -> set[Path]:
    """Return the files of the product's packages below a folder."""
    files = (file for name in PACKAGES for file in (root / name).rglob("*") if file.is_file())
    return {file.relative_to(root) for file in files if "__pycache__" not in file.parts}
