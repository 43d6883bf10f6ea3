"""The client against the real API, over a real socket."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest
import pytest_asyncio

from sidecar.api import models
from sidecar.api.client.client import (
    BadRequest,
    Client,
    LiveConnected,
    LiveRetry,
    NotFound,
    ServerFailed,
    Unauthorized,
    Unreachable,
)
from sidecar.domain.errors import Outage
from sidecar.pipeline.live_stream import LiveStream
from tests.support.api import READER, Sidecar, order, serving


@pytest_asyncio.fixture
async def client(sidecar: Sidecar) -> AsyncIterator[Client]:
    async with sidecar.client() as connected:
        yield connected


async def test_every_answer_is_typed(sidecar: Sidecar, client: Client) -> None:
    good = await sidecar.pass_on(order(1, correlationId="c/1"))
    bad = await sidecar.pass_on(b"\x00\xff")
    position = str(good.event.position)
    page = await client.events("status:ok", limit=5)
    assert [one.position for one in page.items] == [position]
    assert (await client.event(position)).body["eventId"] == "e-1"  # type: ignore[index]
    assert (await client.event("e-1")).position == position
    assert (await client.flow("c/1")).event_count == 1
    assert (await client.flows()).items
    assert (await client.aggregate("o-1")).events[0].position == position
    letters = await client.dead_letters()
    assert letters.items[0].origin == str(bad.event.position)
    assert (await client.dead_letter(letters.items[0].id)).body == {"base64": "AP8="}
    assert (await client.schemas()).items[0].subject == "orders-value"
    assert (await client.status()).service == "shop"
    assert [one.stream for one in (await client.streams()).items] == ["orders", "payments"]
    assert (await client.resume("orders")).partitions == 0


async def test_errors_are_classes(sidecar: Sidecar, client: Client) -> None:
    with pytest.raises(NotFound, match="nobody"):
        await client.flow("nobody")
    with pytest.raises(BadRequest) as wrong:
        await client.events("stream:a nonsense:1")
    assert wrong.value.query == "stream:a nonsense:1"
    assert wrong.value.at == 9
    async with sidecar.client("nonsense") as stranger:
        with pytest.raises(Unauthorized, match="unknown to this sidecar"):
            await stranger.status()
    async with sidecar.client(READER) as reader:
        with pytest.raises(Unauthorized, match="operate"):
            await reader.resume("orders")
    sidecar.held["orders"] = 1
    with pytest.raises(ServerFailed, match="lose"):
        await client.skip("orders")
    async with Client("http://127.0.0.1:9") as nobody:
        with pytest.raises(Unreachable, match="no sidecar answers"):
            await nobody.status()


async def test_another_server_is_recognized() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server, Client(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as client:
        with pytest.raises(ServerFailed, match="not a sidecar"):
            await client.status()


async def test_the_live_stream_brings_what_matches_as_it_passes(sidecar: Sidecar, client: Client) -> None:
    async with aclosing(client.live("status:rejected")) as items:
        assert await anext(items) == LiveConnected(again=False)
        await sidecar.pass_on(order(1))
        bad = await sidecar.pass_on(b"\x00\xff")
        event = await anext(items)
    assert isinstance(event, models.EventModel)
    assert event.position == str(bad.event.position)


async def test_the_live_stream_reconnects_and_reports_it(tmp_path: Path) -> None:
    async with serving(tmp_path / "token") as first:
        client = first.client()
        items = client.live()
        assert await anext(items) == LiveConnected(again=False)
        port = int(first.url.rpartition(":")[2])
    waiting = await anext(items)
    assert isinstance(waiting, LiveRetry)
    async with client, serving(tmp_path / "token", port=port) as second, aclosing(items):
        async for item in items:
            if isinstance(item, LiveConnected):
                assert item.again
                await second.pass_on(order(1))
            elif isinstance(item, models.EventModel):
                assert item.event_id == "e-1"
                break


async def test_a_listener_who_leaves_is_forgotten(sidecar: Sidecar, client: Client) -> None:
    async with aclosing(client.live()) as items:
        await anext(items)
        assert sidecar.live.subscribers == 1
    await client.close()
    while sidecar.live.subscribers:
        await sidecar.pass_on(order(1))
        await asyncio.sleep(0)


async def test_a_wrong_query_or_token_ends_the_live_stream(sidecar: Sidecar, client: Client) -> None:
    with pytest.raises(BadRequest):
        await anext(client.live("nonsense:1"))
    async with sidecar.client("nonsense") as stranger:
        with pytest.raises(Unauthorized):
            await anext(stranger.live())


async def test_a_slow_subscriber_learns_what_was_dropped(sidecar: Sidecar, client: Client) -> None:
    async with aclosing(client.live()) as items:
        await anext(items)
        decoded = [await sidecar.pass_on(order(number)) for number in range(10)]
        for _ in range(5_000):
            sidecar.live.publish(decoded)  # without giving the listener a turn
        notice = await anext(items)
        assert isinstance(notice, models.DroppedModel)
        assert notice.count == notice.total == sidecar.live.dropped
        assert isinstance(await anext(items), models.EventModel)
    assert sidecar.live.dropped > 0


async def test_a_scan_reads_what_the_index_never_saw(sidecar: Sidecar, client: Client) -> None:
    for number in range(20):
        sidecar.publish(order(number))
    sidecar.publish(b"\x00\xff")
    items = [item async for item in client.scan("stream:orders body.data.total:>=150", full=True)]
    events = [item for item in items if isinstance(item, models.EventModel)]
    assert [one.event_id for one in events] == [f"e-{number}" for number in range(15, 20)]
    assert events[0].body["data"] == {"total": 150}  # type: ignore[index]
    end = items[-1]
    assert isinstance(end, models.ScanEndModel)
    assert (end.complete, end.scanned, end.matched) == (True, 21, 5)
    progress = [item for item in items if isinstance(item, models.ScanProgressModel)]
    assert progress[-1].total == 21
    limited = [item async for item in client.scan("stream:orders", limit=2)]
    assert sum(isinstance(item, models.EventModel) for item in limited) == 2
    by_key = [item async for item in client.scan(key="nobody")]
    assert isinstance(by_key[-1], models.ScanEndModel)
    assert by_key[-1].matched == 0


async def test_a_scan_that_fails_says_why(sidecar: Sidecar, client: Client) -> None:
    with pytest.raises(NotFound, match="nothing"):
        await anext(client.scan("stream:nothing"))
    sidecar.publish(order(1))
    sidecar.broker.fail_next("scan", Outage("the broker is gone"))
    with pytest.raises(ServerFailed, match="the broker is gone"):
        [item async for item in client.scan("stream:orders")]


async def test_a_scan_is_cancelled_by_not_going_on(sidecar: Sidecar, client: Client) -> None:
    for number in range(500):
        sidecar.publish(order(number))
    for _ in range(12):  # more than are allowed at the same time
        async with aclosing(client.scan("stream:orders")) as items:
            async for item in items:
                if isinstance(item, models.EventModel):
                    break


async def test_only_so_many_listen() -> None:
    live = LiveStream()
    subscriptions = [live.subscribe() for _ in range(64)]
    with pytest.raises(Outage, match="follow the live stream already"):
        live.subscribe()
    subscriptions[0].close()
    live.subscribe()
    live.close()
    assert live.subscribers == 0


def test_the_client_is_light() -> None:
    heavy = (
        "aiokafka",
        "redis",
        "fastavro",
        "opentelemetry",
        "litestar",
        "uvicorn",
        "yaml",
        "sidecar.domain.model",
        "sidecar.domain.ports",
    )
    code = f"import sys, sidecar.api.client.client; print([m for m in {heavy!r} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "url",
    [
        "http://u:hunter2@127.0.0.1:1",
        "http://hunter2@127.0.0.1:1/x?token=hunter2",
        "http://u:hunter/2@host",
        "http://u:hunter2@[::1",
        "ftp://u:hunter2@127.0.0.1",
        "u:hunter2@127.0.0.1:1",
    ],
)
async def test_no_error_quotes_a_password_in_the_address(url: str) -> None:
    with pytest.raises(Unreachable) as raised:
        async with Client(url, "token") as client:
            await client.status()
    assert "hunter" not in str(raised.value)
