"""Findings of the linter."""

from __future__ import annotations

from typing import Literal

from sidecar.api.models.base import ApiModel
from sidecar.api.models.events import CoverageModel


class LintFindingModel(ApiModel, kw_only=True):
    """A problem that the linter found in events."""

    rule: str
    severity: Literal["error", "warning", "note"]
    subject: str
    """The stream, type or group that the finding is about."""
    message: str
    stream: str | None
    """The stream on which it was found; null where it concerns several."""
    type: str | None
    """The type of its events; null where it concerns several."""
    evidence: list[str]
    """Positions of events that show it, newest first, at most five."""
    count: int
    """Number of events that show it."""
    first_seen: str | None
    last_seen: str | None


class LintRuleModel(ApiModel, kw_only=True):
    """A rule of the linter, explained."""

    name: str
    severity: Literal["error", "warning", "note"]
    summary: str
    reason: str
    remedy: str


class LintPage(ApiModel, kw_only=True):
    """The findings of the linter, and how much it looked at."""

    items: list[LintFindingModel]
    cursor: str | None = None
    """Always null: all findings are on one page."""
    events: int
    """Number of events that were looked at."""
    flows: int
    """Number of flows that were looked at."""
    payloads: int
    """Number of payloads that were read back."""
    rules: list[LintRuleModel]
    """The rules that `items` name."""
    coverage: CoverageModel
    did_you_mean: str | None = None
    """The query that was probably meant, if nothing matches and a better one is known."""
