"""`tracecar tui`: the dashboard, in the terminal or served to a browser."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from sidecar.cli.connection import URL, Token, Url, connect
from sidecar.cli.running import FAILED, say

TraceUrl = Annotated[
    str | None,
    typer.Option(
        "--trace-url",
        envvar="TRACECAR_TRACE_URL",
        help="Where a trace is shown elsewhere, such as http://jaeger:16686/trace/{trace_id}.",
    ),
]


def register(app: typer.Typer) -> None:
    app.command("tui")(tui)


def tui(
    url: Url = URL,
    token: Token = None,
    trace_url: TraceUrl = None,
    web: Annotated[bool, typer.Option("--web", help="Serve it to a browser on this machine.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="With --web: the port; 0 is any.")] = 8426,
    ask_token: Annotated[
        bool, typer.Option("--ask-token", help="Use no token of this machine: whoever looks must type it.")
    ] = False,
) -> None:
    """Look at what happens: events, flows, dead letters, the map, schemas, status."""
    if web:
        sys.exit(_serve(url, trace_url, port))
    if not sys.stdout.isatty() and "TEXTUAL_DRIVER" not in _environment():
        say("the dashboard needs a terminal; tracecar events, flow and status print, --web serves a browser")
        sys.exit(FAILED)
    from sidecar.api.client import Client
    from tui.app import Dashboard

    def client(typed: str | None) -> Client:
        if typed is not None or ask_token:
            return Client(url, typed)
        return connect(url, token)

    dashboard = Dashboard(client, ask_token=ask_token, trace_url=trace_url)
    dashboard.run()
    sys.exit(dashboard.return_code or 0)


def _environment() -> dict[str, str]:
    import os

    return dict(os.environ)


def _serve(url: str, trace_url: str | None, port: int) -> int:
    from tui.web import serve

    return serve(url, trace_url, port)
