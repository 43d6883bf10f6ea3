"""Parameters that several routes take, and who may call."""

from __future__ import annotations

from typing import Annotated, Any

from litestar.connection import ASGIConnection
from litestar.exceptions import PermissionDeniedException
from litestar.handlers import BaseRouteHandler
from litestar.params import QueryParameter

from sidecar.api.http.auth import Caller, Role
from sidecar.api.http.middleware import CALLER
from sidecar.dead_letters.ledger_entries import Actor

LONGEST_QUERY = 4_000

QueryText = Annotated[
    str,
    QueryParameter(
        name="query", max_length=LONGEST_QUERY, description="Which ones: `type:Order* status:rejected since:15m`"
    ),
]
Limit = Annotated[
    int, QueryParameter(ge=0, le=1_000, description="At most so many; 0: as many as one page holds, 1,000")
]
Cursor = Annotated[
    str | None, QueryParameter(max_length=2_000, description="Where the page before ended: its `cursor`")
]
Full = Annotated[bool, QueryParameter(description="With headers and bodies")]


def caller(connection: ASGIConnection[Any, Any, Any, Any]) -> Caller:
    """Who asks, as the edge found out."""
    found: Caller = connection.scope[CALLER]  # type: ignore[literal-required]  # a key of our own
    return found


def who(connection: ASGIConnection[Any, Any, Any, Any]) -> Actor:
    """Who acts, and from where: behind a proxy that is the proxy's address."""
    return Actor(caller(connection).name, connection.client.host if connection.client is not None else None)


def role_is_enough(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Guard: reading needs the role `read`, everything else the role that the route names, else `operate`. A route that
    names None decides itself."""
    role = handler.opt.get("role", "read" if connection.scope.get("method") in ("GET", "HEAD") else "operate")
    if role is not None:
        needs(connection, role)


def needs(connection: ASGIConnection[Any, Any, Any, Any], role: Role) -> None:
    """Raises PermissionDeniedException where the caller's token has another role."""
    asking = caller(connection)
    if not asking.may(role):
        raise PermissionDeniedException(
            f"the token {asking.name!r} has the role {asking.role!r}; this needs a token with the role {role!r}"
        )
