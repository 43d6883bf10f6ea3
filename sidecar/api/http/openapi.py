"""The OpenAPI document: Litestar's description, with additions that only this application knows.

Errors are `application/problem+json` on every route. Litestar does not see them, because they come from the middleware
and from exception handlers.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import msgspec
from litestar import Request
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

from sidecar.api import models
from sidecar.api.documents.formats import FORMATS
from sidecar.api.http.problem_details import MEDIA_TYPE
from sidecar.api.models.replays import FailureAnswer, PlanModel, ReplayModel

_COMPONENT = "#/components/schemas/"
_OTHER_ANSWERS: dict[tuple[str, str], dict[str, tuple[str, list[type]]]] = {
    ("/v1/replays", "post"): {
        "200": ("The dry run, or a replay with nothing to send", [PlanModel, ReplayModel]),
        "201": ("The replay that was started", [ReplayModel]),
    },
    ("/v1/failures", "post"): {
        "200": ("The dead letter that an earlier report wrote", [FailureAnswer]),
        "201": ("The new dead letter", [FailureAnswer]),
    },
    ("/readyz", "get"): {"503": ("A broker is not connected yet", [])},
}
"""Answers with a status that depends on the request, by path and method."""
_FLOW_CONTENT = {"application/json": {"schema": {"$ref": f"{_COMPONENT}FlowModel"}}} | {
    media_type: {"schema": {"type": "string"}} for media_type, _ in FORMATS.values() if media_type != "application/json"
}
"""A flow as JSON, or as one of its documents."""


def build_openapi_config() -> OpenAPIConfig:
    """Build the configuration of the document at `/schema`."""
    return OpenAPIConfig(
        title="Tracecar",
        version=version("tracecar"),
        description="Events, flows and dead letters that a sidecar sees, and replays of dead letters.",
        path="/schema",
        render_plugins=[_DocumentRenderer(path="/")],
        components=Components(security_schemes={"token": SecurityScheme(type="http", scheme="bearer")}),
        security=[{"token": []}],
    )


class _DocumentRenderer(JsonRenderPlugin):
    """Renders the document with all answers, and with the names of the contract: `Event`, not `EventModel`."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        return super().render(request, _remove_suffix(_add_answers(openapi_schema)))


def _add_answers(document: dict[str, Any]) -> dict[str, Any]:
    kinds = [
        models.Problem,
        models.FlowModel,
        *(kind for answers in _OTHER_ANSWERS.values() for _, listed in answers.values() for kind in listed),
    ]
    _, components = msgspec.json.schema_components(kinds, ref_template=_COMPONENT + "{name}")
    known = document.setdefault("components", {}).setdefault("schemas", {})
    for name, component in components.items():
        known.setdefault(name, component)
    problem = {"content": {MEDIA_TYPE: {"schema": {"$ref": f"{_COMPONENT}Problem"}}}}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            answers = operation["responses"]
            answers.pop("400", None)
            for status, (description, kinds) in _OTHER_ANSWERS.get((path, method), {}).items():
                answers[status] = {"description": description, "content": _content(kinds)}
            if path == "/v1/flows/{id}":
                answers["200"]["content"] = _FLOW_CONTENT
            if path == "/v1/dead-letters/export":
                answers["200"]["content"] = {"application/x-ndjson": {"schema": {"type": "string"}}}
            answers["default"] = {"description": "The reason why the request failed", **problem}
    return document


def _content(kinds: list[type]) -> dict[str, Any]:
    if not kinds:
        return {"text/plain": {"schema": {"type": "string"}}}
    references = [{"$ref": _COMPONENT + kind.__name__} for kind in kinds]
    return {"application/json": {"schema": references[0] if len(references) == 1 else {"anyOf": references}}}


def _remove_suffix(value: Any, *, names: bool = False) -> Any:
    """Copy a JSON value without `Model` at the end of component names. `names`: its keys are such names."""
    if isinstance(value, dict):
        return {
            key.removesuffix("Model") if names else key: _remove_suffix(inner, names=key == "schemas" and not names)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [_remove_suffix(inner) for inner in value]
    if isinstance(value, str) and value.startswith(_COMPONENT):
        return value.removesuffix("Model")
    return value
