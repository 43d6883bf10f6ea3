"""A replay until its end: how far it is, and what came of it."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING

from sidecar.cli.errors import FAILED
from sidecar.cli.output.tables import print_json, print_line, say_note
from sidecar.cli.sanitize import clean

if TYPE_CHECKING:
    from sidecar.api.client.client import Client
    from sidecar.api.models.replays import ReplayModel

EVERY_SECONDS = 0.3
LINE_SECONDS = 5.0
"""Where there is no terminal, a line is printed so often at most."""
PATIENCE_SECONDS = 60.0
"""How long a sidecar may not answer: it may be restarting, and another one goes on with its replays."""
BAR = 30


async def until_ended(client: Client, job: ReplayModel) -> ReplayModel:
    """The job once it runs no more; its progress is shown on stderr. Raises ClientError."""
    from sidecar.api.client.client import Unreachable

    progress, missing = ReplayProgressBar(job), 0.0
    try:
        progress.show(job)
        while job.state == "running":
            await asyncio.sleep(EVERY_SECONDS)
            try:
                job = await client.replay_job(job.id)
                missing = 0.0
                progress.told = ""
            except Unreachable as error:
                missing = missing or time.monotonic()
                if time.monotonic() - missing > PATIENCE_SECONDS:
                    raise Unreachable(f"{error}; the replay is not lost: {how_to_go_on(job.id)}") from None
                progress.say(f"{error}; trying again")
            progress.show(job)
    finally:
        progress.clear()
    return job


def how_to_go_on(id: str) -> str:
    return f"tracecar replays {id} --follow shows how far it is, tracecar replays cancel {id} ends it"


class ReplayProgressBar:
    """On a terminal's stderr a bar that overwrites itself, elsewhere a line now and then."""

    def __init__(self, began: ReplayModel) -> None:
        self._before = began.skipped
        self._terminal = sys.stderr.isatty()
        self._shown, self._said_at, self._said = False, time.monotonic(), ""
        self.told = ""
        """The note that stands, and is not said again."""

    def done(self, job: ReplayModel) -> int:
        """How many of the selection are done with. What was left out before we looked is none of it."""
        return min(job.selected, job.published + job.failed + job.skipped - self._before)

    def show(self, job: ReplayModel) -> None:
        line = self._line(job)
        if self._terminal:
            sys.stderr.write(f"\r\x1b[K{clean(line)}")
            sys.stderr.flush()
            self._shown = True
        elif line != self._said and time.monotonic() - self._said_at >= LINE_SECONDS:
            self._said, self._said_at = line, time.monotonic()
            say_note(line)

    def _line(self, job: ReplayModel) -> str:
        done, of = self.done(job), job.selected
        share = done / of if of else 1.0
        filled = int(BAR * share)
        parts = [f"replay {job.id}: {done} of {of}"]
        if self._terminal:
            parts.insert(0, f"[{'#' * filled}{'.' * (BAR - filled)}] {share:4.0%}")
        parts += [f"{count} {word}" for word, count in (("failed", job.failed), ("returned", job.returned)) if count]
        if job.batch:
            parts.append(f"in batches of {job.batch} now")
        if job.note:
            parts.append(job.note)
        text = ", ".join(parts)
        if self._terminal:
            import shutil

            text = text[: shutil.get_terminal_size().columns - 1]
        return text

    def say(self, note: str) -> None:
        if note != self.told:
            self.told = note
            self.clear()
            say_note(note)

    def clear(self) -> None:
        if self._shown:
            self._shown = False
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def report(job: ReplayModel, *, json: bool) -> None:
    """What came of it, on stdout. Exits with 1 where something of it failed or is not done, or where some was kept
    back from groups that have it already."""
    from sidecar.cli.output.dry_run import refused_to_groups

    if json:
        print_json(job)
    else:
        print_replay(job)
    if job.failed or job.returned or job.state not in ("done", "running"):
        raise SystemExit(FAILED)
    if job.state == "done":
        refused_to_groups(job.kept_back, job.published)


def print_empty(job: ReplayModel, what: str) -> None:
    """A replay that had nothing to send."""
    from sidecar.cli.output.dry_run import nothing_left

    print_line(nothing_left(job.skipped, what))
    for why, count in job.reasons.items():
        print_line(f"{count} left out: {why}")
    for warning in job.warnings:
        print_line(f"Warning: {warning}")


def print_replay(job: ReplayModel) -> None:
    """A replay in full."""
    print_line(f"replay {job.id}: {job.state}")
    rows: list[tuple[str, object]] = [
        ("query", job.query),
        ("ids", job.ids or None),
        ("range", job.range and ", ".join(f"{name} {value}" for name, value in job.range.items() if value)),
        ("to", job.to),
        ("for group", job.group),
        ("selected", job.selected),
        ("sent", job.published),
        ("left out", job.skipped or None),
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
        print_line(f"  {count} left out: {why}")
    for failure in job.failures:
        print_line(f"  failed {failure.id}: {failure.why}")
    if job.failed > len(job.failures):
        print_line(f"  and {job.failed - len(job.failures)} more")
    for warning in job.warnings:
        print_line(f"  Warning: {warning}")
    if job.state == "paused":
        print_line(f"  go on with tracecar replays resume {job.id}, end it with tracecar replays cancel {job.id}")
    if job.returned:
        print_line(f"  what failed again: tracecar dlq list since:{job.started_at or '1h'} state:open")
