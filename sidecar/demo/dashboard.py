"""Dashboard of the demo."""

from __future__ import annotations

import asyncio

from sidecar.api.client.client import Client
from sidecar.demo.sidecar_process import SidecarProcess
from tui.app import Dashboard

PROCESS_CHECK_INTERVAL_S = 0.5
HINT_DURATION_S = 60.0
"""Display time of the hint about reaching this sidecar from another terminal."""


async def show_dashboard(sidecar: SidecarProcess, shop: asyncio.Future[bool], stop: asyncio.Event) -> None:
    """Show the dashboard until the user quits, `stop` is set or the shop closes. Raises Outage if the sidecar ends."""
    dashboard = Dashboard(lambda token: Client(sidecar.url, token or sidecar.token))
    if not sidecar.has_default_address:
        where = f"export TRACECAR_URL={sidecar.url} TRACECAR_TOKEN={sidecar.token}"
        dashboard.call_later(
            dashboard.notify, where, title="From another terminal", markup=False, timeout=HINT_DURATION_S
        )
    shown = asyncio.ensure_future(dashboard.run_async())
    watched = asyncio.ensure_future(_watch(sidecar, shop, stop))
    try:
        await asyncio.wait({shown, watched}, return_when=asyncio.FIRST_COMPLETED)
        if watched.done():
            dashboard.exit()
        await shown
    finally:
        watched.cancel()
        await asyncio.wait({watched})
    if not watched.cancelled():
        watched.result()


async def _watch(sidecar: SidecarProcess, shop: asyncio.Future[bool], stop: asyncio.Event) -> None:
    while not shop.done() and not stop.is_set():
        sidecar.check()
        await asyncio.wait({shop}, timeout=PROCESS_CHECK_INTERVAL_S)
