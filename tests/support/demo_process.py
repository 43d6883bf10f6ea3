"""`tracecar demo` as a process, and assertions about its summary."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

from sidecar.demo.runner import SHOP_OPEN_MESSAGE


async def start(*arguments: str, **environment: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "sidecar",
        "demo",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | environment,
    )


async def opened(process: asyncio.subprocess.Process) -> None:
    """Return once the shop is open."""
    assert process.stderr is not None
    said = b""
    while SHOP_OPEN_MESSAGE.encode() not in said:
        line = await process.stderr.readline()
        assert line, said.decode()
        said += line


async def summary(*arguments: str) -> dict[str, Any]:
    """Run the demo to its end, which must be successful, and return its summary."""
    process = await start("--headless", "--json", *arguments)
    out, said = await process.communicate()
    assert process.returncode == 0, f"{out.decode()}\n{said.decode()}"
    found: dict[str, Any] = json.loads(out)
    return found


def check(found: dict[str, Any], *, broker: str, orders: int) -> None:
    """Assert that the counts agree with each other. The demo itself compares them with the shop's."""
    assert found["mismatches"] == []
    assert found["broker"] == broker
    assert found["orders"] == orders
    assert orders <= found["flows"] < orders * 4  # events of bad habits are flows of their own
    assert found["events"] > orders * 8
    assert 0 < found["rejected"] == found["dead_letters"] == sum(found["codes"].values())
    assert len(found["codes"]) >= 4
    assert found["rejected"] < found["events"] / 10
    assert found["duplicates"] > 0
    assert found["replayed"] > 0
    assert found["seconds"] >= orders / 4 - 1
