"""Client for Apicurio's global ids. Only its own API (v3) on the same server has them, not its Confluent API."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from sidecar.adapters.registry.http_client import NotARegistryAnswer, RegistryHttpClient
from sidecar.config.schema import RegistryConfig
from sidecar.domain.errors import Outage

_API = "/apis/registry/v3"


class ArtifactVersion(Struct):
    """One version of one artifact, as a global id identifies it."""

    contentId: int
    """Id of the same content in the Confluent API."""
    artifactId: str
    """Subject."""
    version: str = ""

    @property
    def number(self) -> int | None:
        return int(self.version) if self.version.isascii() and self.version.isdigit() else None


class _ArtifactSearchResult(Struct):
    versions: list[ArtifactVersion]


class ApicurioGlobalIds:
    """Global ids of the Apicurio server with these Confluent addresses. Other registries have none."""

    def __init__(self, addresses: Sequence[str], settings: RegistryConfig) -> None:
        roots = [address.partition("/apis/ccompat")[0] for address in addresses if "/apis/ccompat" in address]
        self._questions = RegistryHttpClient([root + _API for root in roots], settings) if roots else None

    async def place(self, id: int) -> ArtifactVersion | None:
        """Find the version with this global id. Raises Outage and Refused."""
        if self._questions is None:
            return None
        try:
            result = await self._questions.ask(f"/search/versions?globalId={id}", _ArtifactSearchResult)
        except NotARegistryAnswer as error:
            raise Outage(str(error)) from None
        return result.versions[0] if result and result.versions else None

    async def close(self) -> None:
        if self._questions is not None:
            await self._questions.close()
