"""Commands with arguments, including queries, in which `-status:ok` is a negation and not an option."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from typer.core import TyperArgument, TyperCommand

from sidecar.cli.options import OutputFormat
from sidecar.cli.plain_mode import build_plain_option
from sidecar.cli.plain_values import use_plain_values

if TYPE_CHECKING:
    from typer._click.core import Context, Parameter  # what Typer's own signatures name
    from typer._click.formatting import HelpFormatter

_NEGATION_MARK = "\0"
_ATTACHED_FORMATS = frozenset(f"-o{name}" for name in OutputFormat)


class PlainCommand(TyperCommand):
    """A command that converts its values without pydantic, and lists its arguments without Python types."""

    def get_params(self, ctx: Context) -> list[Parameter]:
        """Return all parameters, those for help included."""
        return use_plain_values([*super().get_params(ctx), build_plain_option()])

    def format_options(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Write the arguments and options."""
        arguments, options = [], []
        for parameter in self.get_params(ctx):
            if isinstance(parameter, TyperArgument):
                arguments.append((parameter.metavar or parameter.name, parameter.help or ""))
            elif (record := parameter.get_help_record(ctx)) is not None:
                options.append(record)
        if arguments:
            with formatter.section("Arguments"):
                formatter.write_dl(arguments)
        with formatter.section("Options"):
            formatter.write_dl(options)


class QueryCommand(PlainCommand):
    """A command with a query as argument.

    Words that start with one `-` and have two more letters are negations in the query, not options.
    """

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Parse the arguments, with negations protected from the option parser."""
        return super().parse_args(ctx, [_NEGATION_MARK + arg if _is_negation(arg) else arg for arg in args])


def _is_negation(arg: str) -> bool:
    return len(arg) > 2 and arg[0] == "-" and arg[1] != "-" and arg not in _ATTACHED_FORMATS


def join_words(words: Sequence[str] | None) -> str:
    """Join the arguments to a query."""
    return " ".join(restore_word(word) for word in words or ())


def restore_word(word: str) -> str:
    """Return an argument in its original spelling."""
    return word.removeprefix(_NEGATION_MARK)
