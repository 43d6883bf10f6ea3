"""The reference of the command line, written from the commands."""

from __future__ import annotations

from collections.abc import Iterator

import typer
import typer.main
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from sidecar.cli.app import app

_HEAD = """\
# Command line

Written from the commands of `tracecar`. `--url` (`TRACECAR_URL`) and `--token` (`TRACECAR_TOKEN`) name the sidecar.
With `--json`, a list prints one JSON object a line. `--plain` (`TRACECAR_PLAIN=1`), which every command has, prints
lines to be read one after another, as by a screen reader. Exit codes are in
[compatibility](compatibility.md#command-line).
"""


def command_reference() -> str:
    """Write a section for each command, in the order of `tracecar --help`."""
    root = typer.main.get_command(app)
    assert isinstance(root, TyperGroup)
    context = typer.Context(root, info_name="tracecar")
    return "\n".join([_HEAD, *_commands(root, context)])


def _commands(group: TyperGroup, context: typer.Context) -> Iterator[str]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        inner = typer.Context(command, info_name=name, parent=context)
        if isinstance(command, TyperGroup):
            yield from _commands(command, inner)
        elif isinstance(command, TyperCommand):
            yield from _section(command, inner)


def _section(command: TyperCommand, context: typer.Context) -> Iterator[str]:
    yield f"## `{context.command_path}`\n"
    yield f"{_text(command.help)}\n"
    yield f"```\n{context.get_usage().removeprefix('Usage: ')}\n```\n"
    parameters = [each for each in command.params if isinstance(each, TyperOption | TyperArgument)]
    rows = [_row(parameter, context) for parameter in parameters]
    if rows:
        yield "| argument, option | meaning | default |\n|---|---|---|"
        yield from rows
        yield ""


def _row(parameter: TyperOption | TyperArgument, context: typer.Context) -> str:
    if isinstance(parameter, TyperOption):
        name = ", ".join(f"`{option}`" for option in [*parameter.opts, *parameter.secondary_opts])
    else:
        name = f"`{(parameter.metavar or parameter.name or '').upper()}`"
    meaning = _text(getattr(parameter, "help", None)) or "Show this help." * (name == "`--help`")
    default = parameter.get_default(context)
    shown = "" if default in (None, False, (), "") or callable(default) else f"`{default}`"
    return f"| {name} | {_cell(meaning)} | {shown} |"


def _text(help_text: str | None) -> str:
    return (help_text or "").replace("\b", "").strip()


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
