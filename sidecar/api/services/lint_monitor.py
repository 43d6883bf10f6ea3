"""Runs the linter from time to time, for the metrics of its findings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from sidecar.api.services.lint import LintService
from sidecar.domain.periodic_task import run_periodically

FIRST_RUN_AFTER_S = 60.0
"""Time until the first run; before, the index is being filled."""


class LintTally:
    """Number of findings by rule and severity, as of the last run."""

    def __init__(self) -> None:
        self.findings: dict[tuple[str, str], int] | None = None
        """None: this sidecar has not run the linter."""


class LintMonitor:
    """Counts the findings of the linter every so often."""

    def __init__(
        self, service: LintService, tally: LintTally, interval_s: float, is_responsible: Callable[[], bool]
    ) -> None:
        """Create the monitor.

        Args:
            service: Runs the linter.
            tally: Takes the numbers.
            interval_s: Time between two runs.
            is_responsible: Returns whether this sidecar runs the linter for its group.
        """
        self._service, self._tally, self._interval_s = service, tally, interval_s
        self._is_responsible = is_responsible
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Run the linter after a minute, and then once an interval."""
        self._task = asyncio.ensure_future(self._run())

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        await asyncio.sleep(min(FIRST_RUN_AFTER_S, self._interval_s))
        await run_periodically("lint the events", self.count, self._interval_s)

    async def count(self) -> None:
        """Count the findings now. Raises Outage and Refused."""
        if not self._is_responsible():
            self._tally.findings = None
            return
        findings: dict[tuple[str, str], int] = {(rule.name, rule.severity): 0 for rule in self._service.rules()}
        for finding in (await self._service.findings()).items:
            findings[finding.rule, finding.severity] += 1
        self._tally.findings = findings
