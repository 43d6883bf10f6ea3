"""The HTTP application: routes, limits, errors and the OpenAPI document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from litestar import Litestar, Router
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.plugins import PluginProtocol
from litestar.plugins.core import MsgspecDIPlugin

from sidecar.api.http.auth import TokenStore
from sidecar.api.http.middleware import EdgeMiddleware
from sidecar.api.http.openapi import build_openapi_config
from sidecar.api.http.problem_details import HANDLERS
from sidecar.api.http.routes import (
    aggregates,
    audit,
    catalog,
    dead_letters,
    events,
    failures,
    flows,
    groups,
    health,
    history,
    lint,
    live,
    replays,
    sagas,
    schemas,
    sql,
    status,
    streams,
)
from sidecar.api.http.routes.parameters import check_role
from sidecar.api.http.typed_request import TypedRequest
from sidecar.api.services.aggregates.time_travel import AggregateTimeTravel
from sidecar.api.services.catalog import CatalogService
from sidecar.api.services.dead_letters import DeadLetterService
from sidecar.api.services.events import EventService
from sidecar.api.services.flows import FlowService
from sidecar.api.services.history import HistoryService
from sidecar.api.services.lint import LintService
from sidecar.api.services.ports import MetricsWriter, StatusProvider
from sidecar.api.services.sagas import SagaService
from sidecar.api.services.schema_check import SchemaCheckService
from sidecar.api.services.schemas import SchemaService
from sidecar.api.services.sql import SqlService
from sidecar.api.services.streams import StreamService
from sidecar.domain.redaction import Redactor
from sidecar.pipeline.live_stream import LiveStream
from sidecar.replay.ports import DeadLetterOperations

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

MAX_BODY_BYTES = 1 << 20
"""Largest request body, except on routes that allow more."""


@dataclass(frozen=True)
class ApiServices:
    """The use cases behind the routes."""

    events: EventService
    flows: FlowService
    time_travel: AggregateTimeTravel
    dead_letters: DeadLetterService
    schemas: SchemaService
    schema_checks: SchemaCheckService
    sql: SqlService
    history: HistoryService
    lint: LintService
    sagas: SagaService
    catalog: CatalogService
    streams: StreamService
    operations: DeadLetterOperations
    status: StatusProvider
    metrics: MetricsWriter
    live: LiveStream
    redactor: Redactor


def build_api(services: ApiServices, tokens: TokenStore, *, loopback: bool) -> ASGI3Application:
    """Build the whole API. `loopback`: it listens on loopback, and refuses requests for any other host name."""
    guarded = [
        *events.routes(services.events),
        *flows.routes(services.flows),
        *aggregates.routes(services.flows, services.time_travel),
        *dead_letters.routes(services.dead_letters, services.operations),
        *schemas.routes(services.schemas, services.schema_checks),
        *sql.routes(services.sql),
        *history.routes(services.history),
        *lint.routes(services.lint),
        *catalog.routes(services.catalog),
        *sagas.routes(services.sagas),
        *streams.routes(services.streams),
        *groups.routes(services.streams),
        *status.routes(services.streams),
        *replays.routes(services.operations, services.redactor),
        *audit.routes(services.operations, services.redactor),
        *failures.routes(services.operations),
        *live.routes(services.events, services.live, services.redactor),
    ]
    probes = health.routes(services.status, services.metrics)
    return EdgeMiddleware(_application(guarded, probes, build_openapi_config()), tokens, loopback=loopback)


def build_probes(status: StatusProvider, metrics: MetricsWriter, *, loopback: bool) -> ASGI3Application:
    """Build the routes that need no token, for a listener of their own."""
    return EdgeMiddleware(_application([], health.routes(status, metrics), None), None, loopback=loopback)


class _LeanLitestar(Litestar):
    """Litestar without its plugins for pydantic and attrs.

    Litestar loads them wherever they are installed (Typer brings pydantic), which costs a third of a second and ten
    megabytes for models that we do not use. If Litestar stops calling this method, they are loaded again and nothing
    else changes.
    """

    @staticmethod
    def _get_default_plugins(plugins: list[PluginProtocol]) -> list[PluginProtocol]:
        return [*plugins, MsgspecDIPlugin()]


def _application(
    guarded: Sequence[HTTPRouteHandler], unguarded: Sequence[HTTPRouteHandler], description: OpenAPIConfig | None
) -> ASGI3Application:
    handlers = [Router("/", route_handlers=list(guarded), guards=[check_role])] if guarded else []
    return _LeanLitestar(  # type: ignore[return-value]  # Litestar's types for ASGI are its own
        route_handlers=[*handlers, *unguarded],
        exception_handlers=HANDLERS,
        openapi_config=description,
        request_class=TypedRequest,
        request_max_body_size=MAX_BODY_BYTES,
        logging_config=None,
    )
