"""Networks of pods, each with its own loopback and address.

Relays connect them with addresses outside, so that servers listen in the pod's network only.
"""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

_NETWORK = 0x40000000  # CLONE_NEWNET
_SET_FLAGS, _SET_ADDRESS, _SET_MASK = 0x8914, 0x8916, 0x891C  # SIOCSIF…, see netdevice(7)
_UP = 1 | 64  # IFF_UP, IFF_RUNNING
_libc = ctypes.CDLL(None, use_errno=True)

Address = tuple[str, int]
Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


class Network:
    """A pod's network while it is open. Use it from one thread: that thread enters the network and returns."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._aliases = 0
        self._servers: list[asyncio.Server] = []
        self._joined: set[asyncio.Task[object]] = set()
        with _back():
            if _libc.unshare(_NETWORK) != 0:
                raise OSError(ctypes.get_errno(), "no network namespace can be made here")
            self._file = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            with socket.socket() as any_socket:
                fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sh14x", b"lo", _UP))
        self.add(address)

    @property
    def path(self) -> str:
        """Path by which another process enters the network."""
        return f"/proc/{os.getpid()}/fd/{self._file}"

    def add(self, address: str) -> None:
        """Add an address to the pod."""
        self._aliases += 1
        name = f"lo:{self._aliases}".encode()
        with self.socket() as any_socket:
            for request, value in ((_SET_ADDRESS, address), (_SET_MASK, "255.255.255.255")):
                sockaddr = struct.pack("=HH4s8x", socket.AF_INET, 0, socket.inet_aton(value))
                fcntl.ioctl(any_socket, request, struct.pack("16s16s8x", name, sockaddr))

    def socket(self) -> socket.socket:
        """Create a TCP socket of the pod, to be used from anywhere."""
        with _back():
            _go(self._file)
            return socket.socket()

    async def connect(self, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to the pod's address, as clients do. Raises OSError."""
        made = self.socket()
        made.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(made, (self.address, port))
        except BaseException:
            made.close()
            raise
        return await asyncio.open_connection(sock=made)

    async def relay(self, at: Address, connect: Connect) -> None:
        """Listen in the pod, and join each connection with one that `connect` opens."""
        listening = self.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(at)

        async def joined(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._joined.add(task)
            task.add_done_callback(self._joined.discard)
            writers = [writer]
            try:
                far_reader, far_writer = await connect()
                writers.append(far_writer)
                await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
            except (OSError, asyncio.CancelledError):
                pass  # like a network that loses a connection
            finally:
                for one in writers:
                    one.transport.abort()

        self._servers.append(await asyncio.start_server(joined, sock=listening))

    async def close(self) -> None:
        for server in self._servers:
            server.close()
        joined = [*self._joined]
        for task in joined:
            task.cancel()
        await asyncio.gather(*joined, return_exceptions=True)
        os.close(self._file)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


def _go(file: int) -> None:
    if _libc.setns(file, _NETWORK) != 0:
        raise OSError(ctypes.get_errno(), "the network namespace cannot be entered")


@contextmanager
def _back() -> Iterator[None]:
    """Return the thread to its previous network."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
    finally:
        _go(home)
        os.close(home)
