"""`tracecar tui`: the dashboard, in the terminal or in a browser."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from sidecar.cli.arguments import PlainCommand
from sidecar.cli.command_group import examples
from sidecar.cli.errors import FAILED_CODE, UNREACHABLE_CODE, print_error
from sidecar.cli.options import URL, Connection, Token, Url
from sidecar.cli.plain_mode import is_plain

if TYPE_CHECKING:
    from sidecar.api.models.links import DashboardLink

_PLAIN_ADVICE = (
    "use tracecar status, events, flow ID, dlq groups, dlq show ID and dlq replay with --plain, or "
    "tracecar flow ID -o html for a page"
)
TraceUrl = Annotated[
    str | None,
    typer.Option(
        "--trace-url",
        metavar="URL",
        envvar="TRACECAR_TRACE_URL",
        help="Link to traces in another tool, for example http://jaeger:16686/trace/{trace_id}.",
        show_default=False,
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command(
        "tui",
        cls=PlainCommand,
        epilog=examples(
            "tracecar tui",
            "tracecar tui 'https://tracecar.example/#/flow/4711'",
            "tracecar tui --web --port 0",
            "tracecar tui --kube deploy/shop --namespace prod",
        ),
    )(tui)


def tui(
    link: Annotated[
        str | None,
        typer.Argument(
            metavar="LINK",
            help="Place to open: a link from the dashboard, the audit log or a notification, such as "
            "https://tracecar.example/#/flow/4711 or '#/flow/4711'. Its host is ignored: --url names the sidecar.",
        ),
    ] = None,
    url: Url = URL,
    token: Token = None,
    trace_url: TraceUrl = None,
    web: Annotated[bool, typer.Option("--web", help="Serve the dashboard to a browser on this machine.")] = False,
    port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65_535, help="Port for --web; 0 is any free port.")
    ] = 8426,
    ask_token: Annotated[
        bool, typer.Option("--ask-token", help="Prompt for the token instead of reading this machine's token file.")
    ] = False,
    kube: Annotated[
        str | None,
        typer.Option(
            "--kube",
            metavar="KIND/NAME",
            help="Connect through kubectl to the sidecar of a workload, for example deploy/shop.",
            show_default=False,
        ),
    ] = None,
    namespace: Annotated[
        str | None,
        typer.Option(
            "--namespace",
            "-n",
            metavar="NAME",
            help="Namespace for --kube. Default: that of the kubectl context.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Open the dashboard, in the terminal or in a browser.

    It shows live events, flows, dead letters, the topology, schemas and status. ? lists the keys.
    """
    place = None if link is None else _parse_link(link)
    with contextlib.ExitStack() as stack:
        connection = Connection(url, token)
        if kube is not None:
            connection = _forward(stack, kube, namespace, token)
        sys.exit(_show(connection, trace_url, place, web=web, port=port, ask_token=ask_token))


def _forward(stack: contextlib.ExitStack, kube: str, namespace: str | None, token: str | None) -> Connection:
    """Forward a port to a sidecar in Kubernetes until the stack is closed."""
    from sidecar.cli.kubectl import forward_sidecar
    from sidecar.domain.errors import Refused

    try:
        sidecar = stack.enter_context(forward_sidecar(kube, namespace, token))
    except Refused as error:
        print_error(str(error))
        sys.exit(UNREACHABLE_CODE)
    return Connection(sidecar.url, sidecar.token)


def _parse_link(text: str) -> DashboardLink:
    from sidecar.api.models.links import parse_link

    try:
        return parse_link(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _show(
    connection: Connection, trace_url: str | None, link: DashboardLink | None, *, web: bool, port: int, ask_token: bool
) -> int:
    if web:
        from tui.web_server import serve

        return serve(connection.url, trace_url, port, link)
    if is_plain():
        print_error("the dashboard has no plain mode: " + _PLAIN_ADVICE)
        return FAILED_CODE
    if not sys.stdout.isatty() and "TEXTUAL_DRIVER" not in os.environ:
        print_error("the dashboard needs a terminal: use --web for a browser, or tracecar events, flow and status")
        return FAILED_CODE
    from sidecar.api.client.client import Client
    from sidecar.runtime.gc_tuning import freeze_startup_objects
    from tui.app import Dashboard

    def create_client(typed_token: str | None) -> Client:
        if typed_token is not None or ask_token:
            return Client(connection.url, typed_token)
        return connection.connect()

    dashboard = Dashboard(create_client, ask_token=ask_token, trace_url=trace_url, link=link)
    freeze_startup_objects()  # a collection of all loaded objects would delay keys
    dashboard.run()
    return dashboard.return_code or 0
