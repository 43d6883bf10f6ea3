"""`tracecar tui --web` in a browser: without a token it shows nothing."""

from __future__ import annotations

import asyncio
import json
import os
import re
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
from tests.support.conditions import until

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


async def test_the_page_is_recognizable_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    async with (
        serving(tmp_path / "token") as sidecar,
        served(sidecar) as url,
        httpx2.AsyncClient(base_url=url, trust_env=False) as http,
    ):
        page = await http.get("/")
        assert "<title>Tracecar</title>" in page.text
        assert 'rel="icon"' in page.text
        assert 'role="status"' in page.text
        assert "<noscript>" in page.text
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        paths = re.findall(r'(?:href|src)="([^"]*)"', page.text)
        assert paths
        for path in paths:
            assert path.startswith("/")
            assert (await http.get(path)).status_code == 200, path
        assert (await http.get("/page/..%2f__init__.py")).status_code == 404


async def test_a_session_needs_the_token_and_opens_one_dashboard(tmp_path: Path) -> None:
    async with serving(tmp_path / "token") as sidecar, served(sidecar) as url:
        await sidecar.pass_on(order(4711))
        async with aiohttp.ClientSession() as session:

            async def post(origin: str | None = url, **body: str) -> aiohttp.ClientResponse:
                headers = {"Origin": origin} if origin else {}
                return await session.post(f"{url}/session", json=body, headers=headers)

            assert (await post(None, token=OPERATOR)).status == 403
            assert (await post("http://evil.example", token=OPERATOR)).status == 403
            refused = await post(token="wrong-token")
            assert refused.status == 401
            assert "unknown" in (await refused.json())["detail"]
            assert (await post(token=OPERATOR, link="#/nowhere/1")).status == 400
            assert (await post(nonsense="")).status == 400
            granted = await (await post(token=OPERATOR, link="#/flow/e-4711")).json()
            assert granted["service"] == "shop"
            address = f"{url.replace('http', 'ws')}/ws/{granted['id']}?width=120&height=30"
            async with session.ws_connect(address, headers={"Origin": url}) as socket:
                await _draws(socket, b"o-4711")
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await session.ws_connect(address, headers={"Origin": url})


@pytest.mark.system
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
async def test_a_real_browser_opens_a_link_and_keeps_the_token_for_the_tab(tmp_path: Path) -> None:
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory() as profile:
        async with serving(tmp_path / "token") as sidecar, served(sidecar) as url:
            await sidecar.pass_on(order(4711))
            browser = await asyncio.create_subprocess_exec(
                *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"),
                *(f"--user-data-dir={profile}", "--window-size=1200,800", f"{url}/#/flow/e-4711"),
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )
            try:
                async with asyncio.timeout(PATIENCE), _opened_page(Path(profile)) as page:
                    await _use_page(page, sidecar)
            finally:
                browser.terminate()
                await browser.wait()


async def _use_page(page: _BrowserPage, sidecar: Sidecar) -> None:
    await page.wait("!document.getElementById('form').hidden")
    assert await page.evaluate("document.activeElement.id") == "token"
    await page.send_token("wrong-token")
    await page.wait("document.getElementById('state').textContent.includes('unknown')")
    assert await page.evaluate("sessionStorage.length") == 0
    await page.send_token(OPERATOR)
    await page.wait("document.body.classList.contains('-first-byte')")
    assert await page.evaluate("document.title") == "shop · Tracecar"
    assert await page.evaluate("localStorage.length") == 0
    assert OPERATOR not in await page.evaluate("location.href")
    await until(lambda: sidecar.live.subscribers == 1)
    await page.evaluate("location.reload()")
    await until(lambda: sidecar.live.subscribers == 0)
    await page.wait("document.body.classList.contains('-first-byte')")  # without asking for the token again
    await until(lambda: sidecar.live.subscribers == 1)
    assert not page.violations


class _BrowserPage:
    """A page of a browser, driven by its debugging protocol."""

    def __init__(self, devtools: aiohttp.ClientWebSocketResponse) -> None:
        self._devtools, self._asked = devtools, 0
        self.violations: list[str] = []

    async def ask(self, method: str, **parameters: Any) -> Any:
        self._asked += 1
        await self._devtools.send_str(json.dumps({"id": self._asked, "method": method, "params": parameters}))
        while True:
            answer = json.loads((await self._devtools.receive()).data)
            if "Content Security Policy" in json.dumps(answer.get("params", "")):
                self.violations.append(json.dumps(answer["params"])[:500])
            if answer.get("id") == self._asked:
                return answer.get("result")

    async def evaluate(self, expression: str) -> Any:
        result = await self.ask("Runtime.evaluate", expression=expression)
        return result.get("result", {}).get("value") if result else None

    async def wait(self, expression: str) -> None:
        while not await self.evaluate(expression):
            await asyncio.sleep(0.05)

    async def send_token(self, token: str) -> None:
        await self.evaluate("document.getElementById('token').focus()")
        await self.ask("Input.insertText", text=token)
        await self.ask("Input.dispatchKeyEvent", type="keyDown", key="Enter", code="Enter", text="\r",
                       windowsVirtualKeyCode=13)  # fmt: skip
        await self.ask("Input.dispatchKeyEvent", type="keyUp", key="Enter", code="Enter")


@asynccontextmanager
async def _opened_page(profile: Path) -> AsyncIterator[_BrowserPage]:
    async with aiohttp.ClientSession() as session:
        while not (port := profile / "DevToolsActivePort").exists() or not port.read_text().strip():
            await asyncio.sleep(0.05)
        number = port.read_text().split()[0]
        pages = await (await session.get(f"http://127.0.0.1:{number}/json")).json()
        address = next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page")
        async with session.ws_connect(address, max_msg_size=0) as devtools:
            page = _BrowserPage(devtools)
            await page.ask("Log.enable")
            yield page
