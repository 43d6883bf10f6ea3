"""Parameters that several routes share, and the check of the caller's role."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.exceptions import PermissionDeniedException
from litestar.handlers import BaseRouteHandler
from litestar.params import QueryParameter

from sidecar.api.http.auth import Caller, Role
from sidecar.api.http.middleware import CALLER
from sidecar.dead_letters.ledger_entries import Actor

MAX_QUERY_CHARS = 4_000

AnyRequest = Request[Any, Any, Any]
QueryText = Annotated[
    str,
    QueryParameter(
        name="query",
        max_length=MAX_QUERY_CHARS,
        description="A query, such as `type:Order* status:rejected since:15m`. Empty: everything.",
    ),
]
Limit = Annotated[
    int, QueryParameter(ge=0, le=1_000, description="Maximum number of items. 0: a full page of 1,000 items.")
]
Cursor = Annotated[
    str | None,
    QueryParameter(max_length=2_000, description="The `cursor` of the previous page. Absent: the first page."),
]
Full = Annotated[bool, QueryParameter(description="Include headers and bodies.")]


def caller_of(connection: ASGIConnection[Any, Any, Any, Any]) -> Caller:
    """Return the caller that `EdgeMiddleware` authenticated."""
    caller: Caller = connection.scope[CALLER]  # type: ignore[literal-required]  # a key of our own
    return caller


def actor_of(connection: ASGIConnection[Any, Any, Any, Any]) -> Actor:
    """Return the caller and its address for the audit log; behind a proxy it is the proxy's address."""
    return Actor(caller_of(connection).name, connection.client.host if connection.client is not None else None)


def check_role(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Check the caller's role: GET needs `read`, other methods the role that the route names, else `operate`.

    A route that names None checks the role itself.
    """
    role = handler.opt.get("role", "read" if connection.scope.get("method") in ("GET", "HEAD") else "operate")
    if role is not None:
        require_role(connection, role)


def require_role(connection: ASGIConnection[Any, Any, Any, Any], role: Role) -> None:
    """Raise PermissionDeniedException if the caller's token does not have this role."""
    caller = caller_of(connection)
    if not caller.may(role):
        raise PermissionDeniedException(
            f"the token {caller.name!r} has the role {caller.role!r}; this needs a token with the role {role!r}"
        )
