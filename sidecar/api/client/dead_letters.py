"""Actions of the client: replays, discards, restores, exports, imports and failure reports."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

import httpx2
import msgspec

from sidecar.api.client.flows import quote_segment
from sidecar.api.models import replays as models
from sidecar.domain.json_safe import encode_json

A = TypeVar("A")
_encode = encode_json


class DeadLetterClient:
    """Actions on dead letters for `sidecar.api.client.client.Client`. Every method raises ClientError."""

    async def _send(self, method: str, path: str, kind: type[A], body: object | bytes | None = None) -> A:
        raise NotImplementedError

    def _export(self, path: str, parameters: Mapping[str, Any]) -> AsyncGenerator[bytes, None]:
        raise NotImplementedError

    # --- replays

    async def plan(self, request: models.ReplayRequestModel) -> models.PlanModel:
        """Run a dry run of a replay, and return its plan."""
        return await self._send("POST", "/v1/replays", models.PlanModel, msgspec.structs.replace(request, dry_run=True))

    async def replay(self, request: models.ReplayRequestModel) -> models.ReplayModel:
        """Start a replay and return at once."""
        return await self._send(
            "POST", "/v1/replays", models.ReplayModel, msgspec.structs.replace(request, dry_run=False)
        )

    async def replays(self, limit: int = 100) -> list[models.ReplayModel]:
        """Return replay jobs, newest first."""
        return (await self._send("GET", f"/v1/replays?limit={limit}", models.ReplayPage)).items

    async def replay_job(self, id: str) -> models.ReplayModel:
        return await self._send("GET", f"/v1/replays/{quote_segment(id)}", models.ReplayModel)

    async def pause_replay(self, id: str) -> models.ReplayModel:
        return await self._send("POST", f"/v1/replays/{quote_segment(id)}/pause", models.ReplayModel)

    async def resume_replay(self, id: str) -> models.ReplayModel:
        return await self._send("POST", f"/v1/replays/{quote_segment(id)}/resume", models.ReplayModel)

    async def cancel_replay(self, id: str) -> models.ReplayModel:
        return await self._send("POST", f"/v1/replays/{quote_segment(id)}/cancel", models.ReplayModel)

    async def audit(self, limit: int = 100) -> models.AuditPage:
        """Return the audit log, latest entry first."""
        return await self._send("GET", f"/v1/audit?limit={limit}", models.AuditPage)

    # --- letters

    async def discard(self, ids: Sequence[str], reason: str, query: str = "") -> list[models.OutcomeModel]:
        """Discard these dead letters, or all that match a query."""
        outcomes: list[models.OutcomeModel] = []
        while True:
            page = await self.discard_page(ids, reason, query)
            outcomes += page.items
            if not page.more:
                return outcomes

    async def discard_page(self, ids: Sequence[str], reason: str, query: str = "") -> models.OutcomePage:
        """Discard these dead letters, or some thousands of those that match; `more` in the reply: others match too."""
        body = models.DiscardRequest(ids=list(ids), reason=reason, query=query)
        return await self._send("POST", "/v1/dead-letters/discard", models.OutcomePage, body)

    async def restore(self, ids: Sequence[str]) -> list[models.OutcomeModel]:
        body = models.RestoreRequest(ids=list(ids))
        return (await self._send("POST", "/v1/dead-letters/restore", models.OutcomePage, body)).items

    async def export(self, query: str = "", limit: int = 0) -> AsyncGenerator[bytes, None]:
        """Yield one line of JSON for each letter (`ExportedLetterModel`), without line ends."""
        async with aclosing(self._export("/v1/dead-letters/export", {"query": query, "limit": limit})) as lines:
            async for line in lines:
                yield line

    async def import_letters(self, lines: Sequence[bytes]) -> list[models.OutcomeModel]:
        """Import exported lines, a few thousand at a time."""
        return (await self._send("POST", "/v1/dead-letters/import", models.OutcomePage, b"\n".join(lines))).items

    async def report(self, failure: models.FailureRequest) -> models.FailureAnswer:
        """Report an event that a service could not process."""
        return await self._send("POST", "/v1/failures", models.FailureAnswer, failure)


def encode_body(body: object | bytes | None) -> tuple[bytes | None, dict[str, str]]:
    """Encode the body of a request, and return it with its headers."""
    if body is None:
        return None, {}
    if isinstance(body, bytes):
        return body, {"Content-Type": "application/x-ndjson"}
    return _encode(body), {"Content-Type": "application/json"}


async def split_lines(response: httpx2.Response) -> AsyncIterator[bytes]:
    """Split a response into lines."""
    rest = b""
    async for part in response.aiter_bytes():
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            if line:
                yield line
    if rest:
        yield rest
