"""`tracecar man`: the manual page."""

from __future__ import annotations

import sys

import typer

from sidecar.cli.arguments import PlainCommand
from sidecar.cli.command_group import examples


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command(
        "man",
        cls=PlainCommand,
        epilog=examples(
            "tracecar man | man -l -                                        read it",
            "tracecar man > ~/.local/share/man/man1/tracecar.1              install it for man tracecar",
        ),
    )(man)


def man(context: typer.Context) -> None:
    """Print the manual page, for the command `man`."""
    from sidecar.cli.man_page import write_man_page

    sys.stdout.write(write_man_page(context.find_root().command))
