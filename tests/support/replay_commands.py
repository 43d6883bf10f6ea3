"""Helpers for tests of replay commands: dead letters, what was published, and a terminal."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import sys
from typing import Any

from tests.support.api import OPERATOR, Sidecar, order


def at(sidecar: Sidecar, token: str = OPERATOR) -> dict[str, str]:
    """Return the environment of a command that asks this sidecar."""
    return {"TRACECAR_URL": sidecar.url, "TRACECAR_TOKEN": token}


async def add_letter(sidecar: Sidecar, number: int = 9, **data: Any) -> str:
    """Publish an event with an invalid total, and return the id of its dead letter."""
    bad = await sidecar.pass_on(order(number, data={"total": [number], "secret": "s3cret", **data}))
    return f"tracecar.shop@{bad.event.position}"


def published_bodies(sidecar: Sidecar, stream: str) -> list[Any]:
    """Return the bodies of all records of a stream."""
    parts = sidecar.log.streams.get(stream, [])
    return [json.loads(record.value or b"null") for part in parts for record in part.records]


def replayed_bodies(sidecar: Sidecar, stream: str = "orders") -> list[Any]:
    """Return the bodies of the replayed records of a stream."""
    return [
        json.loads(record.value or b"null")
        for part in sidecar.log.streams[stream]
        for record in part.records
        if "tracecar.replay-id" in dict(record.headers)
    ]


async def run_at_terminal(*arguments: str, answers: str = "", **environment: str) -> tuple[int, str]:
    """Run a command at a terminal, type the answers, and return its exit code and output."""
    master, slave = pty.openpty()
    read = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(read), os.fdopen(master, "rb", buffering=0)
    )
    base = {name: value for name, value in os.environ.items() if not name.startswith("TRACECAR_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sidecar", *arguments, stdin=slave, stdout=slave, stderr=slave,
        env=base | {"TERM": "xterm-256color", "COLUMNS": "100", "NO_COLOR": "1"} | environment,
    )  # fmt: skip
    os.write(master, answers.encode())
    code = await process.wait()
    os.close(slave)
    chunks = []
    while True:
        try:
            chunk = await read.read(65_536)
        except OSError:  # Linux reports the end of a terminal's output as an error
            break
        if not chunk:
            break
        chunks.append(chunk)
    transport.close()
    return code, b"".join(chunks).decode()
