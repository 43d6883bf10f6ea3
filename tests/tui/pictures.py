"""`make pictures`: creates the README's pictures of the dashboard.

Starts the demo, drives the dashboard, writes each picture, and ends the demo. Look at each picture before you commit
it.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from sidecar.api.client.client import Client
from tests.support.dashboard import driven, on, rows, shown, until
from tui.app import Dashboard
from tui.dialogs.edit import EditDialog
from tui.dialogs.replay import ReplayDialog

FOLDER = Path(__file__).parents[2] / "docs" / "pictures"
SIZE = (132, 34)
SEED = 7
"""Seed of the shop: the same orders fail in the same way in each run."""
SECONDS = 600
"""Seconds after which the demo ends, also if this script fails."""
FAILED = "status:rejected stream:shipping code:schema.mismatch"
FAILURES = 3
"""Failing parcels to wait for; the order with the most events is shown."""
_VARIABLE = re.compile(r"export (TRACECAR_\w+)=(\S+)")
_FETCHED = re.compile(r"@font-face\s*\{[^}]*\}")
"""Fonts that a picture would load from another server; the reader's own are used instead."""
_NUMBERED = re.compile(r"terminal-\d+")
"""Names of a picture's contents: other numbers in each line would make every difference look large."""


@asynccontextmanager
async def demo() -> AsyncIterator[Client]:
    """A client of the demo's sidecar, while the demo runs."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sidecar", "demo", "--headless", "--seconds", str(SECONDS), "--seed", str(SEED)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        found: dict[str, str] = {}
        while len(found) < 2:
            line = (await process.stderr.readline()).decode()
            if not line:
                sys.exit(f"pictures: the demo ended with {await process.wait()} before it was ready")
            found.update(_VARIABLE.findall(line))
        async with Client(found["TRACECAR_URL"], found["TRACECAR_TOKEN"]) as client:
            yield client
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


async def failed(client: Client) -> str:
    """Return the position of a rejected parcel, of the order with the most events."""
    while len(items := (await client.events(FAILED, limit=20)).items) < FAILURES:
        await asyncio.sleep(0.5)
    flows = [(await client.flow(event.position), event.position) for event in items]
    return max(flows, key=lambda one: (one[0].event_count, one[1]))[1]


def keep(app: Dashboard, name: str) -> None:
    """Write the current screen."""
    picture = _NUMBERED.sub(f"tracecar-{name}", _FETCHED.sub("", app.export_screenshot(title="tracecar")))
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.svg").write_text(picture)
    print(f"docs/pictures/{name}.svg")


async def flow(app: Dashboard, pilot: Pilot[None], position: str) -> None:
    app.open_flow(position, at=position)
    await until(pilot, lambda: any(fact.marked for fact in rows(app, "facts").items))
    await until(pilot, lambda: any(fact.key.startswith("readers.") for fact in rows(app, "facts").items))


async def causes(app: Dashboard, pilot: Pilot[None], position: str) -> None:
    await on(pilot, app, "4", "letters")
    await until(pilot, lambda: rows(app, "causes").items)


async def letter(app: Dashboard, pilot: Pilot[None], position: str) -> None:
    app.open_letters(f"position:{position}")
    await until(pilot, lambda: app.screen is app.page("letters") and rows(app, "list").items)
    await pilot.press("enter")
    await until(pilot, lambda: any(fact.marked for fact in rows(app, "one").items))
    await until(pilot, lambda: any(field.here for field in rows(app, "schema").items))


async def edit(app: Dashboard, pilot: Pilot[None], position: str) -> None:
    """From the letter: replace the wrong quantity by a number."""
    await pilot.press("e")
    await until(pilot, lambda: isinstance(app.screen, EditDialog))
    dialog: Any = app.screen
    await pilot.press("2")  # the failing value is selected
    await until(pilot, lambda: dialog.verdict == "passes")


async def replay(app: Dashboard, pilot: Pilot[None], position: str) -> None:
    """From the edit: the dry run."""
    await pilot.press("ctrl+s")
    await until(pilot, lambda: isinstance(app.screen, ReplayDialog) and "would be sent" in shown(app))
    if "Send to:" in shown(app):
        await pilot.press("a")
    await until(pilot, lambda: "1 of 1 would be sent" in shown(app))


async def leave(app: Dashboard, pilot: Pilot[None], position: str) -> None:
    await pilot.press("escape")
    await until(pilot, lambda: app.screen is app.page("letters"))


async def map(app: Dashboard, pilot: Pilot[None], position: str) -> None:
    await on(pilot, app, "5", "map")
    await until(pilot, lambda: any(lane.nodes[0].readers for lane in rows(app, "lanes").items))


async def aggregate(app: Dashboard, pilot: Pilot[None], position: str) -> None:
    """The aggregate of an order without failures."""
    done = (await app.client.events("type:OrderCompleted", limit=1)).items[0]
    assert done.aggregate_id is not None
    app.open_aggregate(done.aggregate_id)
    await until(pilot, lambda: app.screen is app.page("aggregate") and len(rows(app, "steps").items) > 2)
    await until(pilot, lambda: not any(step.note for step in rows(app, "steps").items))
    await pilot.press("g", "j")
    await until(pilot, lambda: any(fact.key.startswith("change.") for fact in rows(app, "step").items))


Show = Callable[[Dashboard, Pilot[None], str], Awaitable[None]]
STEPS: tuple[tuple[Show, bool], ...] = (
    *((flow, True), (causes, True), (letter, False), (edit, True), (replay, False)),
    *((leave, False), (map, True), (aggregate, True)),
)
"""The steps in order, and which of them are pictures."""


async def main() -> None:
    async with demo() as client:
        position = await failed(client)
        async with driven(client, SIZE) as (app, pilot):
            for step, is_picture in STEPS:
                await step(app, pilot, position)
                if is_picture:
                    keep(app, step.__name__)


if __name__ == "__main__":
    asyncio.run(main())
