"""Idle connections do not block other clients."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from sidecar.api.http.connections import ConnectionLimits
from sidecar.api.http.server import HttpListener
from tests.support.api import serving


@asynccontextmanager
async def listening(**limits: Any) -> AsyncIterator[HttpListener]:
    """Listen with an application whose requests for /slow take until the end of the test."""
    ended = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/slow":
            await ended.wait()
        if scope["path"] == "/read":
            while (await receive()).get("more_body"):
                pass
        body = b"x" * 50_000_000 if scope["path"] == "/large" else b"ok"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    listener = HttpListener(app, "127.0.0.1", 0, "api", ConnectionLimits(**limits))
    await listener.start()
    try:
        yield listener
    finally:
        ended.set()
        for connection in list(listener.connections._peers):
            connection.abort()
        await listener.stop()


@asynccontextmanager
async def connected(url: str, count: int, sent: bytes = b"", source: str = "127.0.0.1") -> AsyncIterator[list[Any]]:
    port = int(url.rpartition(":")[2])
    opened = []
    try:
        for _ in range(count):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
            writer.write(sent)
            opened.append((reader, writer))
        await asyncio.sleep(0.1)
        yield opened
    finally:
        for _, writer in opened:
            writer.transport.abort()


async def get(url: str) -> int:
    async with httpx2.AsyncClient(trust_env=False, timeout=5) as http:
        return (await http.get(url)).status_code


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nHost: loc", b"\x16\x03\x01"])
async def test_idle_connections_take_no_probe_away(tmp_path: Path, sent: bytes) -> None:
    async with serving(tmp_path / "token", probes=True) as sidecar:
        assert sidecar.serving.probes_url is not None
        for url in (sidecar.url, sidecar.serving.probes_url):
            async with connected(url, 600, sent):
                for path in ("healthz", "readyz", "metrics"):
                    assert await get(f"{url}/{path}") == 200


async def test_a_missing_request_head_closes_the_connection() -> None:
    async with listening(head_timeout_s=0.2) as listener, connected(listener.url, 1) as opened:
        _, writer = opened[0]
        async with asyncio.timeout(30):
            while listener.connections._peers:
                writer.write(b"x")  # one byte at a time
                await asyncio.sleep(0.02)


async def test_a_request_that_runs_outlives_the_deadline_and_the_limits() -> None:
    async with (
        listening(total=5, head_timeout_s=0.1) as listener,
        connected(listener.url, 1, b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n") as running,
        connected(listener.url, 20),
    ):
        assert await get(listener.url) == 200
        await asyncio.sleep(0.3)
        assert not running[0][0].at_eof()


async def test_one_address_cannot_use_up_all() -> None:
    request = b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with (
        listening(total=50, per_peer=10) as listener,
        connected(listener.url, 30, request, source="127.0.0.2") as opened,
    ):
        assert sum(not reader.at_eof() for reader, _ in opened) == 10
        assert await get(listener.url) == 200


async def test_an_answer_that_is_not_read_holds_no_place() -> None:
    request = b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with listening(total=5) as listener:
        clients = [socket.create_connection(("127.0.0.1", listener.port)) for _ in range(2)]
        for client in clients:
            client.sendall(request)
        await asyncio.sleep(0.3)
        async with connected(listener.url, 10):
            assert await get(listener.url) == 200
            assert len(listener.connections._peers) <= 5
        for client in clients:
            client.close()


HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
SMUGGLED = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def exchange(url: str, sent: bytes) -> list[int]:
    """Send bytes, and return the status of every answer until the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    writer.write(sent)
    try:
        async with asyncio.timeout(30):
            received = await reader.read()
    finally:
        writer.transport.abort()
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d+)", received)]


@pytest.mark.parametrize(
    "sent",
    [
        CHUNKED + b"Content-Length: 50\r\n\r\n0\r\n\r\n",
        HEALTH + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEALTH + b"Content-Length: 0\r\nContent-Length: 5\r\n\r\n",
        HEALTH + b"Content-Length: +0\r\n\r\n",
        HEALTH + b"Transfer-Encoding: identity\r\n\r\n",
        HEALTH + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        HEALTH + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        HEALTH + b"X-A: b\r\n\tc\r\n\r\n",
        HEALTH.replace(b"\r\n", b"\n") + b"\n",
        HEALTH + b"X-A: b\nContent-Length: 0\r\n\r\n",
        HEALTH + b"X-A: b\r\n\n",
        HEALTH + b"Host: other.example\r\n\r\n",
        b"GET /healthz HTTP/3.0\r\nHost: localhost\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0",
        b"GET /healthz\r\n\r\n",
    ],
)
async def test_requests_that_servers_read_differently_are_refused(sent: bytes) -> None:
    async with listening() as listener:
        assert await exchange(listener.url, sent + SMUGGLED) == [400]


async def test_nothing_is_read_behind_a_chunked_body() -> None:
    async with listening() as listener:
        assert await exchange(listener.url, CHUNKED + b"\r\n0\r\n\n" + SMUGGLED) == [200]


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with listening() as listener:
        last = HEALTH + b"Connection: close\r\n\r\n"
        assert await exchange(listener.url, (HEALTH + b"\r\n") * 2 + last) == [200, 200, 200]


async def test_a_broken_body_ends_its_request(caplog: pytest.LogCaptureFixture) -> None:
    async with listening() as listener, connected(listener.url, 1) as opened:
        reader, writer = opened[0]
        writer.write(CHUNKED.replace(b"healthz", b"read") + b"\r\n1\r\nx\r\nno chunk\r\n")
        async with asyncio.timeout(30):
            assert (await reader.read()).startswith(b"HTTP/1.1 400")
    assert "Exception in ASGI" not in caplog.text


async def test_a_body_that_stops_closes_the_connection() -> None:
    head = b"POST /read HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"
    async with (
        listening(body_timeout_s=0.3) as listener,
        connected(listener.url, 1, head) as opened,
    ):
        reader, writer = opened[0]
        writer.write(b"x")
        async with asyncio.timeout(30):
            assert await reader.read() == b""
