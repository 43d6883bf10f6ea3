"""What the API needs of this machine, tried without changing anything: for `tracecar check`."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from sidecar.config.schema import ApiConfig, Config
from sidecar.config.token_file import read_or_create_token
from sidecar.domain.errors import Refused
from sidecar.domain.ports.broker import Finding


def inspect(config: Config) -> list[Finding]:
    """Whether we could listen where we should, and use the token file."""
    api, health = config.api, config.health
    found = [_listening(f"api: listen on {api.host} port {api.port}", api.host, api.port, "api")]
    if health.port is not None:
        what = f"health: listen on {health.host} port {health.port}"
        found.append(_listening(what, health.host, health.port, "health"))
    return [*found, *_token(api)]


def _listening(what: str, host: str, port: int, key: str) -> Finding:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind((host, port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE and _is_a_sidecar(host, port):
            return Finding(what, True, "a sidecar listens there already; a second one needs a port of its own")
        reason = error.strerror or str(error)
        return Finding(what, False, f"{reason}: free it, or set another {key}.host or {key}.port")
    return Finding(what, True, "free" if port else "any free port is taken")


def _is_a_sidecar(host: str, port: int) -> bool:
    """By what its `/readyz` says, which no other server is likely to."""
    import http.client

    connection = http.client.HTTPConnection(_reachable(host), port, timeout=3)
    try:
        connection.request("GET", "/readyz", headers={"Host": "localhost"})
        answer = connection.getresponse()
        return answer.status in (200, 503) and answer.read(100).startswith((b"ready\n", b"not ready: "))
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _reachable(host: str) -> str:
    """Where one connects to reach what listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def _token(api: ApiConfig) -> Iterator[Finding]:
    if api.token:
        return
    file = Path(api.token_file).expanduser()
    what = f"api.token_file: {file}"
    try:
        if file.exists():
            read_or_create_token(file)
            yield Finding(what, True, "holds the operator's token")
            return
    except Refused as error:
        yield Finding(what, False, str(error))
        return
    except OSError as error:
        yield Finding(what, False, f"{error.strerror}: set api.token, or name a file that can be written")
        return
    folder = next(parent for parent in file.parents if parent.exists())
    if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
        yield Finding(what, True, "is not there yet, and would be made")
    else:
        yield Finding(what, False, f"{folder} cannot be written to: set api.token, or name another file")
