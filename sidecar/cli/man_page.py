"""The manual page of `tracecar`, written from its commands in the language of man(7)."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperArgument, TyperGroup

if TYPE_CHECKING:
    from typer._click.core import Command, Context

_ENVIRONMENT = (
    ("TRACECAR_URL", "Address of the sidecar, as with --url."),
    ("TRACECAR_TOKEN", "Token for the sidecar, as with --token."),
    ("TRACECAR_TOKEN_FILE", "File with the token of a sidecar on this machine."),
    ("TRACECAR_TRACE_URL", "Address of traces in another tool, as with tracecar tui --trace-url."),
    ("TRACECAR_PLAIN", "1: plain output, as with --plain."),
    ("NO_COLOR", "Set: output has no colors."),
)
_COMMON_OPTIONS = frozenset({"help", "plain", "url", "token"})
"""Options that are described once for all commands."""
_FILES = (
    ("./tracecar.yaml", "The configuration that tracecar run and tracecar check read without -c."),
    ("~/.local/state/tracecar/token", "The token of a sidecar on this machine."),
)
_EXIT_STATUS = (
    ("0", "Done. Nothing left to send counts as done."),
    ("1", "The operation failed, or failed in part: what failed is printed."),
    ("2", "Wrong usage, query or configuration."),
    ("3", "The sidecar cannot be reached, or it refuses the token."),
)


def write_man_page(root: Command) -> str:
    """Return the page, with a section for each command."""
    context = typer.Context(root, info_name="tracecar")
    lines = [
        f'.TH TRACECAR 1 "" "Tracecar {version("tracecar")}" "User commands"',
        ".SH NAME",
        "tracecar \\- trace events on Kafka and Redis Streams: flows, schemas, failures and replays",
        ".SH SYNOPSIS",
        ".B tracecar",
        "[\\-\\-url URL] [\\-\\-token TOKEN] [\\-\\-plain] COMMAND [ARGUMENT | OPTION]...",
        ".SH DESCRIPTION",
        *_write_paragraphs(root.help),
        ".SH OPTIONS",
        *_write_options(root, context),
        ".SH COMMANDS",
        *_write_commands(root, context),
        *_write_list("ENVIRONMENT", _ENVIRONMENT),
        *_write_list("FILES", _FILES),
        *_write_list("EXIT STATUS", _EXIT_STATUS),
    ]
    return "\n".join(lines) + "\n"


def _write_commands(group: Command, context: Context) -> Iterator[str]:
    if not isinstance(group, TyperGroup):
        return
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        inner = typer.Context(command, info_name=name, parent=context)
        usage = " ".join(command.collect_usage_pieces(inner))
        yield f".SS {_escape(f'{inner.command_path} {usage}')}"
        yield from _write_paragraphs(command.help)
        yield from _write_options(command, inner)
        yield from _write_examples(command)
        yield from _write_commands(command, inner)


def _write_options(command: Command, context: Context) -> Iterator[str]:
    for parameter in command.get_params(context):
        if isinstance(parameter, TyperArgument):
            record = (parameter.metavar or parameter.name or "", parameter.help or "")
        else:
            help_record: Any = parameter.get_help_record(context)
            if help_record is None or (context.parent is not None and parameter.name in _COMMON_OPTIONS):
                continue
            record = help_record
        yield from (".TP", f".B {_escape(record[0])}", _escape(record[1]) or "\\&")


def _write_examples(command: Command) -> Iterator[str]:
    _, _, examples = (command.epilog or "").partition("Examples:\n")
    if examples:
        yield from (".PP", "Examples:", ".PP", ".nf", *(_escape(line) for line in examples.splitlines()), ".fi")


def _write_paragraphs(text: str | None) -> Iterator[str]:
    for paragraph in (text or "").replace("\b", "").split("\n\n"):
        yield ".PP"
        yield _escape(" ".join(paragraph.split()))


def _write_list(title: str, items: tuple[tuple[str, str], ...]) -> Iterator[str]:
    yield f".SH {title}"
    for name, meaning in items:
        yield from (".TP", f".B {_escape(name)}", _escape(meaning))


def _escape(text: str) -> str:
    """Escape a line, so that nothing in it is a request of roff."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    escaped = "".join(c if c.isascii() else f"\\[u{ord(c):04X}]" for c in escaped)
    return f"\\&{escaped}" if escaped[:1] in (".", "'") else escaped
