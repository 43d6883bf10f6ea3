"""`tracecar flow`, `flows` and `aggregate`."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Annotated

import typer

from sidecar.cli.arguments import PlainCommand
from sidecar.cli.command_group import examples
from sidecar.cli.completion import complete_aggregate, complete_flow
from sidecar.cli.options import (
    URL,
    Connection,
    Json,
    Limit,
    Output,
    OutputFormat,
    Token,
    Url,
    Watch,
    choose_format,
)
from sidecar.cli.output.coverage import describe_coverage
from sidecar.cli.output.lists import ListPage, ListView, fetch_pages, print_item, print_list, show_list, show_object
from sidecar.cli.output.tables import TableColumn, measure_width, print_document, print_note

if TYPE_CHECKING:
    from sidecar.api import models
    from sidecar.api.client.client import Client

MAX_PAGE_FLOWS = 1_000
MIN_DIAGRAM_WIDTH = 40


class FlowFormat(enum.StrEnum):
    """Formats of `tracecar flow --output`: those of every command, and documents."""

    JSON = "json"
    YAML = "yaml"
    WIDE = "wide"
    NAME = "name"
    SEQUENCE = "sequence"
    MERMAID = "mermaid"
    MARKDOWN = "markdown"
    HTML = "html"
    OTLP = "otlp"

    @property
    def is_document(self) -> bool:
        """True for a format that the sidecar writes."""
        return self.value not in list(OutputFormat)


FlowOutput = Annotated[
    FlowFormat | None,
    typer.Option(
        "--output",
        "-o",
        help="Format: json, yaml, wide or name; or a document: sequence (a text diagram), mermaid, markdown, "
        "html, or otlp (a trace as OTLP JSON).",
        show_choices=False,
        metavar="FORMAT",
    ),
]
COLUMNS = (
    TableColumn("started_at", whole=True, rank=1, age=True),
    TableColumn("trace_id", least=32, whole=True),  # half an id is of no use
    TableColumn("events", right=True, whole=True),
    TableColumn("duration_ms", right=True, whole=True, rank=2, title="duration (ms)"),
    TableColumn("status", whole=True),
    TableColumn("aggregates", least=8, rank=3),
    TableColumn("streams", least=8, rank=4),
    TableColumn("producers", least=8, rank=5),
)
AGGREGATE_COLUMNS = (
    TableColumn("occurred_at", whole=True, age=True),
    TableColumn("type", least=12),
    TableColumn("version", rank=2),
    TableColumn("stream", least=8, rank=4),  # the position has it too
    TableColumn("producer", least=8, rank=1),
    TableColumn("status", whole=True),
    TableColumn("position", least=30, whole=True),
)


def register(app: typer.Typer) -> None:
    """Add the commands to an app."""
    app.command(
        "flow",
        cls=PlainCommand,
        epilog=examples(
            "tracecar flow 4711",
            "tracecar flow kafka://orders/0/4711 --json",
            "tracecar flow 4711 -o sequence                 services as columns, time downwards",
            "tracecar flow 4711 -o markdown > incident.md   for a report; mermaid for the diagram alone",
            "tracecar flow 4711 -o html > flow.html         a page for others to read and print",
            "tracecar flow 4711 -o otlp > trace.json        for Jaeger and other OTLP backends",
        ),
    )(flow)
    app.command(
        "flows",
        cls=PlainCommand,
        epilog=examples("tracecar flows --limit 20", "tracecar flows --watch"),
    )(flows)
    app.command(
        "aggregate",
        cls=PlainCommand,
        epilog=examples(
            "tracecar aggregate order-4711",
            "tracecar aggregate order-4711 --at '10 minutes ago' --diff now",
            "tracecar aggregate order-4711 --at kafka://orders/0/4711 --json",
        ),
    )(aggregate)


def flow(
    id: Annotated[
        str,
        typer.Argument(
            metavar="ID", help="Trace, event, aggregate or correlation id, or a position.", autocompletion=complete_flow
        ),
    ],
    json: Json = False,
    output: FlowOutput = None,
    url: Url = URL,
    token: Token = None,
) -> None:
    """Show the flow of an id: which event caused which, across streams and services."""
    from sidecar.cli.output.flow_tree import print_flow

    connection = Connection(url, token)
    if output is not None and output.is_document:
        if json:
            raise typer.BadParameter(f"--json and --output {output} contradict each other: use one of them")
        _print_document(connection, id, output)
        return
    chosen = choose_format(json, None if output is None else OutputFormat(output.value))

    show_object(connection.ask(lambda client: client.flow(id)), chosen, _name, print_flow)


def _print_document(connection: Connection, id: str, format: FlowFormat) -> None:
    """Print a flow as a document that the sidecar wrote."""
    width = max(MIN_DIAGRAM_WIDTH, measure_width()) if format is FlowFormat.SEQUENCE else None
    document = connection.ask(lambda client: client.flow_document(id, format.value, width=width))
    print_document(document, as_json=format is FlowFormat.OTLP)


def flows(
    limit: Limit = 100,
    json: Json = False,
    output: Output = None,
    watch: Watch = False,
    url: Url = URL,
    token: Token = None,
) -> None:
    """List flows, newest first."""

    async def fetch(client: Client) -> ListPage[models.FlowModel]:
        pages = await fetch_pages(lambda size, cursor: client.flows(limit=size, cursor=cursor), limit, MAX_PAGE_FLOWS)
        return ListPage([flow for page in pages for flow in page.items])

    show_list(VIEW, fetch, Connection(url, token), choose_format(json, output), watch=watch)


def _row(flow: models.FlowModel) -> tuple[object, ...]:
    return (
        flow.started_at,
        flow.trace_id,
        flow.event_count,
        flow.duration_ms,
        flow.status,
        flow.aggregates,
        flow.streams,
        flow.producers,
    )


def _name(flow: models.FlowModel) -> str:
    return flow.trace_id


VIEW = ListView(COLUMNS, _row, _name, "no flows in the index")


def aggregate(
    id: Annotated[str, typer.Argument(metavar="ID", help="Id of the aggregate.", autocompletion=complete_aggregate)],
    at: Annotated[
        str | None,
        typer.Option(
            "--at",
            metavar="TIME|POSITION",
            help="Also show its state at a moment: a time, '10 minutes ago', now, or the position of a record.",
            show_default=False,
        ),
    ] = None,
    diff: Annotated[
        str | None,
        typer.Option(
            "--diff",
            metavar="TIME|POSITION",
            help="Also show what changed between this moment and that of --at (default: now).",
            show_default=False,
        ),
    ] = None,
    reducer: Annotated[
        str | None,
        typer.Option(
            "--reducer",
            metavar="NAME",
            help="How the state is built: auto, merge, merge-patch, after-image, or a reducer of the configuration.",
            show_default=False,
        ),
    ] = None,
    steps: Annotated[bool, typer.Option("--steps", help="Also show what each event changed.")] = False,
    json: Json = False,
    output: Output = None,
    url: Url = URL,
    token: Token = None,
) -> None:
    """Show the events of an aggregate, in order, and its state at a moment."""
    aggregate = Connection(url, token).ask(
        lambda client: client.aggregate(id, at=at, diff=diff, reducer=reducer, steps=steps)
    )
    chosen = choose_format(json, output)
    if chosen is not None and chosen.value in ("json", "yaml"):
        print_item(aggregate, chosen, lambda item: item.aggregate_id)
        return
    print_list(AGGREGATE_VIEW, aggregate.events, chosen)
    if chosen is None or chosen is OutputFormat.WIDE:
        from sidecar.cli.output.aggregate_state import print_state

        print_state(aggregate)
    print_note(describe_coverage(aggregate.coverage, "The index has evicted events: older ones may be missing."))


def _aggregate_row(event: models.EventModel) -> tuple[object, ...]:
    return (
        event.occurred_at or event.appended_at,
        event.type,
        event.version,
        event.stream,
        event.producer,
        event.status,
        event.position,
    )


AGGREGATE_VIEW = ListView(AGGREGATE_COLUMNS, _aggregate_row, lambda event: event.position, "no events")
