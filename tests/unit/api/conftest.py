"""Fixtures of the API tests: a running sidecar in memory, and an HTTP client with the operator's token."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest_asyncio

from tests.support.api import Sidecar, serving


@pytest_asyncio.fixture
async def sidecar(tmp_path: Path) -> AsyncIterator[Sidecar]:
    async with serving(tmp_path / "token") as running:
        yield running


@pytest_asyncio.fixture
async def http(sidecar: Sidecar) -> AsyncIterator[httpx2.AsyncClient]:
    async with sidecar.http() as client:
        yield client
