"""Talks to the process of the history's engine, and starts it when it is needed."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path

import msgspec

from sidecar.adapters.history.engine_process import LENGTH_BYTES
from sidecar.adapters.history.engine_requests import EngineReply, EngineRequest
from sidecar.domain.errors import Outage

MAX_REPLY_BYTES = 512 << 20
STOP_TIMEOUT_S = 5.0


class EngineFailure(Outage):
    """The engine refuses a request, or ended while it worked on it."""


class EngineClient:
    """One engine process, which works on one request at a time."""

    def __init__(self, spool: Path, *, memory_bytes: int, threads: int, nice_levels: int = 0) -> None:
        """Create a client. `nice_levels`: priority below that of this process, where both want the processor."""
        self._arguments = (str(spool), str(memory_bytes), str(threads), str(nice_levels))
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(EngineReply).decode

    async def run(self, request: EngineRequest) -> EngineReply:
        """Run a request in the engine process, and return the reply. Raises EngineFailure."""
        async with self._turn:
            try:
                return await self._run(request)
            except BaseException as error:
                if not isinstance(error, EngineFailure) or self._process is None:
                    # Canceled or broken in the middle: the next reply would be that of another request.
                    await self._end()
                raise

    async def _run(self, request: EngineRequest) -> EngineReply:
        process = self._process
        if process is None or process.returncode is not None:
            process = self._process = await self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        frame = self._encode(request)
        try:
            process.stdin.write(len(frame).to_bytes(LENGTH_BYTES, "big") + frame)
            await process.stdin.drain()
            head = await process.stdout.readexactly(LENGTH_BYTES)
            reply = self._decode(await process.stdout.readexactly(int.from_bytes(head, "big")))
        except (asyncio.IncompleteReadError, OSError) as error:
            code = await self._end()
            raise EngineFailure(f"the history's engine ended with code {code} while it worked") from error
        if reply.error is not None:
            raise EngineFailure(f"the history's engine failed: {reply.error}")
        return reply

    async def _start(self) -> asyncio.subprocess.Process:
        try:
            return await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "sidecar.adapters.history.engine_process",
                *self._arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=1 << 20,
            )
        except OSError as error:
            raise EngineFailure(f"cannot start the history's engine: {error}") from error

    async def _end(self) -> int | None:
        process, self._process = self._process, None
        if process is None:
            return None
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        return await process.wait()

    async def start(self) -> None:
        """Start the process now, so that the first request does not wait for it."""
        async with self._turn:
            if self._process is None or self._process.returncode is not None:
                self._process = await self._start()

    async def close(self) -> None:
        """End the process, after the request that it works on."""
        async with self._turn:
            process = self._process
            if process is None or process.stdin is None:
                return
            process.stdin.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_TIMEOUT_S):
                    await process.wait()
            await self._end()
