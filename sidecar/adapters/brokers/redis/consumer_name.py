"""Name of this consumer in its groups.

It survives restarts, so that a member gets its own pending entries back at once. Two living members never share it.
"""

from __future__ import annotations

import fcntl
import os
import socket
import sys
import tempfile
from hashlib import blake2b
from pathlib import Path
from typing import IO

RELEASED = "tracecar.released"
"""Consumer that holds the entries of members that have closed. Every member may claim them at once."""
SENTINEL_SUFFIX = ":mark"
"""Suffix of the sentinel consumer that each member creates in a group and never reads with.

A read creates the reader's consumer again, so only a missing sentinel shows that the group was deleted and created
again.
"""
MAX_CONSUMER_SLOTS = 1000
_ABSTRACT_SOCKETS = sys.platform.startswith("linux")


class ConsumerSlot:
    """A number that no other living member of this host has for a group, lowest first.

    On Linux it is a name in the kernel (an abstract Unix socket), which ends with its process and which the containers
    of one pod share; elsewhere it is a locked file.
    """

    def __init__(self, service: str, group: str, server: str) -> None:
        self._lock: socket.socket | IO[bytes] | None = None
        host = socket.gethostname()
        owner = f"{server}|{group}|{service}"
        for number in range(MAX_CONSUMER_SLOTS):
            self._lock = _acquire(f"{owner}|{number}")
            if self._lock is not None:
                self.name = f"{service}@{host}" + (f".{number}" if number else "")
                return
        self.name = f"{service}@{host}.{os.getpid()}"

    def leave(self) -> None:
        """Release the number."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def _acquire(name: str) -> socket.socket | IO[bytes] | None:
    digest = blake2b(name.encode(), digest_size=8).hexdigest()
    if _ABSTRACT_SOCKETS:
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            bound.bind(f"\0tracecar.member.{digest}")
        except OSError:
            bound.close()
            return None
        return bound
    path = Path(tempfile.gettempdir()) / f"tracecar.{os.getuid()}.{digest}.lock"
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file
