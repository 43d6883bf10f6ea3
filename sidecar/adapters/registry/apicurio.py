"""Apicurio's global ids, which its Confluent API does not know: asked of its own API (v3) on the same server."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from sidecar.adapters.registry.http_client import NotARegistryAnswer, RegistryHttpClient
from sidecar.config.schema import RegistryConfig
from sidecar.domain.errors import Outage

_API = "/apis/registry/v3"


class ArtifactVersion(Struct):
    """Where a global id leads: one version of one artifact."""

    contentId: int
    """The id of the same content in the Confluent API."""
    artifactId: str
    """The subject."""
    version: str = ""

    @property
    def number(self) -> int | None:
        return int(self.version) if self.version.isascii() and self.version.isdigit() else None


class _ArtifactSearchResult(Struct):
    versions: list[ArtifactVersion]


class ApicurioGlobalIds:
    """Global ids of the Apicurio server that serves these Confluent addresses; of other registries there are none."""

    def __init__(self, addresses: Sequence[str], settings: RegistryConfig) -> None:
        roots = [address.partition("/apis/ccompat")[0] for address in addresses if "/apis/ccompat" in address]
        self._questions = RegistryHttpClient([root + _API for root in roots], settings) if roots else None

    async def place(self, id: int) -> ArtifactVersion | None:
        """The version with this global id. Raises Outage and Refused."""
        if self._questions is None:
            return None
        try:
            found = await self._questions.ask(f"/search/versions?globalId={id}", _ArtifactSearchResult)
        except NotARegistryAnswer as error:
            raise Outage(str(error)) from None
        return found.versions[0] if found and found.versions else None

    async def close(self) -> None:
        if self._questions is not None:
            await self._questions.close()
