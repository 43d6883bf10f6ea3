"""`tracecar healthcheck`: for the health check of a container."""

from __future__ import annotations

import sys

import typer

from sidecar.cli.arguments import PlainCommand
from sidecar.cli.command_group import examples
from sidecar.cli.commands.run import DEFAULT_CONFIG, ConfigFile, load_config
from sidecar.cli.errors import FAILED_CODE, print_error

TIMEOUT_S = 4.0
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""The loopback address for a listener on all addresses."""


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("healthcheck", cls=PlainCommand, epilog=examples("tracecar healthcheck -c tracecar.yaml"))(healthcheck)


def healthcheck(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Check that a running sidecar is alive. Exits with 1 if it is not.

    The port comes from the configuration file: the health listener's, or else the API's.
    """
    import urllib.error
    import urllib.request

    loaded = load_config(config)
    health = loaded.health
    host, port = (health.host, health.port) if health.port is not None else (loaded.api.host, loaded.api.port)
    host = _ANY_ADDRESS.get(host or "", host or "127.0.0.1")
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}/healthz"
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
            answer.read()
    except (OSError, urllib.error.HTTPError) as error:
        print_error(f"{url} does not answer as healthy: {error}")
        sys.exit(FAILED_CODE)
