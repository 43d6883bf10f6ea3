"""`tracecar config schema`."""

from __future__ import annotations

import typer

from sidecar.cli.arguments import PlainCommand
from sidecar.cli.command_group import CommandGroup, examples

config = typer.Typer(
    cls=CommandGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
)


def register(app: typer.Typer) -> None:
    """Add the commands to an app."""
    app.add_typer(config, name="config")


@config.callback(epilog=examples("tracecar config schema > tracecar.schema.json"))
def group() -> None:
    """Print information about the configuration file."""


@config.command(cls=PlainCommand, epilog=examples("tracecar config schema > tracecar.schema.json"))
def schema() -> None:
    """Print the JSON Schema of the configuration file."""
    import msgspec

    from sidecar.config.loader import json_schema

    typer.echo(msgspec.json.format(msgspec.json.encode(json_schema()), indent=2))
