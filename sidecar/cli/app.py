"""The root command. It imports the module of a command only when that command is used, so that help is fast."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, MutableMapping
from typing import Annotated, Any, NamedTuple

import typer
from typer._click.core import Command, Context  # what Typer's own signatures name
from typer._click.formatting import HelpFormatter
from typer._click.shell_completion import CompletionItem

from sidecar.cli.command_group import CommandGroup, examples
from sidecar.cli.errors import exit_unread
from sidecar.cli.options import URL, Token, Url

SETTINGS: dict[str, Any] = {
    "rich_markup_mode": None,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}


class CommandEntry(NamedTuple):
    """A command of the root group."""

    module: str
    """Module in `sidecar.cli.commands` whose `register` adds the command to an app."""
    summary: str
    """First line of the command's help."""


COMMANDS = {
    "run": CommandEntry("run", "Run the sidecar."),
    "check": CommandEntry("check", "Validate the configuration and test every connection and permission."),
    "healthcheck": CommandEntry("healthcheck", "Check that a running sidecar is alive."),
    "demo": CommandEntry("demo", "Run an embedded broker, a demo shop and a sidecar."),
    "tui": CommandEntry("tui", "Open the dashboard, in the terminal or in a browser."),
    "events": CommandEntry("events", "List events, newest first."),
    "event": CommandEntry("events", "Show an event with its headers and body."),
    "flow": CommandEntry("flows", "Show the flow of an id: which event caused which, across streams and services."),
    "flows": CommandEntry("flows", "List flows, newest first."),
    "aggregate": CommandEntry("flows", "Show the events of an aggregate, in order, and its state at a moment."),
    "dlq": CommandEntry("dlq", "List, inspect, replay and discard dead letters."),
    "replay-range": CommandEntry("replay", "Publish a range of events again, to another stream."),
    "replays": CommandEntry("replays", "List replays and control them."),
    "audit": CommandEntry("audit", "List actions on dead letters and who took them, newest first."),
    "dialects": CommandEntry("dialects", "List the frameworks whose dead letters Tracecar reads."),
    "streams": CommandEntry("streams", "List streams, and resume or skip a held one."),
    "sagas": CommandEntry("sagas", "List declared sagas, show one, and propose declarations."),
    "catalog": CommandEntry("catalog", "List the types of events, with their producers and consumers."),
    "lint": CommandEntry("lint", "Check the events for problems, and report them with sample events."),
    "history": CommandEntry("history", "Show what the history holds, its holes and size, and the next compaction."),
    "sql": CommandEntry("sql", "Query the recorded history (history.url) with SQL."),
    "schemas": CommandEntry("schemas", "List registered schemas and where they are used."),
    "status": CommandEntry("status", "Show streams, lag, rates and health."),
    "groups": CommandEntry(
        "groups",
        "List the consumer groups of the watched streams, with their lag, and the event at which a group is stuck.",
    ),
    "man": CommandEntry("man", "Print the manual page, for the command `man`."),
    "config": CommandEntry("config", "Print information about the configuration file."),
}


class LazyCommands(MutableMapping[str, Command]):
    """Commands by name, each imported on first access."""

    def __init__(self) -> None:
        self._loaded: dict[str, Command] = {}

    def __getitem__(self, name: str) -> Command:
        if name not in self._loaded:
            app = typer.Typer(**SETTINGS)
            importlib.import_module(f"sidecar.cli.commands.{COMMANDS[name].module}").register(app)
            for registered, command in typer.main.get_group(app).commands.items():
                self._loaded.setdefault(registered, command)
        return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in COMMANDS

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)

    def __setitem__(self, name: str, command: Command) -> None:
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        raise TypeError(f"cannot remove the command {name}")


class RootGroup(CommandGroup):
    """Root command, which lists its commands without importing them."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**{**attributes, "commands": None})
        self.commands = LazyCommands()

    def invoke(self, ctx: Context) -> Any:
        """Run a command. A reader that closes the pipe, as `head` does, ends it without an error."""
        try:
            try:
                return super().invoke(ctx)
            finally:
                sys.stdout.flush()
        except BrokenPipeError:  # before Typer reports it as a failure
            exit_unread()

    def format_commands(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Write the commands and their summaries."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in COMMANDS.items()])

    def shell_complete(self, ctx: Context, incomplete: str) -> list[CompletionItem]:
        """Complete the name of a command, or an option."""
        if incomplete.startswith("-"):
            return Command.shell_complete(self, ctx, incomplete)
        return [
            CompletionItem(name, help=entry.summary) for name, entry in COMMANDS.items() if name.startswith(incomplete)
        ]


app = typer.Typer(
    name="tracecar",
    cls=RootGroup,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    **SETTINGS,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"tracecar {version('tracecar')}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
]


@app.callback(
    epilog=examples(
        "tracecar demo                                   try it with an embedded broker",
        "tracecar check                                  test ./tracecar.yaml before the first start",
        "tracecar events type:Order* status:rejected     find events",
        "tracecar flow 4711                              show everything that belongs to an id",
        "tracecar dlq groups                             list why dead letters failed",
    )
)
def root(url: Url = URL, token: Token = None, version: Version = False) -> None:
    """Trace events on Kafka and Redis Streams: flows, schemas, failures and replays."""
