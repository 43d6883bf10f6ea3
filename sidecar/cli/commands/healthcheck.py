"""`tracecar healthcheck`: for the health check of a container."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from sidecar.cli.errors import FAILED, say

TIMEOUT_S = 4.0
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""The loopback address for a listener on all addresses."""


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("healthcheck")(healthcheck)


def healthcheck(
    config: Annotated[Path, typer.Option("--config", "-c", help="Configuration file (YAML) of the sidecar to check.")],
) -> None:
    """Check that the sidecar of a configuration file is alive. Exits with 1 if it is not.

    The port comes from the file: the health listener's, else the API's.

    Example: tracecar healthcheck -c tracecar.yaml
    """
    import urllib.error
    import urllib.request

    from sidecar.config.loader import load

    loaded = load(config)
    health = loaded.health
    host, port = (health.host, health.port) if health.port is not None else (loaded.api.host, loaded.api.port)
    host = _ANY_ADDRESS.get(host or "", host or "127.0.0.1")
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}/healthz"
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
            answer.read()
    except (OSError, urllib.error.HTTPError) as error:
        say(f"{url} does not answer as healthy: {error}")
        sys.exit(FAILED)
