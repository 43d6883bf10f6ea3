"""`tracecar demo`: a broker, a shop and a sidecar for trying Tracecar."""

from __future__ import annotations

import enum
import sys
from typing import Annotated

import typer

from sidecar.cli.arguments import PlainCommand
from sidecar.cli.command_group import examples
from sidecar.cli.options import Json


class DemoBroker(enum.StrEnum):
    """The embedded brokers."""

    REDIS = "redis"
    KAFKA = "kafka"


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command(
        "demo",
        cls=PlainCommand,
        epilog=examples(
            "tracecar demo", "tracecar demo --broker kafka", "tracecar demo --headless --seconds 30 --json"
        ),
    )(demo)


def demo(
    broker: Annotated[DemoBroker, typer.Option(help="Broker to start.")] = DemoBroker.REDIS,
    headless: Annotated[bool, typer.Option("--headless", help="Print a summary instead of the dashboard.")] = False,
    seconds: Annotated[
        float | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Duration in seconds. Default: until Ctrl-C; with --headless, 20.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the shop: the same seed gives the same orders.")] = 1,
    clean: Annotated[
        bool, typer.Option("--clean", help="Run the shop without mistakes: nothing is rejected, lint finds nothing.")
    ] = False,
    json: Json = False,
) -> None:
    """Run an embedded broker, a demo shop and a sidecar.

    The shop publishes real events with deliberate mistakes. On a terminal the dashboard opens. Everything is removed
    when the demo ends.
    """
    from sidecar.demo.main import main

    sys.exit(main(broker=broker.value, headless=headless, seconds=seconds, seed=seed, json=json, clean=clean))
