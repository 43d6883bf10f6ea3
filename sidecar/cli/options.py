"""Which sidecar is asked, and with which token."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sidecar.api.client.client import Client

DEFAULT_TOKEN_FILE = "~/.local/state/tracecar/token"

Url = Annotated[
    str,
    typer.Option("--url", envvar="TRACECAR_URL", help="Where the sidecar's API is.", rich_help_panel="Connection"),
]
Token = Annotated[
    str | None,
    typer.Option(
        "--token",
        envvar="TRACECAR_TOKEN",
        show_envvar=True,
        help="The token for it. Without one, a sidecar on this machine is asked with the token it keeps for its user.",
        rich_help_panel="Connection",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="JSON: one object a line for lists.")]
Limit = Annotated[int, typer.Option("--limit", min=0, help="At most so many; 0 is all.")]
URL = "http://127.0.0.1:8425"


def connect(url: str, token: str | None) -> Client:
    """A client for the sidecar. The token of this machine's own sidecar is sent to no other machine."""
    from sidecar.api.client.client import Client, is_local

    if not token and is_local(url):
        token = _kept_token()
    return Client(url, token)


def _kept_token() -> str | None:
    file = Path(os.environ.get("TRACECAR_TOKEN_FILE", DEFAULT_TOKEN_FILE)).expanduser()
    try:
        return file.read_text("ascii")[:4_096].strip() or None
    except (OSError, ValueError):
        return None
