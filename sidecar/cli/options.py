"""Options that many commands share, and the client that they configure."""

from __future__ import annotations

import enum
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple, TypeVar

import typer

from sidecar.cli.errors import run_client

if TYPE_CHECKING:
    from sidecar.api.client.client import Client

T = TypeVar("T")

URL = "http://127.0.0.1:8425"
DEFAULT_TOKEN_FILE = "~/.local/state/tracecar/token"


class OutputFormat(enum.StrEnum):
    """Formats of `--output`. Without it, a table that fits the terminal is printed."""

    JSON = "json"
    YAML = "yaml"
    WIDE = "wide"
    NAME = "name"
    NDJSON = "ndjson"
    CSV = "csv"
    PARQUET = "parquet"

    @property
    def is_file(self) -> bool:
        """True for a format of whole lists, for other tools."""
        return self in (OutputFormat.CSV, OutputFormat.PARQUET)


class Connection(NamedTuple):
    """Address and token of a sidecar, as given on the command line."""

    url: str
    token: str | None

    def connect(self) -> Client:
        """Create a client. The token in this machine's token file is sent to no other machine."""
        from sidecar.api.client.client import Client, is_local

        token = self.token
        if not token and is_local(self.url):
            from sidecar.config.token_file import read_token

            token = read_token(Path(os.environ.get("TRACECAR_TOKEN_FILE", DEFAULT_TOKEN_FILE)).expanduser())
        return Client(self.url, token)

    def ask(self, work: Callable[[Client], Awaitable[T]]) -> T:
        """Run `work` with a client and return its result. If a request fails, exit with the documented code."""

        async def run() -> T:
            async with self.connect() as client:
                return await work(client)

        return run_client(run())


Url = Annotated[str, typer.Option("--url", metavar="URL", envvar="TRACECAR_URL", help="Address of the sidecar's API.")]
Token = Annotated[
    str | None,
    typer.Option(
        "--token",
        metavar="TOKEN",
        envvar="TRACECAR_TOKEN",
        help="Token for the API. Default, for a sidecar on this machine: the token in the user's token file.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON; a list has one object per line.")]
Output = Annotated[
    OutputFormat | None,
    typer.Option(
        "--output",
        "-o",
        help="Format: json, yaml, wide (all columns, uncut) or name (ids only); of a list also ndjson, csv or parquet.",
        show_choices=False,
        metavar="FORMAT",
    ),
]
Limit = Annotated[int, typer.Option("--limit", metavar="N", min=0, help="Maximum number of rows; 0 means all.")]
Watch = Annotated[bool, typer.Option("--watch", "-w", help="Repeat every 2 seconds until Ctrl-C.")]


def choose_format(json: bool, output: OutputFormat | None) -> OutputFormat | None:
    """Combine `--json` and `--output`. Raises typer.BadParameter if they contradict each other."""
    if output is OutputFormat.NDJSON:
        output = OutputFormat.JSON
    if json and output not in (None, OutputFormat.JSON):
        raise typer.BadParameter(f"--json and --output {output} contradict each other: use one of them")
    return OutputFormat.JSON if json else output
