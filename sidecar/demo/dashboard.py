"""The dashboard over the demo's shop."""

from __future__ import annotations

import asyncio

from sidecar.api.client.client import Client
from sidecar.demo.sidecar_process import SidecarProcess
from tui.app import Dashboard

CHECK_SECONDS = 0.5
HINT_SECONDS = 60.0
"""How long it says how another terminal finds this sidecar, where that is not as usual."""


async def look(sidecar: SidecarProcess, shop: asyncio.Future[bool], stop: asyncio.Event) -> None:
    """Shows the sidecar until somebody quits, `stop` is set or the shop is closed. Raises Outage where the sidecar ends
    before."""
    dashboard = Dashboard(lambda token: Client(sidecar.url, token or sidecar.token))
    if not sidecar.found:
        where = f"export TRACECAR_URL={sidecar.url} TRACECAR_TOKEN={sidecar.token}"
        dashboard.call_later(dashboard.notify, where, title="From another terminal", markup=False, timeout=HINT_SECONDS)
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
        await asyncio.wait({shop}, timeout=CHECK_SECONDS)
