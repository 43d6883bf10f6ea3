"""`tracecar tui`: the dashboard, in the terminal or served to a browser."""

from __future__ import annotations

import contextlib
import sys
from typing import Annotated

import typer

from sidecar.cli.errors import FAILED, NO_SIDECAR, say
from sidecar.cli.options import URL, Token, Url, connect

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
    kube: Annotated[
        str | None,
        typer.Option("--kube", help="Of a workload in Kubernetes, such as deploy/shop: found and reached by kubectl."),
    ] = None,
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", help="With --kube: its namespace; else the context's.")
    ] = None,
) -> None:
    """Look at what happens: events, flows, dead letters, the map, schemas, status."""
    with contextlib.ExitStack() as held:
        if kube is not None:
            url, token = _reached(held, kube, namespace, token)
        sys.exit(_show(url, token, trace_url, web=web, port=port, ask_token=ask_token))


def _reached(held: contextlib.ExitStack, kube: str, namespace: str | None, token: str | None) -> tuple[str, str]:
    """The address and the token, for as long as `held` is."""
    from sidecar.cli.kubectl import reached
    from sidecar.domain.errors import Refused

    try:
        return held.enter_context(reached(kube, namespace, token))
    except Refused as error:
        say(str(error))
        sys.exit(NO_SIDECAR)


def _show(url: str, token: str | None, trace_url: str | None, *, web: bool, port: int, ask_token: bool) -> int:
    if web:
        return _serve(url, trace_url, port)
    if not sys.stdout.isatty() and "TEXTUAL_DRIVER" not in _environment():
        say("the dashboard needs a terminal; tracecar events, flow and status print, --web serves a browser")
        return FAILED
    from sidecar.api.client.client import Client
    from sidecar.runtime.gc_tuning import freeze_startup_objects
    from tui.app import Dashboard

    def client(typed: str | None) -> Client:
        if typed is not None or ask_token:
            return Client(url, typed)
        return connect(url, token)

    dashboard = Dashboard(client, ask_token=ask_token, trace_url=trace_url)
    freeze_startup_objects()  # a look through all that is loaded takes longer than a key may wait
    dashboard.run()
    return dashboard.return_code or 0


def _environment() -> dict[str, str]:
    import os

    return dict(os.environ)


def _serve(url: str, trace_url: str | None, port: int) -> int:
    from tui.web_server import serve

    return serve(url, trace_url, port)
