"""The registry contract for a directory of schema files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import pytest

from sidecar.adapters.registry.directory import DirectoryRegistry
from sidecar.domain.ports.registry import Registry
from tests.contracts.registry_contract import RegistryContract, Shelf


class DirectoryShelf:
    has_levels = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self.registry: Registry = DirectoryRegistry(path)

    async def put(self, subject: str, text: str, references: Sequence[tuple[str, str, int]] = ()) -> int:
        home = self._path / quote(subject, safe=" é")
        home.mkdir(exist_ok=True)
        version = len(list(home.iterdir())) + 1
        (home / f"{version}.avsc").write_text(text)
        return version

    async def again(self) -> Registry:
        return DirectoryRegistry(self._path)


class TestDirectoryRegistry(RegistryContract):
    @pytest.fixture
    def shelf(self, tmp_path: Path) -> Shelf:
        return DirectoryShelf(tmp_path)
