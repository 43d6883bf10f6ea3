"""Wait for a valid configuration, for a sidecar that must stay up beside its service.

A sidecar container that exits is restarted with growing delays, and may hold up the containers after it. With `tracecar
run --stay` the process stays up instead: it answers 503 on the health port and reads the file again until it is valid.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import structlog
import yaml

from sidecar.config.loader import load
from sidecar.config.schema import Config
from sidecar.domain.errors import ConfigError, TracecarError

log = structlog.get_logger()

DEFAULT_HEALTH_PORT = 8426
"""Port of the Helm chart's probes, used if the file sets no other port."""
RELOAD_INTERVAL_S = 5.0
_SOCKET_TIMEOUT_S = 5.0


def wait_for_config(
    path: Path,
    *,
    stopped: threading.Event,
    on_invalid: Callable[[TracecarError], None],
    rejected: TracecarError | None = None,
) -> Config | None:
    """Load the configuration, and keep trying while it is invalid.

    Args:
        path: The configuration file. It may be missing.
        stopped: Ends the wait.
        on_invalid: Called with the first error, and with each different one after it.
        rejected: The error that ended the previous attempt to run with a file that could be loaded.

    Returns:
        The configuration, or None if the wait was stopped.
    """
    reported = ""
    server: ThreadingHTTPServer | None = None
    try:
        while True:
            error, rejected = rejected, None
            if error is None:
                try:
                    return load(path)
                except ConfigError as invalid:
                    error = invalid
            if str(error) != reported:
                reported = str(error)
                on_invalid(error)
            if server is None:
                server = _serve_unhealthy(_health_port(path))
            if stopped.wait(RELOAD_INTERVAL_S):
                return None
    finally:
        if server is not None:
            server.shutdown()
            server.server_close()


def _serve_unhealthy(port: int) -> ThreadingHTTPServer | None:
    """Answer 503 to every request on the health port, from a thread. None if the port cannot be used."""
    try:
        server: ThreadingHTTPServer = _UnhealthyServer(("::", port), _UnhealthyHandler)
    except OSError:  # no IPv6 here
        try:
            server = ThreadingHTTPServer(("", port), _UnhealthyHandler)
        except OSError as error:
            log.warning("cannot listen on the health port", port=port, reason=str(error))
            return None
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="invalid configuration", daemon=True).start()
    return server


class _UnhealthyServer(ThreadingHTTPServer):
    """Listens on IPv6 and IPv4."""

    address_family = socket.AF_INET6

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


class _UnhealthyHandler(BaseHTTPRequestHandler):
    """Says that the configuration is invalid, without its content: the port needs no token."""

    timeout = _SOCKET_TIMEOUT_S

    def do_GET(self) -> None:
        body = json.dumps(
            {
                "type": "about:blank",
                "title": "Service Unavailable",
                "status": 503,
                "detail": "the configuration is invalid: the log says what is wrong; the file is read again every "
                f"{RELOAD_INTERVAL_S:g} s",
            }
        ).encode()
        self.send_response(503)
        self.send_header("Content-Type", "application/problem+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # probes are not logged
        pass


def _health_port(path: Path) -> int:
    """Return `health.port` of a file that may be invalid."""
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
        port = content["health"]["port"]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError):
        return DEFAULT_HEALTH_PORT
    return port if isinstance(port, int) and 0 < port < 1 << 16 else DEFAULT_HEALTH_PORT
