"""The demo on a real Valkey, as a newcomer runs it."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import signal
import sys
import termios
from pathlib import Path

import pytest

from sidecar.api.client.client import Client
from tests.support import demo_process

pytestmark = pytest.mark.valkey


async def test_the_sidecar_finds_what_the_shop_has_published_and_the_same_seed_has_the_same_outcome() -> None:
    first, second = await asyncio.gather(demo_process.summary("--seconds", "8"), demo_process.summary("--seconds", "8"))
    for found in (first, second):
        demo_process.check(found, broker="redis", orders=32)
        found.pop("seconds")
    assert first == second


async def test_sigterm_closes_the_shop_counts_and_leaves_nothing_behind() -> None:
    process = await demo_process.start("--headless", "--seconds", "600")
    await demo_process.opened(process)
    children = _descendants(process.pid)
    assert any(b"run\0-c" in _command(pid) for pid in children)
    process.send_signal(signal.SIGTERM)
    out, said = await process.communicate()
    assert process.returncode == 0, said.decode()
    assert "the numbers that the shop itself counted" in out.decode()
    assert not [pid for pid in children if _alive(pid)]


async def test_a_killed_demo_ends_its_child_processes(tmp_path: Path) -> None:
    process = await demo_process.start("--headless", "--seconds", "600", TMPDIR=str(tmp_path))
    await demo_process.opened(process)
    children = _descendants(process.pid)
    assert any(b"run\0-c" in _command(pid) for pid in children)
    process.kill()
    await process.communicate()
    while [pid for pid in children if _alive(pid)]:
        await asyncio.sleep(0.02)


def _descendants(parent: int) -> set[int]:
    found: set[int] = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            pid = int(stat.parent.name)
            found |= {pid} | _descendants(pid)
    return found


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _alive(pid: int) -> bool:
    """Return True if the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_at_a_terminal_the_demo_opens_the_dashboard_and_names_further_commands(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sidecar", "demo"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=os.environ | {"TERM": "xterm-256color", "TRACECAR_TOKEN_FILE": str(tmp_path / "token")},
    )
    os.close(theirs)
    before = await asyncio.to_thread(_read_until, ours, b"--help")
    found = re.search(rb"export TRACECAR_URL=(\S+) TRACECAR_TOKEN=([\w-]+);", before)
    assert found is not None
    await asyncio.to_thread(_read_until, ours, b"OrderConfirmed")
    async with Client(found[1].decode(), found[2].decode()) as client:
        assert (await client.status()).service == "shop"
    process.send_signal(signal.SIGINT)
    rest = await asyncio.to_thread(_read_until, ours, b"that the shop itself counted")
    assert await process.wait() == 0
    os.close(ours)
    assert b"dead letters" in rest


def _read_until(terminal: int, wanted: bytes) -> bytes:
    """Return the terminal's output up to `wanted`, without its control sequences."""
    seen = b""
    while wanted not in seen:
        seen = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", seen + os.read(terminal, 65_536))
    return seen
