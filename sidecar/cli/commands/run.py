"""`tracecar run`: the sidecar itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sidecar.cli.arguments import PlainCommand
from sidecar.cli.command_group import examples

if TYPE_CHECKING:
    from sidecar.config.schema import Config
    from sidecar.domain.errors import TracecarError

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
    from sidecar.domain.errors import ConfigError, Refused
    from sidecar.runtime import entry_point

    if not stay:
        loaded = load_config(config)
        log_to_stderr()
        entry_point.run(loaded)
        return
    log_to_stderr()
    rejected: TracecarError | None = None
    while (valid := _wait_for_config(config, rejected)) is not None:
        try:
            entry_point.run(valid)
            return
        except (ConfigError, Refused) as error:  # for example a token file that cannot be written, or wrong credentials
            rejected = error


def load_config(file: Path) -> Config:
    """Load a configuration file. Raises ConfigError."""
    from sidecar.config.loader import load
    from sidecar.domain.errors import ConfigError, Mistake

    if file == DEFAULT_CONFIG and not file.exists():
        mistake = Mistake("", "a configuration file in this directory", "none; write one, or name it with -c FILE")
        raise ConfigError([mistake], str(file))
    return load(file)


def _wait_for_config(path: Path, rejected: TracecarError | None) -> Config | None:
    """Load the configuration, or wait until it is valid. None if SIGTERM or SIGINT came first."""
    import signal
    import threading

    from sidecar.cli.errors import print_error
    from sidecar.domain.errors import ConfigError
    from sidecar.runtime.config_wait import wait_for_config

    stopped = threading.Event()
    before = {number: signal.signal(number, lambda *_: stopped.set()) for number in (signal.SIGTERM, signal.SIGINT)}

    def report(error: TracecarError) -> None:
        if not isinstance(error, ConfigError):
            print_error(str(error))
            return
        for mistake in error.mistakes:
            print_error(f"{error.source}: {mistake}" if error.source else str(mistake))

    try:
        loaded = wait_for_config(path, stopped=stopped, on_invalid=report, rejected=rejected)
        return None if stopped.is_set() else loaded
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
