"""Free TCP ports for servers of tests."""

from __future__ import annotations

import contextlib
import random
import socket

_PORTS = range(15_000, 32_000)
"""Ports below those that the system gives to clients, so that no connection takes one before its server does."""


def free_ports(count: int, *, distance: int = 0) -> list[int]:
    """Return free ports on loopback. They are drawn at random, so tests in several processes rarely collide.

    The ports at a `distance` from them are free too.
    """
    ports: list[int] = []
    with contextlib.ExitStack() as stack:
        for port in random.sample(_PORTS, 200):
            with contextlib.suppress(OSError):
                for bound in {port, port + distance}:
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", bound))
                ports.append(port)
            if len(ports) == count:
                return ports
    raise RuntimeError(f"fewer than {count} free ports between {_PORTS.start} and {_PORTS.stop}")


def free_port() -> int:
    """Return a free port."""
    return free_ports(1)[0]
