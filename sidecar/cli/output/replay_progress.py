"""Output of the progress and the result of a replay."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING

from sidecar.cli.errors import FAILED_CODE
from sidecar.cli.output.tables import print_json, print_line, print_note
from sidecar.cli.plain_mode import draws_on
from sidecar.cli.sanitize import sanitize_line

if TYPE_CHECKING:
    from sidecar.api.client.client import Client
    from sidecar.api.models.replays import ReplayModel

POLL_INTERVAL_S = 0.3
LINE_INTERVAL_S = 5.0
"""Shortest time between two lines of progress if stderr is not a terminal."""
UNREACHABLE_TIMEOUT_S = 60.0
"""Longest wait for a reply: the sidecar may restart, and another sidecar continues its replays."""
BAR_WIDTH = 30


async def await_end(client: Client, job: ReplayModel) -> ReplayModel:
    """Wait until a replay is no longer running and return it. Shows progress on stderr. Raises ClientError."""
    from sidecar.api.client.client import Unreachable

    progress, unreachable_since = ReplayProgressBar(job), 0.0
    try:
        progress.show(job)
        while job.state == "running":
            await asyncio.sleep(POLL_INTERVAL_S)
            try:
                job = await client.replay_job(job.id)
                unreachable_since = 0.0
                progress.forget_note()
            except Unreachable as error:
                unreachable_since = unreachable_since or time.monotonic()
                if time.monotonic() - unreachable_since > UNREACHABLE_TIMEOUT_S:
                    raise Unreachable(f"{error}; the replay continues: {describe_next_steps(job.id)}") from None
                progress.print_note(f"{error}; retrying")
            progress.show(job)
    finally:
        progress.clear()
    return job


def describe_next_steps(id: str) -> str:
    """Name the commands that follow and cancel a replay."""
    return f"follow it with tracecar replays {id} --follow, cancel it with tracecar replays cancel {id}"


class ReplayProgressBar:
    """A progress bar on a terminal's stderr; elsewhere a line every few seconds."""

    def __init__(self, started: ReplayModel) -> None:
        self._skipped_at_start = started.skipped
        self._terminal = draws_on(sys.stderr)
        self._shown, self._printed_at, self._printed = False, time.monotonic(), ""
        self._note = ""
        """The latest note, which is not repeated."""

    def done(self, job: ReplayModel) -> int:
        """Count the processed dead letters of the selection, without those that were skipped before the start."""
        return min(job.selected, job.published + job.failed + job.skipped - self._skipped_at_start)

    def show(self, job: ReplayModel) -> None:
        """Show the progress of a replay."""
        line = self._format(job)
        if self._terminal:
            sys.stderr.write(f"\r\x1b[K{sanitize_line(line)}")
            sys.stderr.flush()
            self._shown = True
        elif line != self._printed and time.monotonic() - self._printed_at >= LINE_INTERVAL_S:
            self._printed, self._printed_at = line, time.monotonic()
            print_note(line)

    def _format(self, job: ReplayModel) -> str:
        done, of = self.done(job), job.selected
        share = done / of if of else 1.0
        filled = int(BAR_WIDTH * share)
        parts = [f"replay {job.id}: {done} of {of}"]
        if self._terminal:
            parts.insert(0, f"[{'#' * filled}{'.' * (BAR_WIDTH - filled)}] {share:4.0%}")
        parts += [f"{count} {word}" for word, count in (("failed", job.failed), ("returned", job.returned)) if count]
        if job.batch:
            parts.append(f"batches of {job.batch}")
        if job.note:
            parts.append(job.note)
        text = ", ".join(parts)
        if self._terminal:
            import shutil

            text = text[: shutil.get_terminal_size().columns - 1]
        return text

    def print_note(self, note: str) -> None:
        """Print a note above the bar, once."""
        if note != self._note:
            self._note = note
            self.clear()
            print_note(note)

    def forget_note(self) -> None:
        """Forget the latest note, so that it is printed again if it recurs."""
        self._note = ""

    def clear(self) -> None:
        """Remove the bar."""
        if self._shown:
            self._shown = False
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def report(job: ReplayModel, *, json: bool) -> None:
    """Print the result of a replay on stdout.

    Exits with 1 if the replay is not complete, or if a dead letter failed, returned or was kept back from groups that
    have consumed it.
    """
    from sidecar.cli.output.dry_run import exit_kept_back

    if json:
        print_json(job)
    else:
        print_replay(job)
    if job.failed or job.returned or job.state not in ("done", "running"):
        raise SystemExit(FAILED_CODE)
    if job.state == "done":
        exit_kept_back(job.kept_back, job.published)


def print_empty(job: ReplayModel, noun: str) -> None:
    """Print a replay that had nothing to send."""
    from sidecar.cli.output.dry_run import describe_empty_selection

    print_line(describe_empty_selection(job.skipped, noun))
    for why, count in job.reasons.items():
        print_line(f"{count} skipped: {why}")
    for warning in job.warnings:
        print_line(f"Warning: {warning}")


def print_replay(job: ReplayModel) -> None:
    """Print a replay in full."""
    print_line(f"replay {job.id}: {job.state}")
    rows: list[tuple[str, object]] = [
        ("query", job.query),
        ("ids", job.ids or None),
        ("range", job.range and ", ".join(f"{name} {value}" for name, value in job.range.items() if value)),
        ("to", job.to),
        ("for group", job.group),
        ("selected", job.selected),
        ("sent", job.published),
        ("skipped", job.skipped or None),
        ("failed", job.failed or None),
        ("returned", job.returned or None),
        ("by", f"{job.by} from {job.address}" if job.address else job.by),
        ("comment", job.comment),
        ("started", job.started_at),
        ("ended", job.ended_at),
        ("changed", job.changed_by and f"{job.changed_at} by {job.changed_by}"),
        ("note", job.note),
    ]
    for name, value in rows:
        if value is not None and value != "":
            print_line(f"  {name:<10}{value}")
    for why, count in job.reasons.items():
        print_line(f"  {count} skipped: {why}")
    for failure in job.failures:
        print_line(f"  failed {failure.id}: {failure.why}")
    if job.failed > len(job.failures):
        print_line(f"  and {job.failed - len(job.failures)} more")
    for warning in job.warnings:
        print_line(f"  Warning: {warning}")
    if job.state == "paused":
        print_line(
            f"  resume it with tracecar replays resume {job.id}, cancel it with tracecar replays cancel {job.id}"
        )
    if job.returned:
        print_line(f"  letters that failed again: tracecar dlq list since:{job.started_at or '1h'} state:open")
