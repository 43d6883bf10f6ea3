"""`tracecar demo` as a newcomer sees it: in a real terminal (tmux), with the shop and a sidecar."""

from __future__ import annotations

import asyncio
import shlex
import shutil
import sys
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

TMUX = shutil.which("tmux")
PATIENCE = 60.0


class Terminal:
    """A window of its own tmux server."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def tmux(self, *arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *("tmux", "-L", self._name, "-f", "/dev/null", *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        out, _ = await process.communicate()
        return out.decode()

    async def press(self, *keys: str) -> None:
        await self.tmux("send-keys", "-t", "demo", *keys)

    async def shows(self, *words: str) -> str:
        """Return the screen once it shows all of the words."""
        deadline = time.monotonic() + PATIENCE
        while True:
            screen = await self.tmux("capture-pane", "-p", "-t", "demo")
            if all(word in screen for word in words):
                return screen
            assert time.monotonic() < deadline, f"waited for {words}:\n{screen}"
            await asyncio.sleep(0.1)


@asynccontextmanager
async def terminal(command: str, size: tuple[int, int]) -> AsyncIterator[Terminal]:
    made = Terminal(f"tracecar-{uuid.uuid4().hex[:8]}")
    width, height = map(str, size)
    await made.tmux(
        "new-session", "-d", "-s", "demo", "-x", width, "-y", height, f"env -u COLUMNS -u LINES {command}; exec cat"
    )
    try:
        yield made
    finally:
        await made.tmux("kill-server")


@pytest.mark.system
@pytest.mark.valkey
@pytest.mark.skipif(TMUX is None, reason="needs tmux")
async def test_the_screen_alone_leads_to_repairing_a_failing_order(tmp_path: Path) -> None:
    kept = shlex.quote(f"TRACECAR_TOKEN_FILE={tmp_path}/token")
    async with terminal(f"{kept} {shlex.quote(sys.executable)} -m sidecar demo", (120, 36)) as screen:
        await screen.shows("1 Live", "● shop", "OrderPlaced", "following")
        await screen.press("/")
        await screen.shows("query, for example")
        await screen.press("status:rejected stream:shipping", "Enter")
        await screen.shows("schema.mismatch", "match")
        await screen.press("Enter")
        await screen.shows("◀ ✗ here", "causes and effects", "expected int")
        await screen.press("d")
        await screen.shows("1 letter", "state", "◀ ✗ here")
        await screen.press("e")
        await screen.shows("Edit shop.ParcelDispatched", "Continue to replay")
        # The failing value, such as `"two"`, is selected; typing replaces it.
        await screen.press("2")
        await screen.shows("✓ valid", "→ 2")
        await screen.press("C-s")
        await screen.shows("already consumed past this record", "Send to:", "0 of 1 would be sent, 1 kept back")
        await screen.press("a")
        await screen.shows("a [x] all groups", "1 of 1 would be sent")
        await screen.press("y")
        await screen.shows("Replay done", "ParcelDispatched at", "replayed")
        await screen.press("Enter")
        await screen.shows("↻", "causes and effects")
        await screen.press("q")
        await screen.shows("You replayed 1 dead letter")
