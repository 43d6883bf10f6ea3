"""Lines of the status screen: problems first, each with what to do; then streams, consumer groups and sidecars."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sidecar.api import models
from tui.text.names import NameBook
from tui.text.sanitize import clean
from tui.text.time_format import clock, coarse, count, rate

LAG_WARNING_S = 30.0
"""Age of the oldest record that was not consumed, in seconds, from which on a lag counts as a problem."""
MAX_LISTED_STREAM_CELLS = 24
"""Width of a stream's name in a list of streams."""
MIN_LAG_RECORDS = 100
"""Lag in records below which an estimate of its time from rates says nothing."""


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
    table: str = ""
    """Table of a row: `streams`, `groups` or `members`; empty for facts."""
    action: str = ""
    """The key to a problem, and what it does."""
    about: str = ""
    """Advice about a problem."""


def entries(
    status: models.ServiceStatus,
    groups: models.GroupPage | None,
    letters: models.CausePage | None,
    names: NameBook,
) -> list[StatusLine]:
    """Return the lines of the screen, problems first. `letters`: open dead letters by cause."""
    stopped = (
        tuple(f"{group.group} stopped at " for group in groups.items if group.stopped) if groups is not None else ()
    )
    problems = [*_sidecar_problems(status, stopped), *_group_problems(groups), *_open_letters(letters)]
    problems.sort(key=lambda problem: problem.kind != "bad")
    lines = [StatusLine("wrong", "head", (f"Problems ({len(problems)})" if problems else "Problems",))]
    lines += problems or [StatusLine("fine", "good", ("None found.",))]
    lines += _streams(status)
    if groups is not None:
        lines += _groups(groups, names)
    lines += _members(status.members)
    lines += _inside(status)
    return lines


def _sidecar_problems(status: models.ServiceStatus, repeated: tuple[str, ...]) -> Iterable[StatusLine]:
    """Return the problems of the sidecar itself, one line each.

    `repeated`: beginnings of sentences that have a line of their own.
    """
    for stream in status.streams:
        if stream.held is not None:
            yield StatusLine(
                f"held {stream.stream}", "bad", (f"{stream.stream} is held: {stream.held.reason}",),
                stream.stream, "held", action="r resumes",
                about="r resumes it, s skips the records that hold it. Its events are still shown.",
            )  # fmt: skip
    for sentence in status.trouble:
        if sentence.startswith(repeated):
            continue
        yield StatusLine(f"trouble {sentence}", "bad", (sentence,), about="tracecar check shows details.")
    if status.registry.reachable is False:
        yield StatusLine(
            "registry", "bad", ("The schema registry cannot be reached.",),
            about="Events with unknown schemas wait or pass (registry.on_outage). Check the registry.",
        )  # fmt: skip
    for stream in status.streams:
        seconds = own_lag_s(stream)
        if stream.held is None and seconds is not None and seconds >= LAG_WARNING_S:
            yield StatusLine(
                f"lag {stream.stream}", "warn",
                (f"Tracecar's own lag on {stream.stream}: {count(stream.lag)} records, about {coarse(seconds)}.",),
                stream.stream, action="enter events",
                about="What is shown of this stream is late by that. Run more sidecars in its group to share the work "
                "(Kafka: at most one per partition).",
            )  # fmt: skip
        if stream.gaps:
            yield StatusLine(
                f"gaps {stream.stream}", "warn",
                (f"{stream.stream}: records were deleted before they were read, {stream.gaps} times.",),
                stream.stream, action="enter events",
                about="Retention is shorter than the time that Tracecar was behind or stopped.",
            )  # fmt: skip
    for exporter in status.exporters:
        if exporter.dropped or exporter.failed:
            yield StatusLine(
                f"exporter {exporter.name}", "warn",
                (f"Exporter {exporter.name}: {count(exporter.dropped)} dropped, {count(exporter.failed)} failed.",),
                about="Its backend is slow or unreachable. What is shown here is not affected.",
            )  # fmt: skip
    if status.live is not None and status.live.dropped:
        yield StatusLine(
            "live", "warn", (f"{count(status.live.dropped)} live events were dropped for slow clients.",),
            about="A filter (/) reduces the load.",
        )  # fmt: skip
    if status.filling:
        yield StatusLine(
            "filling", "warn", ("The index is still backfilling the look-back window.",),
            about="Until it is done, flows may look shorter than they are.",
        )  # fmt: skip


def own_lag_s(stream: models.StreamStatusModel) -> float | None:
    """Estimate the seconds that the sidecar needs for its lag, from its rate; None if it has none, or it is unknown."""
    if not stream.lag or stream.lag < MIN_LAG_RECORDS:
        return None
    return stream.lag / stream.rate if stream.rate else float(stream.lag)


def _group_problems(groups: models.GroupPage | None) -> Iterable[StatusLine]:
    """Return one line for each group that has stopped or is slow."""
    for group in groups.items if groups is not None else ():
        slow = [reading for reading in group.streams if (reading.behind_s or 0) >= LAG_WARNING_S]
        if group.stopped:
            stop = group.stopped[0]
            more = f" (and at {len(group.stopped) - 1} more places)" if len(group.stopped) > 1 else ""
            yield StatusLine(
                f"stuck {group.group}", "bad", (f"{group.group} has stopped: {stop.reason}{more}",), None,
                f"flow:{stop.position}", action="enter event",
                about=f"Enter opens the event that it stopped at, {stop.position}. That this event is the cause is "
                "inferred.",
            )  # fmt: skip
        elif slow:
            worst = max(slow, key=lambda reading: reading.behind_s or 0)
            others = f" and {len(slow) - 1} more streams" if len(slow) > 1 else ""
            yield StatusLine(
                f"slow {group.group}", "warn",
                (f"{group.group} is {coarse(worst.behind_s or 0)} behind on {worst.stream}{others}, "
                 f"{count(worst.lag)} records.",),
                worst.stream, action="enter events",
                about=f"A group counts as slow from {LAG_WARNING_S:.0f} s on. It consumes "
                f"{rate(worst.rate)}: add members, or find out what each event takes so long for.",
            )  # fmt: skip


def _open_letters(letters: models.CausePage | None) -> Iterable[StatusLine]:
    if letters is None or not letters.letters or not letters.items:
        return
    most, number = letters.items[0], letters.letters
    several = len(letters.items) > 1
    causes = f"{len(letters.items)} causes" if several else "one cause"
    most_frequent = f"{'; most are' if several else ':'} {most.code} on {most.stream}"
    yield StatusLine(
        "letters", "warn",
        (f"{count(number)} dead letter{'s are' if number > 1 else ' is'} open, from {causes}{most_frequent}.",),
        None, "letters:", action="enter causes",
        about="Enter (or 4) shows the causes; there you can edit and replay them.",
    )  # fmt: skip


def _streams(status: models.ServiceStatus) -> Iterable[StatusLine]:
    yield StatusLine("streams", "head", (f"Streams that {clean(status.service, 60)} watches",))
    yield StatusLine("streams names", "names", ("",) * 7, table="streams")
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
            stream.stream, "live",
            "bad" if stream.held else "warn" if (own_lag_s(stream) or 0) >= LAG_WARNING_S else "",
            table="streams",
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


def _groups(groups: models.GroupPage, names: NameBook) -> Iterable[StatusLine]:
    yield StatusLine("groups", "head", ("Consumer groups",))
    if groups.note:
        yield StatusLine("groups note", "do", (groups.note,))
    if not groups.items:
        yield StatusLine("groups none", "do", ("No other consumer groups were found on these streams.",))
        return
    yield StatusLine("groups names", "names", ("",) * 6, table="groups")
    for group in groups.items:
        behind = max((reading.behind_s for reading in group.streams if reading.behind_s is not None), default=None)
        is_slow = behind is not None and behind >= LAG_WARNING_S
        yield StatusLine(
            f"group {group.group}", "row",
            (group.group, count(group.lag), "·" if behind is None else coarse(behind) if behind >= 1 else "-",
             rate(group.rate), count(group.members), ", ".join(_format_reading(s, names) for s in group.streams)),
            None, f"flow:{group.stuck_at}" if group.stuck_at else "",
            "bad" if group.stuck_at else "warn" if is_slow else "", table="groups",
        )  # fmt: skip


def _format_reading(reading: models.GroupStreamModel, names: NameBook) -> str:
    """Format a stream that a group reads, with its lag."""
    stream = names.streams.shorten(reading.stream, MAX_LISTED_STREAM_CELLS)
    return f"{stream} {count(reading.lag)}" if reading.lag else stream


def _members(members: list[models.MemberModel]) -> Iterable[StatusLine]:
    """Return the lines about the sidecars of the same consumer group."""
    if not members:
        return
    yield StatusLine("members", "head", ("Sidecars that share the index",))
    yield StatusLine("members names", "names", ("",) * 5, table="members")
    for member in members:
        last_seen = f", last heartbeat at {clock(member.last_heartbeat)[:8]}" if member.last_heartbeat else ""
        state = "this one" if member.here else "alive" if member.alive else f"✗ silent{last_seen}"
        share = ", ".join(f"{share.stream} {len(share.partitions)}" for share in member.streams)
        missed = f", {count(member.not_indexed)} not indexed" if member.not_indexed else ""
        yield StatusLine(
            f"member {member.member}", "row",
            (member.host or member.member, count(member.lag), rate(member.rate), count(member.waiting),
             f"{state}{missed}; version {member.version}" + (f"; partitions of {share}" if share else "")),
            tone="" if member.alive else "bad", table="members",
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
