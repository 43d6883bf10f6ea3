"""A TCP proxy on loopback that cuts connections after a number of bytes."""

from __future__ import annotations

import asyncio
from types import TracebackType


class CuttingProxy:
    """Forwards everything until told to cut.

    `cut_sent` and `cut_answered` set after how many further bytes to the server, or from it, all connections end. Bytes
    beyond that are not forwarded.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self.cut_sent: int | None = None
        self.cut_answered: int | None = None
        self.cuts = 0

    async def __aenter__(self) -> CuttingProxy:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None):
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        self.cut_sent = self.cut_answered = None
        self.cuts += 1
        for writer in self._writers:
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._port)
        both = {writer, there_writer}
        self._writers |= both
        try:
            await asyncio.gather(
                self._pass(reader, there_writer, "cut_sent"), self._pass(there_reader, writer, "cut_answered")
            )
        except OSError:
            pass
        finally:
            self._writers -= both
            for one in both:
                one.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: str) -> None:
        while data := await reader.read(65_536):
            rest: int | None = getattr(self, left)
            if rest is not None:
                data, rest = data[:rest], rest - len(data)
                setattr(self, left, max(rest, 0))
            if data:
                writer.write(data)
                await writer.drain()
            if rest is not None and rest <= 0:
                # Forwarded bytes arrive; then the connection is dead.
                writer.close()
                self.cut()
                return
        writer.close()
