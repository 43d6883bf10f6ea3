"""The name of this consumer in its groups: stable over restarts, so that it gets its own pending entries back at once,
and never shared by two that live."""

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
"""Who holds the entries that a member gave back when it closed: anybody may claim them at once."""
MARK = ":mark"
"""What a member's mark in a group is called, behind its name: a consumer that never reads. Reading makes the reader's
consumer by the way; only by a mark can a member see that its group was deleted and created again."""
_MOST = 1000
_ABSTRACT_SOCKETS = sys.platform.startswith("linux")


class ConsumerSlot:
    """A number that no other living member of this host has for a group, lowest first. On Linux it is a name in the
    kernel (an abstract Unix socket), which dies with its process and which containers of one pod share; elsewhere a
    locked file."""

    def __init__(self, service: str, group: str, server: str) -> None:
        self._lock: socket.socket | IO[bytes] | None = None
        host = socket.gethostname()
        what = f"{server}|{group}|{service}"
        for number in range(_MOST):
            self._lock = _take(f"{what}|{number}")
            if self._lock is not None:
                self.name = f"{service}@{host}" + (f".{number}" if number else "")
                return
        self.name = f"{service}@{host}.{os.getpid()}"

    def leave(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def _take(what: str) -> socket.socket | IO[bytes] | None:
    digest = blake2b(what.encode(), digest_size=8).hexdigest()
    if _ABSTRACT_SOCKETS:
        name = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            name.bind(f"\0tracecar.member.{digest}")
        except OSError:
            name.close()
            return None
        return name
    path = Path(tempfile.gettempdir()) / f"tracecar.{os.getuid()}.{digest}.lock"
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file
