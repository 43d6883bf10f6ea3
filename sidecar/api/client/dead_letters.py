"""The part of the API's client that acts: replays, discarding, exports, imports, reports."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, TypeVar
from urllib.parse import quote

import httpx2
import msgspec

from sidecar.api.models import replays as models

A = TypeVar("A")
_encode = msgspec.json.Encoder().encode


class DeadLetterClient:
    """What `sidecar.api.client.client.Client` does beside looking. Every method raises ClientError."""

    async def _send(self, method: str, path: str, kind: type[A], body: object | bytes | None = None) -> A:
        raise NotImplementedError

    def _export(self, path: str, parameters: Mapping[str, Any]) -> AsyncGenerator[bytes, None]:
        raise NotImplementedError

    # --- replays

    async def plan(self, request: models.ReplayRequestModel) -> models.PlanModel:
        """A dry run."""
        return await self._send("POST", "/v1/replays", models.PlanModel, msgspec.structs.replace(request, dry_run=True))

    async def replay(self, request: models.ReplayRequestModel) -> models.ReplayModel:
        """Begin; returns at once."""
        return await self._send(
            "POST", "/v1/replays", models.ReplayModel, msgspec.structs.replace(request, dry_run=False)
        )

    async def replays(self, limit: int = 100) -> list[models.ReplayModel]:
        """Newest first."""
        return (await self._send("GET", f"/v1/replays?limit={limit}", models.ReplayPage)).items

    async def replay_job(self, id: str) -> models.ReplayModel:
        return await self._send("GET", f"/v1/replays/{_segment(id)}", models.ReplayModel)

    async def pause_replay(self, id: str) -> models.ReplayModel:
        return await self._send("POST", f"/v1/replays/{_segment(id)}/pause", models.ReplayModel)

    async def resume_replay(self, id: str) -> models.ReplayModel:
        return await self._send("POST", f"/v1/replays/{_segment(id)}/resume", models.ReplayModel)

    async def cancel_replay(self, id: str) -> models.ReplayModel:
        return await self._send("POST", f"/v1/replays/{_segment(id)}/cancel", models.ReplayModel)

    async def audit(self, limit: int = 100) -> models.AuditPage:
        """Who did what, the latest first."""
        return await self._send("GET", f"/v1/audit?limit={limit}", models.AuditPage)

    # --- letters

    async def discard(self, ids: Sequence[str], reason: str, query: str = "") -> list[models.OutcomeModel]:
        """These, or all that match."""
        found: list[models.OutcomeModel] = []
        while True:
            page = await self.discard_page(ids, reason, query)
            found += page.items
            if not page.more:
                return found

    async def discard_page(self, ids: Sequence[str], reason: str, query: str = "") -> models.OutcomePage:
        """These, or some thousands of those that match: `more` says that there are others."""
        body = models.DiscardRequest(ids=list(ids), reason=reason, query=query)
        return await self._send("POST", "/v1/dead-letters/discard", models.OutcomePage, body)

    async def restore(self, ids: Sequence[str]) -> list[models.OutcomeModel]:
        body = models.RestoreRequest(ids=list(ids))
        return (await self._send("POST", "/v1/dead-letters/restore", models.OutcomePage, body)).items

    async def export(self, query: str = "", limit: int = 0) -> AsyncGenerator[bytes, None]:
        """Lines, without their ends: `Exported` as JSON each."""
        async with aclosing(self._export("/v1/dead-letters/export", {"query": query, "limit": limit})) as lines:
            async for line in lines:
                yield line

    async def import_letters(self, lines: Sequence[bytes]) -> list[models.OutcomeModel]:
        """Exported lines, a few thousand at a time."""
        return (await self._send("POST", "/v1/dead-letters/import", models.OutcomePage, b"\n".join(lines))).items

    async def report(self, failure: models.FailureRequest) -> models.FailureAnswer:
        """Hand over an event that could not be processed."""
        return await self._send("POST", "/v1/failures", models.FailureAnswer, failure)


def content(body: object | bytes | None) -> tuple[bytes | None, dict[str, str]]:
    """A request's body, and the header that says what it is."""
    if body is None:
        return None, {}
    if isinstance(body, bytes):
        return body, {"Content-Type": "application/x-ndjson"}
    return _encode(body), {"Content-Type": "application/json"}


async def split_lines(response: httpx2.Response) -> AsyncIterator[bytes]:
    """The lines of a response, however it is cut."""
    rest = b""
    async for part in response.aiter_bytes():
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            if line:
                yield line
    if rest:
        yield rest


def _segment(id: str) -> str:
    return quote(id.encode("utf-8", "surrogateescape"), safe="")
