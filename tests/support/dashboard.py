"""Drives the dashboard with keys, and reads what it shows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from textual.app import ScreenStackError
from textual.css.query import NoMatches
from textual.pilot import Pilot
from textual.widget import Widget

from sidecar.api.client.client import Client
from tui.app import Dashboard
from tui.widgets.virtual_list import VirtualList

PATIENCE = 60.0
"""Seconds until a test fails; on a busy machine a key takes long."""


@asynccontextmanager
async def driven(
    client: Client, size: tuple[int, int] = (120, 40), **more: Any
) -> AsyncIterator[tuple[Dashboard, Pilot[None]]]:
    """Run the dashboard with a client, once it shows a screen."""
    app = Dashboard(lambda token: client, **more)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: "live" in app._pages and app.page("live") in app.screen_stack)
        yield app, pilot


async def until(pilot: Pilot[None], holds: Callable[[], Any], what: str = "") -> None:
    """Return once the condition holds."""
    deadline = time.monotonic() + PATIENCE
    while True:
        await pilot.pause()
        try:
            if holds():
                return
        except (NoMatches, ScreenStackError):  # a screen under construction
            pass
        assert time.monotonic() < deadline, f"{what or holds}\n{shown(pilot.app)}"
        await asyncio.sleep(0.02)


def shown(app: Any) -> str:
    """Return the screen as text."""
    lines = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip) for strip in lines)


def rows(app: Dashboard, id: str) -> VirtualList[Any]:
    return app.screen.query_one(f"#{id}", VirtualList)


def text_of(widget: Widget) -> str:
    """Return the lines that a widget draws."""
    return "\n".join(widget.render_line(y).text for y in range(widget.size.height))


async def on(pilot: Pilot[None], app: Dashboard, key: str, place: str) -> None:
    """Press a number key and wait for its screen."""
    await pilot.press(key)
    await until(pilot, lambda: app.screen is app.page(place), f"screen {place}")
