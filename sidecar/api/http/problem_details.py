"""Errors as `application/problem+json` (RFC 9457): what went wrong, where, and what to do next."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.types import ExceptionHandlersMap

from sidecar.api import models
from sidecar.domain.errors import NotFoundError, Outage, QueryError, Refused, TooLarge, TracecarError
from sidecar.domain.json_safe import to_text

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"


def problem(status: int, detail: str, **more: Any) -> models.Problem:
    """Build a problem with the standard phrase of its status as title."""
    return models.Problem(title=HTTPStatus(status).phrase, status=status, detail=to_text(detail), **more)


def encode_problem(value: models.Problem) -> bytes:
    """Encode a problem as JSON."""
    return msgspec.json.encode(value)


def _response(value: models.Problem, headers: dict[str, str] | None = None) -> Response[bytes]:
    return Response(encode_problem(value), status_code=value.status, media_type=MEDIA_TYPE, headers=headers)


def problem_of(error: Exception) -> models.Problem:
    """Build the problem that describes an error to the client."""
    match error:
        case QueryError():
            return problem(400, str(error), query=to_text(error.query), at=error.at, did_you_mean=error.did_you_mean)
        case NotFoundError():
            return problem(404, str(error))
        case Outage():
            return problem(503, str(error))
        case TooLarge():
            return problem(413, str(error))
        case Refused():
            return problem(409, str(error))
        case ValidationException():
            return problem(error.status_code, _mistakes(error))
        case HTTPException():
            return problem(error.status_code, error.detail)
    return problem(500, "internal error: the sidecar's log has the details")


_PARAMETER_NAMES = {"search": "query"}
"""Parameters with another name in the code, because Litestar reserves `query`."""


def _mistakes(error: ValidationException) -> str:
    extra = error.extra if isinstance(error.extra, list) else []
    mistakes = [
        f"{_PARAMETER_NAMES.get(str(mistake.get('key')), mistake.get('key'))}: {mistake.get('message')}"
        for mistake in extra
        if isinstance(mistake, dict) and mistake.get("message")
    ]
    return "; ".join(mistakes) or error.detail


def _handle(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    if isinstance(error, RecursionError) and request.method == "POST":
        # Litestar decodes a body before its type is checked, and decoders stop at the interpreter's recursion limit.
        error = ValidationException("the body is nested too deeply: no request needs more than a few levels")
    value = problem_of(error)
    if value.status == 500:
        log.error("request failed", path=request.url.path, exc_info=error)
    if value.status == 404 and isinstance(error, HTTPException):
        value.detail = f"there is no {request.url.path}; /schema lists the paths"
    headers = dict(getattr(error, "headers", None) or {})
    if isinstance(error, Outage):
        headers["Retry-After"] = str(max(1, round(error.retry_after or 1)))
    return _response(value, headers)


HANDLERS: ExceptionHandlersMap = {HTTPException: _handle, TracecarError: _handle, Exception: _handle}
