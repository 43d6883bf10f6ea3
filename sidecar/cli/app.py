"""All commands."""

from __future__ import annotations

import typer

from sidecar.cli.commands import (
    audit,
    config,
    dialects,
    dlq,
    events,
    flows,
    groups,
    healthcheck,
    replays,
    run,
    streams,
    tui,
)

app = typer.Typer(
    name="tracecar",
    help="Makes event-driven systems visible: flows, schemas and failures of the events on Kafka and Redis Streams.",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for register in (
    run.register,
    tui.register,
    events.register,
    flows.register,
    dlq.register,
    replays.register,
    audit.register,
    dialects.register,
    streams.register,
    groups.register,
    config.register,
    healthcheck.register,
):
    register(app)
