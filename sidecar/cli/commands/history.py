"""`tracecar history`: what the history holds and lacks, and the work on its files."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import typer

from sidecar.cli.arguments import PlainCommand
from sidecar.cli.command_group import examples
from sidecar.cli.options import URL, Connection, Json, Output, Token, Url, choose_format
from sidecar.cli.output.lists import show_object
from sidecar.cli.output.tables import format_age, print_line

if TYPE_CHECKING:
    from sidecar.api import models

MAX_PRINTED_RANGES = 20
_DECIMAL_UNITS = ("B", "KB", "MB", "GB", "TB")


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command(
        "history",
        cls=PlainCommand,
        epilog=examples("tracecar history", "tracecar history --json | jq '.holes'"),
    )(history)


def history(json: Json = False, output: Output = None, url: Url = URL, token: Token = None) -> None:
    """Show what the history holds, its holes and size, and the next compaction."""
    history = Connection(url, token).ask(lambda client: client.history())
    show_object(history, choose_format(json, output), lambda history: history.url, _print_history)


def _print_history(history: models.HistoryModel) -> None:
    each = f", {history.bytes / history.events:.0f} bytes an event" if history.events else ""
    size = f"{history.files} files, {_format_bytes(history.bytes)}{each}"
    print_line(f"{history.url}: {history.events:,} events in {size}")
    if history.oldest is not None:
        print_line(f"events: from {history.oldest} to {history.newest}")
    deleted = f", deleted before {history.deleted_before}" if history.deleted_before else ""
    print_line(f"kept: {history.keep_age_s / 86_400:g} days and {_format_bytes(history.keep_bytes)}{deleted}")
    print_line(f"next compaction: {_describe_compaction(history)}")
    if history.writing is not None:
        _print_writing(history.writing)
    _print_ranges("covered", history.covered, history.covered_count)
    _print_ranges("holes", history.holes, history.hole_count)
    for file in history.unusable:
        print_line(f"left out: {file.name}: {file.reason}")


def _describe_compaction(history: models.HistoryModel) -> str:
    parts = []
    if history.merges:
        parts.append(f"merges {history.merged_files} files into {history.merges}")
    if history.deleted_files:
        parts.append(f"deletes {history.deleted_files} files")
    return " and ".join(parts) or "nothing to do"


def _print_writing(writing: models.HistoryWritingModel) -> None:
    last = "no file yet"
    if writing.last_written_at is not None:
        last = f"last file {format_age(writing.last_written_at, time.time())} ago"
    print_line(
        f"this sidecar: {writing.written:,} events written ({writing.filled:,} read again from the broker), {last}, "
        f"{_format_bytes(writing.queued_bytes)} waiting"
    )
    if writing.missed or writing.lost:
        print_line(f"missed: {writing.missed:,} events did not fit in; the broker had lost {writing.lost:,} offsets")
    if writing.filling:
        print_line(f"filling: gaps of {writing.filling} partitions are looked for or read again")
    if writing.problem is not None:
        print_line(f"problem: {writing.problem}")


def _print_ranges(name: str, ranges: list[models.HistoryRangeModel], count: int) -> None:
    if not ranges:
        print_line(f"{name}: none")
        return
    print_line(f"{name}:")
    for each in ranges[:MAX_PRINTED_RANGES]:
        member = "" if each.member is None else f" (given to {each.member})"
        print_line(f"  {each.partition} from {each.first} to {each.last}{member}")
    if count > MAX_PRINTED_RANGES:
        print_line(f"  and {count - MAX_PRINTED_RANGES} more: see --json")


def _format_bytes(size: float) -> str:
    for unit in _DECIMAL_UNITS[:-1]:
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} {_DECIMAL_UNITS[-1]}"
