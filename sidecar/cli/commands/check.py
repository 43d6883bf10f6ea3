"""`tracecar check`: validates the configuration, and tries every connection and permission that it needs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer

from sidecar.cli.arguments import PlainCommand
from sidecar.cli.command_group import examples
from sidecar.cli.commands.run import DEFAULT_CONFIG, ConfigFile, load_config
from sidecar.cli.errors import FAILED_CODE
from sidecar.cli.options import Json
from sidecar.cli.output.tables import create_console, print_json
from sidecar.cli.sanitize import sanitize_line

if TYPE_CHECKING:
    from sidecar.domain.ports.broker import Finding


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command(
        "check",
        cls=PlainCommand,
        epilog=examples("tracecar check", "tracecar check -c staging.yaml --json", "tracecar check && tracecar run"),
    )(check)


def check(config: ConfigFile = DEFAULT_CONFIG, json: Json = False) -> None:
    """Validate the configuration and test every connection and permission.

    Prints a line for each test, and exits with 1 if one fails. Nothing is written to the brokers.
    """
    import asyncio

    from sidecar.cli.logging import log_to_stderr
    from sidecar.runtime import preflight

    loaded = load_config(config)
    log_to_stderr(quiet=True)

    async def print_findings() -> bool:
        passed = True
        async for finding in preflight.check(loaded):
            passed = passed and finding.ok
            _print_finding(finding, json=json)
        return passed

    if not asyncio.run(print_findings()):
        sys.exit(FAILED_CODE)


def _print_finding(finding: Finding, *, json: bool) -> None:
    if json:
        from sidecar.api import models

        print_json(models.FindingModel(what=finding.what, ok=finding.ok, detail=finding.detail))
        return
    from rich.text import Text

    mark = ("ok    ", "green") if finding.ok else ("FAILED", "bold red")
    create_console().print(Text.assemble(mark, "  ", sanitize_line(finding.what), ": ", sanitize_line(finding.detail)))
