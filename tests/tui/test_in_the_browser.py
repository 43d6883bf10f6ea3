"""`tracecar tui --web` in a browser: without a token it shows nothing."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import httpx2
import pytest

from tests.support.api import OPERATOR, Sidecar, order, serving

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE = 60.0


@asynccontextmanager
async def served(sidecar: Sidecar) -> AsyncIterator[str]:
    """The address of the dashboard. The operator's token is in the environment and must not be used for pages."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sidecar", "tui", "--web", "--port", "0"),
        *("--url", sidecar.url),
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"TRACECAR_TOKEN": OPERATOR},
    )
    assert process.stderr is not None
    try:
        line = (await process.stderr.readline()).decode()
        yield line.partition(" at ")[2].partition(" ")[0].rstrip("/")
    finally:
        process.terminate()
        await process.communicate()


async def _draws(socket: aiohttp.ClientWebSocketResponse, wanted: bytes) -> None:
    """Return once the terminal in the page was sent these bytes."""
    seen = b""
    async with asyncio.timeout(PATIENCE):
        while wanted not in seen:
            message = await socket.receive()
            assert message.type in (aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT), (message, seen[-2_000:])
            seen += message.data if isinstance(message.data, bytes) else message.data.encode()


async def test_a_page_shows_nothing_without_the_token(tmp_path: Path) -> None:
    async with serving(tmp_path / "token") as sidecar, served(sidecar) as url:
        await sidecar.pass_on(order(4711))
        headers = {"Origin": url}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.ws_connect(f"{url.replace('http', 'ws')}/ws?width=100&height=30") as socket,
        ):
            await _draws(socket, b"This dashboard requires a token")
            assert sidecar.live.subscribers == 0
            await socket.send_json(["stdin", "wrong-token\r"])
            await _draws(socket, b"unknown to this sidecar")
            assert sidecar.live.subscribers == 0
            await socket.send_json(["stdin", f"{OPERATOR}\r"])
            await _draws(socket, b"o-4711")
            assert sidecar.live.subscribers == 1


async def test_other_pages_and_other_names_are_turned_away(tmp_path: Path) -> None:
    async with (
        serving(tmp_path / "token") as sidecar,
        served(sidecar) as url,
        httpx2.AsyncClient(base_url=url, trust_env=False) as http,
    ):
        page = await http.get("/")
        assert page.status_code == 200
        assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
        assert "googleapis" not in page.text
        assert OPERATOR not in page.text
        assert (await http.get("/", headers={"Host": "evil.example"})).status_code == 403
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
                   "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}  # fmt: skip
        assert (await http.get("/ws", headers=upgrade)).status_code == 403
        assert (await http.get("/ws", headers=upgrade | {"Origin": "http://evil.example"})).status_code == 403


@pytest.mark.system
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
async def test_a_real_browser_shows_it(tmp_path: Path) -> None:
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory() as profile:
        async with serving(tmp_path / "token") as sidecar, served(sidecar) as url:
            browser = await asyncio.create_subprocess_exec(
                *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"),
                *(f"--user-data-dir={profile}", "--window-size=1200,800", url),
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )
            try:
                await _types_the_token(Path(profile), sidecar)
            finally:
                browser.terminate()
                await browser.wait()


async def _types_the_token(profile: Path, sidecar: Sidecar) -> None:
    """Wait for the page's first picture, type the token, and wait until the sidecar has a live subscriber."""
    async with asyncio.timeout(PATIENCE), aiohttp.ClientSession() as session:
        while not (port := profile / "DevToolsActivePort").exists() or not port.read_text().strip():
            await asyncio.sleep(0.05)
        number = port.read_text().split()[0]
        pages = await (await session.get(f"http://127.0.0.1:{number}/json")).json()
        address = next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page")
        async with session.ws_connect(address) as devtools:
            asked = 0

            async def ask(method: str, **parameters: Any) -> Any:
                nonlocal asked
                asked += 1
                await devtools.send_str(json.dumps({"id": asked, "method": method, "params": parameters}))
                while True:
                    answer = json.loads((await devtools.receive()).data)
                    if answer.get("id") == asked:
                        return answer.get("result")

            drawn = "!!document.body && document.body.classList.contains('-first-byte')"
            while not (await ask("Runtime.evaluate", expression=drawn))["result"]["value"]:
                await asyncio.sleep(0.05)
            while sidecar.live.subscribers == 0:
                await ask("Runtime.evaluate", expression="document.querySelector('textarea')?.focus()")
                await ask("Input.insertText", text=OPERATOR)
                await ask("Input.dispatchKeyEvent", type="keyDown", key="Enter", code="Enter", text="\r",
                          windowsVirtualKeyCode=13)  # fmt: skip
                await ask("Input.dispatchKeyEvent", type="keyUp", key="Enter", code="Enter")
                for _ in range(30):  # the page may not have asked yet; then the token is typed once more
                    await asyncio.sleep(0.1)
                    if sidecar.live.subscribers:
                        return
