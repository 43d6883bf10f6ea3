"""`tracecar healthcheck` asks the port of the configuration file."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sidecar.cli.app import app
from tests.support.ports import free_port


@pytest.fixture
def healthy() -> Iterator[int]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/healthz" else 404)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def _config(tmp_path: Path, listeners: str) -> str:
    file = tmp_path / "tracecar.yaml"
    file.write_text(f"service: shop\nsources: {{redis: {{url: redis://127.0.0.1:1, streams: [a]}}}}\n{listeners}")
    return str(file)


@pytest.mark.parametrize("listeners", ["api: {port: PORT}", "health: {host: 0.0.0.0, port: PORT}"])
def test_the_health_check_uses_the_port_of_the_configuration(healthy: int, tmp_path: Path, listeners: str) -> None:
    file = _config(tmp_path, listeners.replace("PORT", str(healthy)))
    assert CliRunner().invoke(app, ["healthcheck", "-c", file]).exit_code == 0


def test_the_health_check_fails_without_a_listener(tmp_path: Path) -> None:
    file = _config(tmp_path, f"health: {{host: 127.0.0.1, port: {free_port()}}}")
    assert CliRunner().invoke(app, ["healthcheck", "-c", file]).exit_code == 1
