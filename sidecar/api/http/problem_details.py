"""Every error as `application/problem+json` (RFC 9457): what went wrong, where, and what to do."""

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
from sidecar.domain.json_safe import text

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"
AnyRequest = Request[Any, Any, Any]


def problem(status: int, detail: str, **more: Any) -> models.Problem:
    return models.Problem(title=HTTPStatus(status).phrase, status=status, detail=text(detail), **more)


def encoded(value: models.Problem) -> bytes:
    return msgspec.json.encode(value)


def answer(value: models.Problem, headers: dict[str, str] | None = None) -> Response[bytes]:
    return Response(encoded(value), status_code=value.status, media_type=MEDIA_TYPE, headers=headers)


def of(error: Exception) -> models.Problem:
    """What an error means to who asked."""
    match error:
        case QueryError():
            return problem(400, str(error), query=text(error.query), at=error.at)
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
    return problem(500, "something went wrong here that should not have: the sidecar's log says more")


_NAMES = {"search": "query"}
"""Parameters that are called otherwise in the code: Litestar keeps `query` for itself."""


def _mistakes(error: ValidationException) -> str:
    extra = error.extra if isinstance(error.extra, list) else []
    mistakes = [
        f"{_NAMES.get(str(one.get('key')), one.get('key'))}: {one.get('message')}"
        for one in extra
        if isinstance(one, dict) and one.get("message")
    ]
    return "; ".join(mistakes) or error.detail


def _handle(request: AnyRequest, error: Exception) -> Response[bytes]:
    value = of(error)
    if value.status == 500:
        log.error("a request failed", path=request.url.path, exc_info=error)
    if value.status == 404 and isinstance(error, HTTPException):
        value.detail = f"there is no {request.url.path} here; /schema describes what there is"
    headers = dict(getattr(error, "headers", None) or {})
    if isinstance(error, Outage):
        headers["Retry-After"] = str(max(1, round(error.retry_after or 1)))
    return answer(value, headers)


HANDLERS: ExceptionHandlersMap = {HTTPException: _handle, TracecarError: _handle, Exception: _handle}
