"""`tracecar config schema`."""

from __future__ import annotations

import typer

config = typer.Typer(help="The configuration file.", no_args_is_help=True, rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    app.add_typer(config, name="config")


@config.callback()
def _group() -> None:
    """The configuration file."""


@config.command()
def schema() -> None:
    """Print the JSON Schema of the configuration file."""
    import msgspec

    from sidecar.config.loader import json_schema

    typer.echo(msgspec.json.format(msgspec.json.encode(json_schema()), indent=2))
