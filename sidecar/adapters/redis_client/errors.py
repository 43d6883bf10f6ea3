"""Translation of errors of Redis servers and connections into ours.

Errors are distinguished by class and by the error code (the first word of the reply, which is part of the protocol),
never by the text after it.
"""

from __future__ import annotations

import re

from redis import exceptions

from sidecar.domain.errors import Disconnected, Outage, Refused, TracecarError


class RedisReplyError(Refused):
    """An error reply that a retry would repeat.

    `code` is its first word: `NOGROUP`, `WRONGTYPE`, `BUSYGROUP`, `NOPERM`, `NOSCRIPT`, `ERR`.
    """

    def __init__(self, message: str, code: str) -> None:
        self.code = code
        super().__init__(message)


class RedisOutOfMemory(Outage):
    """The server's memory is full (OOM): it accepts no writes until something is deleted."""


class ClusterRedirect(Outage):
    """A slot is at another node of the Cluster (MOVED, ASK): discover the nodes again."""


_WAIT = {
    "MISCONF": "it cannot write to its disk: free some space or repair its persistence",
    "LOADING": "it is loading its data",
    "BUSY": "a script keeps it busy",
    "CLUSTERDOWN": "the Cluster does not serve this slot",
    "TRYAGAIN": "the Cluster is moving this slot",
    "NOREPLICAS": "it has fewer replicas than min-replicas-to-write requires",
    "NOQUORUM": "too few of its peers are reachable",
}
_RECONNECT = {
    "READONLY": "it is a replica now",
    "MASTERDOWN": "it is a replica without its master",
    "IDONTKNOW": "the Sentinel does not know",
}


_SCRIPT_ERROR = re.compile(r"@user_script: ?\d+: -?([A-Z]+) ")
"""The error of a command in a Lua script, as Redis before 7.0 wraps it: the code within counts."""


def code_of(error: exceptions.RedisError) -> str:
    """Return the code of an error reply; empty if there was no reply."""
    wrapped = _SCRIPT_ERROR.search(str(error))
    if wrapped is not None:
        return wrapped[1]
    if error.status_code:
        return str(error.status_code)
    word = str(error).partition(" ")[0]
    return word if word.isupper() and word.isascii() else "ERR"


def translate_error(error: Exception, server: str, command: str) -> TracecarError:
    """Return our error for an error of redis-py or the system that occurred while `server` ran `command`."""
    where = f"{server}: {command}"
    if isinstance(error, exceptions.ResponseError | exceptions.AuthenticationError | exceptions.BusyLoadingError):
        code = code_of(error)
        if code in ("MOVED", "ASK"):
            return ClusterRedirect(f"{where}: the slot has moved", retry_after=0.1)
        if code == "OOM":
            return RedisOutOfMemory(f"{where}: it is out of memory (OOM); raise maxmemory, or trim its streams")
        if code in _WAIT:
            return Outage(f"{where}: {_WAIT[code]} ({code})")
        if code in _RECONNECT:
            return Disconnected(f"{where}: {_RECONNECT[code]} ({code})")
        if isinstance(error, exceptions.AuthenticationError):
            return RedisReplyError(
                f"{where}: the server refuses the credentials ({_short(error)}); check the URL's user and password",
                code,
            )
        return RedisReplyError(f"{where}: {code} {_short(error)}", code)
    if isinstance(error, exceptions.DataError):
        return Refused(f"{where}: {_short(error)}")
    return Disconnected(f"{where}: {_short(error) or type(error).__name__}")


def _short(error: Exception) -> str:
    return str(error)[:300]
