"""The HTTP API: routes, limits, errors and its own description."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from litestar import Litestar, Request, Router
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.plugins import PluginProtocol
from litestar.plugins.core import MsgspecDIPlugin

from sidecar.api.http.auth import TokenStore
from sidecar.api.http.middleware import EdgeMiddleware
from sidecar.api.http.problem_details import HANDLERS
from sidecar.api.http.routes import health, live, reading, replays, streams
from sidecar.api.http.routes.parameters import role_is_enough
from sidecar.api.services.answers import ReadService, StatusProvider
from sidecar.pipeline.live_stream import LiveStream
from sidecar.replay.ports import DeadLetterOperations

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

LARGEST_BODY = 1 << 20
"""Bytes of a request's body."""


def build(
    answers: ReadService,
    live_stream: LiveStream,
    operations: DeadLetterOperations,
    tokens: TokenStore,
    *,
    loopback: bool,
) -> ASGI3Application:
    """The whole API. `loopback`: it listens there, and answers nobody who calls it by another name."""
    guarded = [
        *reading.routes(answers),
        *streams.routes(answers),
        *replays.routes(operations, answers.redactor),
        *live.routes(answers, live_stream),
    ]
    description = OpenAPIConfig(
        title="Tracecar",
        version=version("tracecar"),
        path="/schema",
        render_plugins=[_ContractNames(path="/")],
        components=Components(security_schemes={"token": SecurityScheme(type="http", scheme="bearer")}),
        security=[{"token": []}],
    )
    return EdgeMiddleware(_application(guarded, health.routes(answers.facts), description), tokens, loopback=loopback)


def build_probes(facts: StatusProvider, *, loopback: bool) -> ASGI3Application:
    """Only what needs no token, for a listener of its own."""
    return EdgeMiddleware(_application([], health.routes(facts), None), None, loopback=loopback)


_COMPONENT = "#/components/schemas/"


class _ContractNames(JsonRenderPlugin):
    """Renders the OpenAPI document with the names of the contract: `Event`, where the class is `EventModel`."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        return super().render(request, _without_suffix(openapi_schema))


def _without_suffix(value: Any, *, names: bool = False) -> Any:
    """Copy a JSON value without `Model` at the end of component names. `names`: its keys are such names."""
    if isinstance(value, dict):
        return {
            key.removesuffix("Model") if names else key: _without_suffix(inner, names=key == "schemas" and not names)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [_without_suffix(inner) for inner in value]
    if isinstance(value, str) and value.startswith(_COMPONENT):
        return value.removesuffix("Model")
    return value


class _LeanLitestar(Litestar):
    """Litestar without its plugins for pydantic and attrs, which it loads wherever they are installed (Typer brings
    pydantic): a third of a second and ten megabytes for models that are not ours. Should Litestar no longer ask this
    method, they are loaded again and nothing else changes."""

    @staticmethod
    def _get_default_plugins(plugins: list[PluginProtocol]) -> list[PluginProtocol]:
        return [*plugins, MsgspecDIPlugin()]


def _application(
    guarded: Sequence[HTTPRouteHandler], unguarded: Sequence[HTTPRouteHandler], description: OpenAPIConfig | None
) -> ASGI3Application:
    handlers = [Router("/", route_handlers=list(guarded), guards=[role_is_enough])] if guarded else []
    return _LeanLitestar(  # type: ignore[return-value]  # Litestar's types for ASGI are its own
        route_handlers=[*handlers, *unguarded],
        exception_handlers=HANDLERS,
        openapi_config=description,
        request_max_body_size=LARGEST_BODY,
        logging_config=None,
    )
