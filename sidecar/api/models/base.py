"""Base classes of every object in requests and replies of the API, and of its errors."""

from __future__ import annotations

from msgspec import Struct


class ApiModel(Struct, kw_only=True):
    """One object of the API. Fields that a newer sidecar adds are ignored."""


class Problem(ApiModel, kw_only=True):
    """RFC 9457, `application/problem+json`."""

    title: str
    status: int
    detail: str
    type: str = "about:blank"
    query: str | None = None
    at: int | None = None
    """Index into `query` of the first character that does not fit."""
    did_you_mean: str | None = None
    """The query that was probably meant, if one is known."""
