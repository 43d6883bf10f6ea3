"""Questions of the client about flows and aggregates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import quote

import httpx2

from sidecar.api import models

A = TypeVar("A")

TIMEOUT = httpx2.Timeout(30.0, connect=5.0)
READING = httpx2.Timeout(600.0, connect=5.0)
"""Timeout of requests that read whole dead-letter streams: reading a million dead letters takes half a minute."""


class FlowClient:
    """Questions about flows for `sidecar.api.client.client.Client`. Every method raises ClientError."""

    async def _get(
        self,
        path: str,
        kind: type[A],
        parameters: Mapping[str, Any] | None = None,
        timeout: httpx2.Timeout = TIMEOUT,
    ) -> A:
        raise NotImplementedError

    async def _read(self, path: str, parameters: Mapping[str, Any] | None, timeout: httpx2.Timeout) -> bytes:
        raise NotImplementedError

    async def flows(self, *, limit: int = 100, cursor: str | None = None) -> models.FlowPageModel:
        return await self._get("/v1/flows", models.FlowPageModel, {"limit": limit, "cursor": cursor})

    async def flow(self, id: str) -> models.FlowModel:
        """Return the flow of a trace, event, aggregate or correlation id, or of a position."""
        return await self._get(f"/v1/flows/{quote_segment(id)}", models.FlowModel)

    async def flow_document(self, id: str, format: str, *, width: int | None = None) -> str:
        """Return a flow as a document: `html`, `markdown`, `mermaid`, `otlp` or `sequence` (at most this wide)."""
        content = await self._read(f"/v1/flows/{quote_segment(id)}", {"format": format, "width": width}, READING)
        return content.decode("utf-8", "replace")

    async def aggregate(
        self,
        id: str,
        *,
        limit: int = 0,
        at: str | None = None,
        diff: str | None = None,
        reducer: str | None = None,
        steps: bool = False,
    ) -> models.AggregateModel:
        """Return the events of an aggregate; with `at`, `diff`, `reducer` or `steps`, its state at a moment too."""
        parameters = {"limit": limit, "at": at, "diff": diff, "reducer": reducer, "steps": steps or None}
        timeout = TIMEOUT if at is diff is reducer is None and not steps else READING
        return await self._get(f"/v1/aggregates/{quote_segment(id)}", models.AggregateModel, parameters, timeout)


def quote_segment(id: str) -> str:
    """Quote an id as one segment of a path."""
    return quote(id.encode("utf-8", "surrogateescape"), safe="")
