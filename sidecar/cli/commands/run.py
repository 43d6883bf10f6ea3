"""`tracecar run`: the sidecar itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sidecar.cli.arguments import PlainCommand
from sidecar.cli.command_group import examples

if TYPE_CHECKING:
    from sidecar.config.schema import Config
    from sidecar.domain.errors import ConfigError

DEFAULT_CONFIG = Path("tracecar.yaml")
ConfigFile = Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="Configuration file (YAML).")]


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command(
        "run", cls=PlainCommand, epilog=examples("tracecar run", "tracecar run -c /etc/tracecar/tracecar.yaml")
    )(run)


def run(
    config: ConfigFile = DEFAULT_CONFIG,
    stay: Annotated[
        bool,
        typer.Option(
            "--stay",
            help="Stay up while the configuration is invalid: answer 503 on the health port and read the file again.",
        ),
    ] = False,
) -> None:
    """Run the sidecar.

    On SIGTERM or SIGINT it finishes the events in progress, commits and exits.
    """
    from sidecar.cli.logging import log_to_stderr
    from sidecar.runtime import entry_point

    if stay:
        log_to_stderr()
        loaded = _wait_for_config(config)
    else:
        loaded = load_config(config)
        log_to_stderr()
    if loaded is not None:
        entry_point.run(loaded)


def load_config(file: Path) -> Config:
    """Load a configuration file. Raises ConfigError."""
    from sidecar.config.loader import load
    from sidecar.domain.errors import ConfigError, Mistake

    if file == DEFAULT_CONFIG and not file.exists():
        mistake = Mistake("", "a configuration file in this directory", "none; write one, or name it with -c FILE")
        raise ConfigError([mistake], str(file))
    return load(file)


def _wait_for_config(path: Path) -> Config | None:
    """Load the configuration, or wait until it is valid. None if SIGTERM or SIGINT came first."""
    import signal
    import threading

    from sidecar.cli.errors import print_error
    from sidecar.runtime.config_wait import wait_for_config

    stopped = threading.Event()
    before = {number: signal.signal(number, lambda *_: stopped.set()) for number in (signal.SIGTERM, signal.SIGINT)}

    def report(error: ConfigError) -> None:
        for mistake in error.mistakes:
            print_error(f"{error.source}: {mistake}" if error.source else str(mistake))

    try:
        return wait_for_config(path, stopped=stopped, on_invalid=report)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
