"""Export of the open flow as a document, from the command palette."""

from __future__ import annotations

import io
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from textual.app import App, SystemCommand

from sidecar.api.client.client import Client, ClientError
from tui.background import begin

FLOW_FORMATS = {
    "markdown": ("Markdown", "for a report", "md"),
    "html": ("a page", "HTML, to read and print", "html"),
    "mermaid": ("a Mermaid diagram", "services as columns", "mmd"),
    "sequence": ("a text diagram", "services as columns", "txt"),
    "otlp": ("OTLP JSON", "for Jaeger and other backends", "json"),
}
"""Name, description and file suffix of each format."""


def list_export_commands(app: App[None], client: Client, trace_id: str) -> Iterable[SystemCommand]:
    """Yield a command for each format in which a flow can be exported."""
    for format, (name, description, _) in FLOW_FORMATS.items():
        start = partial(begin, app, _export, app, client, trace_id, format, group="export")
        yield SystemCommand(f"Export flow as {name}", description, start)


async def _export(app: App[None], client: Client, trace_id: str, format: str) -> None:
    """Write the document to a file in the current directory, or give it to the browser."""
    try:
        text = await client.flow_document(trace_id, format)
    except ClientError as error:
        app.notify(str(error), title="The flow was not exported", severity="error", markup=False)
        return
    name = f"flow-{trace_id}.{FLOW_FORMATS[format][2]}"
    app.deliver_text(io.StringIO(text), save_directory=Path.cwd(), save_filename=name, open_method="download")
    app.notify(name, title="Exported flow", markup=False)
