"""Makes the README's pictures from a running demo: `python -m tests.tui.pictures`, with the TRACECAR_URL and
TRACECAR_TOKEN that the demo prints. Look at each one before it is kept."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

from sidecar.api.client import Client
from tests.tui.driving import driven, rows, until

FOLDER = Path(__file__).parents[2] / "docs" / "pictures"
_FETCHED = re.compile(r"@font-face\s*\{[^}]*\}")
"""Fonts that a picture would ask another server for; the reader's own will do."""
QUERY = "status:rejected stream:shipping code:schema.mismatch"


async def main() -> None:
    async with Client(os.environ["TRACECAR_URL"], os.environ["TRACECAR_TOKEN"]) as client:
        page = await client.events(QUERY, limit=20)
        flows = [(await client.flow(event.position), event.position) for event in page.items]
        _, failed = max(flows, key=lambda one: (one[0].event_count, one[1]))
        async with driven(client, (132, 34)) as (app, pilot):
            app.open_flow(failed, at=failed)
            await until(pilot, lambda: any(fact.marked for fact in rows(app, "facts").items))
            await until(pilot, lambda: any(fact.key.startswith("readers.") for fact in rows(app, "facts").items))
            picture = _FETCHED.sub("", app.export_screenshot(title="tracecar"))
            (FOLDER / "flow.svg").write_text(picture)


if __name__ == "__main__":
    asyncio.run(main())
