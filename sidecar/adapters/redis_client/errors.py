"""What a Redis server, or the way to it, says no with, as our errors. Told apart by class and by the error's code (the
first word of the answer, which is part of the protocol), never by its sentence."""

from __future__ import annotations

from redis import exceptions

from sidecar.domain.errors import Disconnected, Outage, Refused, TracecarError


class RedisReplyError(Refused):
    """The server answered with an error that waiting does not mend. `code` is its first word: `NOGROUP`, `WRONGTYPE`,
    `BUSYGROUP`, `NOPERM`, `NOSCRIPT`, `ERR`."""

    def __init__(self, message: str, code: str) -> None:
        self.code = code
        super().__init__(message)


class RedisOutOfMemory(Outage):
    """The server's memory is full (OOM): it takes nothing new until something goes."""


class ClusterRedirect(Outage):
    """The slot is at another node of the Cluster (MOVED, ASK): look again."""


_WAIT = {
    "MISCONF": "it cannot write to its disk: free some space or mend its persistence",
    "LOADING": "it is loading its data",
    "BUSY": "a script keeps it busy",
    "CLUSTERDOWN": "the Cluster does not serve this slot",
    "TRYAGAIN": "the Cluster is moving this slot",
    "NOREPLICAS": "it has fewer replicas than min-replicas-to-write asks for",
    "NOQUORUM": "too few of its peers are reachable",
}
_RECONNECT = {
    "READONLY": "it is a replica now",
    "MASTERDOWN": "it is a replica without its master",
    "IDONTKNOW": "the Sentinel does not know",
}


def code_of(error: exceptions.RedisError) -> str:
    """The code of an error answer; empty where there was no answer."""
    if error.status_code:
        return str(error.status_code)
    word = str(error).partition(" ")[0]
    return word if word.isupper() and word.isascii() else "ERR"


def translated(error: Exception, server: str, what: str) -> TracecarError:
    """Our error for what redis-py (or the system) raised while `server` was asked for `what`."""
    where = f"{server}: {what}"
    if isinstance(error, exceptions.ResponseError | exceptions.AuthenticationError | exceptions.BusyLoadingError):
        code = code_of(error)
        if code in ("MOVED", "ASK"):
            return ClusterRedirect(f"{where}: the slot has moved", retry_after=0.1)
        if code == "OOM":
            return RedisOutOfMemory(
                f"{where}: it is out of memory (maxmemory): give it more, or trim its streams (OOM)"
            )
        if code in _WAIT:
            return Outage(f"{where}: {_WAIT[code]} ({code})")
        if code in _RECONNECT:
            return Disconnected(f"{where}: {_RECONNECT[code]} ({code})")
        if isinstance(error, exceptions.AuthenticationError):
            return RedisReplyError(
                f"{where}: the credentials are refused ({_short(error)}); see the URL's user and password", code
            )
        return RedisReplyError(f"{where}: {code} {_short(error)}", code)
    if isinstance(error, exceptions.DataError):
        return Refused(f"{where}: {_short(error)}")
    return Disconnected(f"{where}: {_short(error) or type(error).__name__}")


def _short(error: Exception) -> str:
    return str(error)[:300]
