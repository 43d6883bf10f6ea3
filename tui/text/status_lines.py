"""Lines of the status screen: problems first, each with what to do; then streams, consumer groups and sidecars."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sidecar.api import models
from tui.text.columns import wrap
from tui.text.sanitize import clean
from tui.text.time_format import clock, coarse, count, rate

LAG_WARNING_RECORDS = 1_000
"""Lag in records that counts as a problem."""


@dataclass(frozen=True, slots=True)
class StatusLine:
    """One line: a heading, a problem or a table row."""

    key: str
    kind: str
    """Style of the line: `head`, `bad`, `warn`, `good`, `do`, `names`, `row`."""
    cells: tuple[str, ...]
    stream: str | None = None
    """Target of Enter, `r` and `s`."""
    go: str = ""
    tone: str = ""


def entries(
    status: models.ServiceStatus, groups: models.GroupPage | None, letters: models.CausePage | None, width: int
) -> list[StatusLine]:
    """Return the lines of the screen, problems first. `letters`: open dead letters by cause."""
    problems = [*_findings(status, groups, width), *_open_letters(letters, width)]
    lines = [StatusLine("wrong", "head", ("Problems",))]
    lines += problems or [StatusLine("fine", "good", ("✓ None found.",))]
    lines += _streams(status)
    if groups is not None:
        lines += _groups(groups)
    lines += _members(status.members)
    lines += _inside(status)
    return lines


def _findings(status: models.ServiceStatus, groups: models.GroupPage | None, width: int) -> Iterable[StatusLine]:
    for stream in status.streams:
        if stream.held is not None:
            yield from _finding(
                f"held {stream.stream}", "bad", f"{stream.stream} is held: {stream.held.reason}",
                "r resumes it, s skips the records that hold it. Its events are still shown.",
                width, stream.stream, "held",
            )  # fmt: skip
    for sentence in status.trouble:
        yield from _finding(f"trouble {sentence}", "bad", sentence, "tracecar check shows details.", width)
    if status.registry.reachable is False:
        yield from _finding(
            "registry", "bad", "The schema registry cannot be reached.",
            "Events with unknown schemas wait or pass (registry.on_outage). Check the registry.", width,
        )  # fmt: skip
    for group in groups.items if groups is not None else ():
        for stop in group.stopped:
            yield from _finding(
                f"stuck {group.group} {stop.position}", "bad", f"The group {group.group} has stopped: {stop.reason}",
                f"Enter opens the event that it stopped at, {stop.position}.", width, None,
                f"flow:{stop.position}",
            )  # fmt: skip
    for stream in status.streams:
        if (stream.lag or 0) >= LAG_WARNING_RECORDS and stream.held is None:
            yield from _finding(
                f"lag {stream.stream}", "warn", f"{stream.stream}: Tracecar has a lag of {count(stream.lag)} records.",
                "Run more sidecars in its group to share the work (Kafka: at most one per partition).",
                width, stream.stream,
            )  # fmt: skip
        if stream.gaps:
            yield from _finding(
                f"gaps {stream.stream}", "warn",
                f"{stream.stream}: records were deleted before they were read, {stream.gaps} times.",
                "Retention is shorter than the time that Tracecar was behind or stopped.", width, stream.stream,
            )  # fmt: skip
    for exporter in status.exporters:
        if exporter.dropped or exporter.failed:
            yield from _finding(
                f"exporter {exporter.name}", "warn",
                f"Exporter {exporter.name}: {count(exporter.dropped)} dropped, {count(exporter.failed)} failed.",
                "Its backend is slow or unreachable. What is shown here is not affected.", width,
            )  # fmt: skip
    if status.live is not None and status.live.dropped:
        yield from _finding(
            "live", "warn", f"{count(status.live.dropped)} live events were dropped for slow clients.",
            "A filter (/) reduces the load.", width,
        )  # fmt: skip
    if status.filling:
        yield from _finding(
            "filling", "warn", "The index is still backfilling the look-back window.",
            "Until it is done, flows may look shorter than they are.", width,
        )  # fmt: skip


def _open_letters(letters: models.CausePage | None, width: int) -> Iterable[StatusLine]:
    if letters is None or not letters.letters or not letters.items:
        return
    most, number = letters.items[0], letters.letters
    several = len(letters.items) > 1
    causes = f"{len(letters.items)} causes" if several else "one cause"
    most_frequent = f"{'; most are' if several else ':'} {most.code} on {most.stream}"
    yield from _finding(
        "letters", "warn",
        f"{count(number)} dead letter{'s are' if number > 1 else ' is'} open, from {causes}{most_frequent}.",
        "Enter (or 4) shows the causes; there you can edit and replay them.", width, None, "letters:",
    )  # fmt: skip


def _finding(
    key: str, kind: str, what: str, do: str, width: int, stream: str | None = None, go: str = ""
) -> Iterable[StatusLine]:
    for number, piece in enumerate(wrap(clean(what, 600), max(20, width - 6), 4)):
        yield StatusLine(
            f"{key} {number}", kind, (f"{'✗▲'[kind == 'warn'] if number == 0 else ' '} {piece}",), stream, go
        )
    yield StatusLine(f"{key} do", "do", (do,), stream, go)


def _streams(status: models.ServiceStatus) -> Iterable[StatusLine]:
    yield StatusLine("streams", "head", (f"Streams that {clean(status.service, 60)} watches",))
    yield StatusLine("streams names", "names", ("stream", "lag", "rate", "events", "rejected", "partitions", "state"))
    for stream in status.streams:
        state = "held: " + stream.held.reason if stream.held else "reading"
        if stream.pending:
            state += f", {stream.pending} pending"
        if stream.partitions > 1 and stream.behind:
            state += f"; lag {_format_lags(stream.behind)}"
        yield StatusLine(
            f"stream {stream.stream}", "row",
            (stream.stream, count(stream.lag), rate(stream.rate), count(stream.events), count(stream.rejected),
             f"{stream.settled_here}/{stream.partitions}", state),
            stream.stream, "live", "bad" if stream.held else "warn" if (stream.lag or 0) >= LAG_WARNING_RECORDS else "",
        )  # fmt: skip
    if not status.streams:
        yield StatusLine("streams none", "do", ("None of the configured streams exist yet.",))


def _format_lags(partitions: list[models.PartitionLagModel]) -> str:
    """Format lag per partition, such as `1,203 in partition 3, 12 in 0, 4 in 2 and 1 more`."""
    lags = [
        f"{count(partition.lag)} in {'' if number else 'partition '}{partition.partition}"
        for number, partition in enumerate(partitions[:3])
    ]
    return ", ".join(lags) + (f" and {len(partitions) - 3} more" if len(partitions) > 3 else "")


def _groups(groups: models.GroupPage) -> Iterable[StatusLine]:
    yield StatusLine("groups", "head", ("Consumer groups",))
    if groups.note:
        yield StatusLine("groups note", "do", (groups.note,))
    if not groups.items:
        yield StatusLine("groups none", "do", ("No other consumer groups were found on these streams.",))
        return
    yield StatusLine("groups names", "names", ("group", "lag", "rate", "members", "streams"))
    for group in groups.items:
        yield StatusLine(
            f"group {group.group}", "row",
            (group.group, count(group.lag), rate(group.rate), count(group.members),
             ", ".join(f"{s.stream} {count(s.lag)}" if s.lag else s.stream for s in group.streams)),
            None, f"flow:{group.stuck_at}" if group.stuck_at else "", "bad" if group.stuck_at else "",
        )  # fmt: skip


def _members(members: list[models.MemberModel]) -> Iterable[StatusLine]:
    """Return the lines about the sidecars of the same consumer group."""
    if not members:
        return
    yield StatusLine("members", "head", ("Sidecars that share the index",))
    yield StatusLine("members names", "names", ("sidecar", "lag", "rate", "waiting", "state"))
    for member in members:
        last_seen = f", last heartbeat at {clock(member.last_heartbeat)[:8]}" if member.last_heartbeat else ""
        state = "this one" if member.here else "alive" if member.alive else f"✗ silent{last_seen}"
        share = ", ".join(f"{share.stream} {len(share.partitions)}" for share in member.streams)
        missed = f", {count(member.not_indexed)} not indexed" if member.not_indexed else ""
        yield StatusLine(
            f"member {member.member}", "row",
            (member.host or member.member, count(member.lag), rate(member.rate), count(member.waiting),
             f"{state}{missed}; version {member.version}" + (f"; partitions of {share}" if share else "")),
            tone="" if member.alive else "bad",
        )  # fmt: skip


def _inside(status: models.ServiceStatus) -> Iterable[StatusLine]:
    index = status.index
    full = index.events / index.max_events if index.max_events else 0.0
    yield StatusLine("inside", "head", ("This sidecar",))
    yield StatusLine(
        "index", "row", ("index", f"{_meter(full)} {count(index.events)} of {count(index.max_events)} events, "
        f"{count(index.evicted)} evicted, since {index.coverage.since or 'the beginning'}"),
    )  # fmt: skip
    registry = {None: "not contacted yet", True: "reachable", False: "unreachable"}[status.registry.reachable]
    yield StatusLine("registry row", "row", ("registry", f"{registry}, {status.registry.schemas} schemas cached"))
    for exporter in status.exporters:
        sent = f"{count(exporter.sent)} sent, {count(exporter.dropped)} dropped, {count(exporter.failed)} failed"
        yield StatusLine(f"exporter row {exporter.name}", "row", (f"exporter {exporter.name}", sent))
    if not status.exporters:
        yield StatusLine("exporters none", "row", ("exporters", "none configured"))
    if status.live is not None:
        words = f"{status.live.subscribers} subscribers, {count(status.live.dropped)} events dropped"
        yield StatusLine("live row", "row", ("live", words))
    yield StatusLine("uptime", "row", ("up", f"{coarse(status.uptime_s)}, version {clean(status.version, 40)}"))


def _meter(full: float, cells: int = 12) -> str:
    filled = max(0, min(cells, round(full * cells)))
    return "█" * filled + "░" * (cells - filled)
