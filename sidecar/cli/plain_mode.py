"""Plain output (`--plain`): lines to be read one after another, for screen readers.

Plain output has no columns, no drawings, no colors, no line that is overwritten, and nothing is cut. It is an option of
every command and works before and after its name; `TRACECAR_PLAIN=1` turns it on for all commands.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

if TYPE_CHECKING:
    from typer._click.core import Parameter

PLAIN_VARIABLE = "TRACECAR_PLAIN"


def is_plain() -> bool:
    """Check whether output has to be plain."""
    return os.environ.get(PLAIN_VARIABLE, "") not in ("", "0")


def draws_on(stream: TextIO | None = None) -> bool:
    """Check whether a stream (stdout by default) is a terminal on which tables and bars may be drawn."""
    return not is_plain() and (stream or sys.stdout).isatty()


def _turn_on(wanted: bool) -> None:
    if wanted:
        os.environ[PLAIN_VARIABLE] = "1"


@cache
def build_plain_option() -> Parameter:
    """Build the option `--plain`, which every command and group has."""
    app = typer.Typer(rich_markup_mode=None, add_completion=False)

    @app.command()
    def holder(
        plain: Annotated[
            bool,
            typer.Option(
                "--plain",
                help="Print lines to be read one after another, as by a screen reader: no columns or colors.",
                callback=_turn_on,
                expose_value=False,
                is_eager=True,
            ),
        ] = False,
    ) -> None: ...

    return typer.main.get_command(app).params[0]
