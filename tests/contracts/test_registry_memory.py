"""The registry contract in memory."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from sidecar.adapters.registry.memory import MemoryRegistry
from sidecar.domain.ports.registry import Registry
from tests.contracts.registry_contract import RegistryContract, Shelf


class MemoryShelf:
    has_levels = True

    def __init__(self) -> None:
        self.registry: Registry
        self.registry = self._memory = MemoryRegistry()

    async def put(self, subject: str, text: str, references: Sequence[tuple[str, str, int]] = ()) -> int:
        ref = self._memory.register(subject, text, references=[(of, version) for _, of, version in references])
        assert ref.version is not None
        return ref.version

    async def again(self) -> Registry:
        return self._memory


class TestMemoryRegistry(RegistryContract):
    @pytest.fixture
    def shelf(self) -> Shelf:
        return MemoryShelf()
