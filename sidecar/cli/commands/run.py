"""`tracecar run`, `check` and `demo`."""

from __future__ import annotations

import enum
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sidecar.cli.errors import FAILED
from sidecar.cli.options import Json
from sidecar.cli.output.tables import print_json

if TYPE_CHECKING:
    from sidecar.domain.ports.broker import Finding

ConfigFile = Annotated[Path, typer.Option("--config", "-c", help="The configuration file (YAML).")]


class DemoBroker(enum.StrEnum):
    REDIS = "redis"
    KAFKA = "kafka"


def register(app: typer.Typer) -> None:
    app.command("run")(run)
    app.command("check")(check)
    app.command("demo")(demo)


def run(config: ConfigFile) -> None:
    """Run the sidecar until SIGTERM or SIGINT, then drain and commit."""
    from sidecar.cli.logging import log_to_stderr
    from sidecar.config.loader import load
    from sidecar.runtime import entry_point

    loaded = load(config)
    log_to_stderr()
    entry_point.run(loaded)


def check(config: ConfigFile, json: Json = False) -> None:
    """Validate the file and try every connection and permission; one line each."""
    import asyncio

    from sidecar.cli.logging import log_to_stderr
    from sidecar.config.loader import load
    from sidecar.runtime import preflight

    loaded = load(config)
    log_to_stderr(quiet=True)

    async def report() -> bool:
        good = True
        async for finding in preflight.check(loaded):
            good = good and finding.ok
            _print_finding(finding, json=json)
        return good

    if not asyncio.run(report()):
        sys.exit(FAILED)


def _print_finding(finding: Finding, *, json: bool) -> None:
    if json:
        from sidecar.api import models

        print_json(models.FindingModel(what=finding.what, ok=finding.ok, detail=finding.detail))
        return
    from rich.text import Text

    from sidecar.cli.output.tables import console
    from sidecar.cli.sanitize import clean

    mark = ("ok    ", "green") if finding.ok else ("FAILED", "bold red")
    console().print(Text.assemble(mark, "  ", clean(finding.what), ": ", clean(finding.detail)))


def demo(
    broker: Annotated[DemoBroker, typer.Option(help="Which embedded broker.")] = DemoBroker.REDIS,
    headless: Annotated[bool, typer.Option("--headless", help="Only a summary at the end.")] = False,
    seconds: Annotated[float | None, typer.Option(min=1, help="How long; without it until it is stopped.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed, the same shop.")] = 1,
    json: Json = False,
) -> None:
    """Start an embedded broker, a small shop that publishes events, and the sidecar beside it."""
    from sidecar.demo.main import main

    sys.exit(main(broker=broker.value, headless=headless, seconds=seconds, seed=seed, json=json))
