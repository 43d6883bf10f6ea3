"""Checks of addresses and the token file for `tracecar check`. They change nothing."""

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
    """Check that the configured addresses are free and that the token file can be used."""
    api, health = config.api, config.health
    findings = [_check_address(f"api: listen on {api.host} port {api.port}", api.host, api.port, "api")]
    if health.port is not None:
        what = f"health: listen on {health.host} port {health.port}"
        findings.append(_check_address(what, health.host, health.port, "health"))
    return [*findings, *_check_token_file(api)]


def _check_address(what: str, host: str, port: int, key: str) -> Finding:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE and _is_sidecar(host, port):
            return Finding(what, True, "another sidecar listens there; a second one needs its own port")
        reason = error.strerror or str(error)
        return Finding(what, False, f"{reason}: free it, or set another {key}.host or {key}.port")
    return Finding(what, True, "free" if port else "any free port will be used")


def _is_sidecar(host: str, port: int) -> bool:
    """Tell whether a sidecar listens there: no other server is likely to answer `/readyz` the same way."""
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
    """Return the address at which to reach a server that listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def _check_token_file(api: ApiConfig) -> Iterator[Finding]:
    if api.token:
        return
    file = Path(api.token_file).expanduser()
    what = f"api.token_file: {file}"
    try:
        if file.exists():
            read_or_create_token(file)
            yield Finding(what, True, "contains the operator's token")
            return
    except Refused as error:
        yield Finding(what, False, str(error))
        return
    except OSError as error:
        yield Finding(what, False, f"{error.strerror}: set api.token, or name a writable file")
        return
    folder = next(parent for parent in file.parents if parent.exists())
    if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
        yield Finding(what, True, "does not exist yet; the sidecar will create it")
    else:
        yield Finding(what, False, f"{folder} is not writable: set api.token, or name another file")
