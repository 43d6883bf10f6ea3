"""SQL over the history."""

from __future__ import annotations

from typing import Any

from sidecar.api.models.base import ApiModel


class SqlRequestModel(ApiModel, kw_only=True, forbid_unknown_fields=True):
    """A statement."""

    statement: str
    """One SELECT statement over the views `events`, `bodies`, `dead_letters` and `flows`."""
    limit: int = 1_000
    """Maximum number of rows; 0: as many as an answer can have, 10,000."""
    since: str | None = None
    """Read only what was appended at this moment or later: a time, or a length of time before now such as `1h`."""
    until: str | None = None
    """Read only what was appended before this moment."""
    timeout_s: float = 30.0
    """Time limit, at most 60."""


class SqlColumnModel(ApiModel, kw_only=True):
    """A column of an answer."""

    name: str
    type: str


class SqlAnswerModel(ApiModel, kw_only=True):
    """The rows that a statement selects."""

    columns: list[SqlColumnModel]
    rows: list[list[Any]]
    truncated: bool
    """The statement selects more rows than the limit, or more bytes than an answer can have."""
    elapsed_ms: float
    files: int
    """Number of files that were read."""
