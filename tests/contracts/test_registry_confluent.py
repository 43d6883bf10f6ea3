"""The registry contract on a real Apicurio Registry, through its Confluent-compatible API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from urllib.parse import quote

import httpx2
import pytest

from sidecar.adapters.registry.confluent import ConfluentRegistry
from sidecar.config.schema import RegistryConfig
from sidecar.domain.ports.registry import Registry
from tests.contracts.registry_contract import RegistryContract, Shelf
from tests.servers.apicurio import Apicurio


class ApicurioShelf:
    has_levels = True

    def __init__(self, url: str) -> None:
        self._url = url
        self.registry: Registry = ConfluentRegistry(RegistryConfig(url=url))
        self._opened = [self.registry]
        self._client = httpx2.AsyncClient(timeout=30)

    async def put(self, subject: str, text: str, references: Sequence[tuple[str, str, int]] = ()) -> int:
        body = {
            "schema": text,
            "references": [{"name": name, "subject": of, "version": version} for name, of, version in references],
        }
        url = f"{self._url}/subjects/{quote(subject, safe='')}/versions"
        answer = await self._client.post(url, json=body)
        assert answer.status_code == 200, answer.text
        return max((await self._client.get(url)).json())

    async def again(self) -> Registry:
        self._opened.append(ConfluentRegistry(RegistryConfig(url=self._url)))
        return self._opened[-1]

    async def close(self) -> None:
        await self._client.aclose()
        for registry in self._opened:
            await registry.close()


@pytest.mark.registry
class TestConfluentRegistry(RegistryContract):
    @pytest.fixture
    async def shelf(self, apicurio: Apicurio) -> AsyncIterator[Shelf]:
        shelf = ApicurioShelf(apicurio.url)
        yield shelf
        await shelf.close()
