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
    from sidecar.config.schema import Config
    from sidecar.domain.errors import ConfigError
    from sidecar.domain.ports.broker import Finding

ConfigFile = Annotated[Path, typer.Option("--config", "-c", help="The configuration file (YAML).")]


class DemoBroker(enum.StrEnum):
    REDIS = "redis"
    KAFKA = "kafka"


def register(app: typer.Typer) -> None:
    app.command("run")(run)
    app.command("check")(check)
    app.command("demo")(demo)


def run(
    config: ConfigFile,
    stay: Annotated[
        bool,
        typer.Option(
            "--stay",
            help="Stay up while the configuration is invalid: answer 503 on the health port and read the file again.",
        ),
    ] = False,
) -> None:
    """Run the sidecar until SIGTERM or SIGINT, then drain and commit.

    Example: tracecar run -c tracecar.yaml
    """
    from sidecar.cli.logging import log_to_stderr
    from sidecar.config.loader import load
    from sidecar.runtime import entry_point

    if stay:
        log_to_stderr()
        loaded = _wait_for_config(config)
    else:
        loaded = load(config)
        log_to_stderr()
    if loaded is not None:
        entry_point.run(loaded)


def _wait_for_config(path: Path) -> Config | None:
    """Load the configuration, or wait until it is valid. None if SIGTERM or SIGINT came first."""
    import signal
    import threading

    from sidecar.cli.errors import say
    from sidecar.runtime.config_wait import wait_for_config

    stopped = threading.Event()
    before = {number: signal.signal(number, lambda *_: stopped.set()) for number in (signal.SIGTERM, signal.SIGINT)}

    def report(error: ConfigError) -> None:
        for mistake in error.mistakes:
            say(f"{error.source}: {mistake}" if error.source else str(mistake))

    try:
        return wait_for_config(path, stopped=stopped, on_invalid=report)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
