"""Command groups whose options can be given before or after the subcommand, and examples for help texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typer.core import TyperGroup

from sidecar.cli.plain_mode import build_plain_option
from sidecar.cli.plain_values import use_plain_values

if TYPE_CHECKING:
    from typer._click.core import Command, Context, Parameter  # what Typer's own signatures name
    from typer._click.shell_completion import CompletionItem


class CommandGroup(TyperGroup):
    """A group that passes its options on to the subcommand, if that has the same options.

    So `tracecar --url U status`, `tracecar streams --json resume orders` and `tracecar replays --json ID` mean the same
    as with the options at the end. If an option is given twice, the last value counts.
    """

    def get_params(self, ctx: Context) -> list[Parameter]:
        """Return all parameters, those for help included."""
        return use_plain_values([*super().get_params(ctx), build_plain_option()])

    def resolve_command(self, ctx: Context, args: list[str]) -> tuple[str | None, Command | None, list[str]]:
        """Find the subcommand, and put the group's own options in front of its arguments."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command, [*self._options_for(ctx, command), *rest]

    def _options_for(self, ctx: Context, command: Command | None) -> list[str]:
        from typer._click.core import ParameterSource

        known = set() if command is None else {parameter.name for parameter in command.params}
        options: list[str] = []
        for parameter in self.params:
            name = parameter.name
            if name in known and ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
                option, value = parameter.opts[0], ctx.params[name]
                options += [option] if value is True else [option, str(value)]
        return options


class DefaultCommandGroup(CommandGroup):
    """A group whose first argument is one of its commands, or belongs to its default command."""

    default_command = "list"

    def resolve_command(self, ctx: Context, args: list[str]) -> tuple[str | None, Command | None, list[str]]:
        """Find the command. An argument that is no command belongs to the default one."""
        if args and self.get_command(ctx, args[0]) is None:
            args = [self.default_command, *args]
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: Context, incomplete: str) -> list[CompletionItem]:
        """Complete commands, and the first argument of the default one."""
        items = super().shell_complete(ctx, incomplete)
        command = self.get_command(ctx, self.default_command)
        if incomplete.startswith("-") or command is None:
            return items
        arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
        return [*items, *(arguments[0].shell_complete(ctx, incomplete) if arguments else ())]


def examples(*lines: str) -> str:
    """Return the end of a help text: examples, which are not wrapped."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)
