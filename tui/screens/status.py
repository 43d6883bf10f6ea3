"""Status: how the sidecar is; what is wrong comes first, with what to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rich.text import Text
from textual import on
from textual.binding import Binding
from textual.widget import Widget

from sidecar.api import models
from sidecar.api.client import ClientError
from tui.looks import Palette
from tui.safe import clean
from tui.screens.page import Page
from tui.times import coarse, count, rate
from tui.widgets.columns import cut, sized, wrapped
from tui.widgets.rows import Rows
from tui.working import begin

BEHIND = 1_000
"""Records of lag from which on it is a matter to look at."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: a heading, a finding or a row of a table."""

    key: str
    kind: str
    """`head`, `bad`, `warn`, `good`, `do`, `names`, `row`."""
    cells: tuple[str, ...]
    stream: str | None = None
    """What enter, r and s act on."""
    go: str = ""
    tone: str = ""


_STREAM = (22, 10, 9, 9, 8, 9, 0)
_GROUP = (22, 10, 9, 9, 0)
_PLAIN = (22, 0)


def entries(status: models.ServiceStatus, groups: models.GroupPage | None, width: int) -> list[Entry]:
    """The lines of the screen, what is wrong first."""
    found = list(_findings(status, groups, width))
    lines = [Entry("wrong", "head", ("What is wrong",))]
    lines += found or [Entry("fine", "good", ("✓ Nothing that Tracecar could see.",))]
    lines += _streams(status)
    if groups is not None:
        lines += _groups(groups)
    lines += _inside(status)
    return lines


def _findings(status: models.ServiceStatus, groups: models.GroupPage | None, width: int) -> Iterable[Entry]:
    for stream in status.streams:
        if stream.held is not None:
            yield from _finding(
                f"held {stream.stream}", "bad", f"{stream.stream} is held: {stream.held.reason}",
                "r tries again, s goes on past it; its events are shown meanwhile.", width, stream.stream, "held",
            )  # fmt: skip
    for sentence in status.trouble:
        yield from _finding(f"trouble {sentence}", "bad", sentence, "tracecar check says more.", width)
    if status.registry.reachable is False:
        yield from _finding(
            "registry", "bad", "The schema registry cannot be reached.",
            "Events whose schemas are not known yet wait or pass (registry.on_outage). Look at the registry.", width,
        )  # fmt: skip
    for group in groups.items if groups is not None else ():
        for stop in group.stopped:
            yield from _finding(
                f"stuck {group.group} {stop.position}", "bad", f"The group {group.group} has stopped: {stop.reason}",
                f"Enter opens the event that it stands in front of, {stop.position}.", width, None,
                f"flow:{stop.position}",
            )  # fmt: skip
    for stream in status.streams:
        if (stream.lag or 0) >= BEHIND and stream.held is None:
            yield from _finding(
                f"lag {stream.stream}", "warn", f"{stream.stream}: Tracecar is {count(stream.lag)} records behind.",
                "More sidecars in its group share the work (Kafka: as many as partitions).", width, stream.stream,
            )  # fmt: skip
        if stream.gaps:
            yield from _finding(
                f"gaps {stream.stream}", "warn",
                f"{stream.stream}: records were gone before they were read, {stream.gaps} times.",
                "Retention is shorter than the time that Tracecar was behind or away.", width, stream.stream,
            )  # fmt: skip
    for exporter in status.exporters:
        if exporter.dropped or exporter.failed:
            yield from _finding(
                f"exporter {exporter.name}", "warn",
                f"Exporter {exporter.name}: {count(exporter.dropped)} dropped, {count(exporter.failed)} failed.",
                "Its backend is slow or away; what is shown here is not affected.", width,
            )  # fmt: skip
    if status.live is not None and status.live.dropped:
        yield from _finding(
            "live", "warn", f"{count(status.live.dropped)} live events were dropped for slow readers.",
            "A filter (/) asks for less.", width,
        )  # fmt: skip
    if status.filling:
        yield from _finding(
            "filling", "warn", "The index still fills from the look-back window.",
            "Flows may look shorter than they are until it has.", width,
        )  # fmt: skip


def _finding(
    key: str, kind: str, what: str, do: str, width: int, stream: str | None = None, go: str = ""
) -> Iterable[Entry]:
    for number, piece in enumerate(wrapped(clean(what, 600), max(20, width - 6), 4)):
        yield Entry(f"{key} {number}", kind, (f"{'✗▲'[kind == 'warn'] if number == 0 else ' '} {piece}",), stream, go)
    yield Entry(f"{key} do", "do", (do,), stream, go)


def _streams(status: models.ServiceStatus) -> Iterable[Entry]:
    yield Entry("streams", "head", (f"Streams that {clean(status.service, 60)} watches",))
    yield Entry("streams names", "names", ("stream", "lag", "rate", "events", "✗", "parts", "state"))
    for one in status.streams:
        state = "held: " + one.held.reason if one.held else "reading"
        if one.pending:
            state += f", {one.pending} pending"
        yield Entry(
            f"stream {one.stream}", "row",
            (one.stream, count(one.lag), rate(one.rate), count(one.events), count(one.rejected),
             f"{one.settled_here}/{one.partitions}", state),
            one.stream, "live", "bad" if one.held else "warn" if (one.lag or 0) >= BEHIND else "",
        )  # fmt: skip
    if not status.streams:
        yield Entry("streams none", "do", ("None of the streams in the configuration exists yet.",))


def _groups(groups: models.GroupPage) -> Iterable[Entry]:
    yield Entry("groups", "head", ("Consumer groups beside it",))
    if groups.note:
        yield Entry("groups note", "do", (groups.note,))
    if not groups.items:
        yield Entry("groups none", "do", ("No other group reads these streams, as far as can be seen.",))
        return
    yield Entry("groups names", "names", ("group", "lag", "rate", "members", "reads"))
    for group in groups.items:
        yield Entry(
            f"group {group.group}", "row",
            (group.group, count(group.lag), rate(group.rate), count(group.members),
             ", ".join(f"{s.stream} {count(s.lag)}" if s.lag else s.stream for s in group.streams)),
            None, f"flow:{group.stuck_at}" if group.stuck_at else "", "bad" if group.stuck_at else "",
        )  # fmt: skip


def _inside(status: models.ServiceStatus) -> Iterable[Entry]:
    index = status.index
    full = index.events / index.max_events if index.max_events else 0.0
    yield Entry("inside", "head", ("The sidecar itself",))
    yield Entry(
        "index", "row", ("index", f"{_meter(full)} {count(index.events)} of {count(index.max_events)} events, "
        f"{count(index.evicted)} evicted, since {index.coverage.since or 'the beginning'}"),
    )  # fmt: skip
    registry = {None: "not asked yet", True: "reachable", False: "NOT reachable"}[status.registry.reachable]
    yield Entry("registry row", "row", ("registry", f"{registry}, {status.registry.schemas} schemas known"))
    for one in status.exporters:
        sent = f"{count(one.sent)} sent, {count(one.dropped)} dropped, {count(one.failed)} failed"
        yield Entry(f"exporter row {one.name}", "row", (f"exporter {one.name}", sent))
    if not status.exporters:
        yield Entry("exporters none", "row", ("exporters", "none configured"))
    if status.live is not None:
        words = f"{status.live.subscribers} listening, {count(status.live.dropped)} events dropped"
        yield Entry("live row", "row", ("live", words))
    yield Entry("uptime", "row", ("up", f"{coarse(status.uptime_s)}, version {clean(status.version, 40)}"))


def _meter(full: float, cells: int = 12) -> str:
    filled = max(0, min(cells, round(full * cells)))
    return "█" * filled + "░" * (cells - filled)


def draw(entry: Entry, width: int, colours: Palette) -> Text:
    if entry.kind == "head":
        text = Text(f" {entry.cells[0]} ", f"bold {colours.info}")
        text.append("─" * max(0, width - text.cell_len - 1), colours.line)
        return text
    if entry.kind == "do":
        return Text(f"     {cut(clean(entry.cells[0], 400), width - 6)}", colours.dim)
    if entry.kind in ("bad", "warn", "good"):
        style = {"bad": f"bold {colours.bad}", "warn": f"bold {colours.warn}", "good": colours.good}[entry.kind]
        return Text(f"   {entry.cells[0]}", style)
    sizes = {7: _STREAM, 5: _GROUP}.get(len(entry.cells), _PLAIN)
    text = Text("   ")
    for at, (cell, size) in enumerate(zip(entry.cells, sizes, strict=True)):
        style = colours.head if entry.kind == "names" else colours.text
        if entry.kind == "row":
            if at == 0:
                style = "bold " + (colours.text if not entry.tone else getattr(colours, entry.tone))
            elif sizes is _STREAM and at == 4 and cell != "0":
                style = colours.bad
            elif at == len(sizes) - 1:
                style = getattr(colours, entry.tone) if entry.tone else colours.dim
        wide = size or max(1, width - text.cell_len - 1)
        right = 0 < at < len(sizes) - 1 and sizes is not _PLAIN
        text.append_text(
            sized(Text(clean(cell, 400), style), min(wide, max(1, width - text.cell_len - 1)), right=right)
        )
        text.append("  ")
    return text


class Status(Page):
    PLACE = "status"
    PERIOD = 1.0
    ABOUT = (
        "How the sidecar and the groups beside it are. What is wrong stands first, with what to do. Enter on a stream "
        "shows its events, on a stopped group the event in front of it."
    )
    BINDINGS = [
        Binding("r", "resume", "Try held stream again"),
        Binding("s", "skip", "Go on past what holds it"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._status: models.ServiceStatus | None = None
        self._groups: models.GroupPage | None = None

    def body(self) -> Iterable[Widget]:
        yield Rows(draw, lambda entry: entry.key, empty="Asking the sidecar …", id="entries")

    @property
    def deeper(self) -> str:
        entry = self.rows.item
        if entry is None:
            return ""
        return "The event" if entry.go.startswith("flow:") else "Its events" if entry.stream is not None else ""

    def offers(self, action: str) -> bool:
        held = self._status is not None and any(stream.held for stream in self._status.streams)
        return held or action not in ("resume", "skip")

    @property
    def rows(self) -> Rows[Entry]:
        return self.query_one("#entries", Rows)

    async def look(self) -> None:
        self._status = await self.client.status()
        self.dashboard.know(self._status)
        try:
            self._groups = await self.client.groups()
        finally:
            self.rows.show(entries(self._status, self._groups, self.size.width))

    def summary(self) -> Text:
        colours, status = self.colours, self._status
        text = Text(" ", no_wrap=True, overflow="ellipsis")
        if status is None:
            return text
        text.append("● ready" if status.ready else "◌ not ready yet", colours.good if status.ready else colours.warn)
        text.append(f"   {len(status.streams)} streams", colours.text)
        text.append(f"   {rate(sum(stream.rate for stream in status.streams))}", colours.strong)
        text.append(f"   up {coarse(status.uptime_s)}", colours.dim)
        text.append(f"   {clean(self.client.url, 100)}", colours.dim)
        return text

    @on(Rows.Chosen)
    def _chosen(self, event: Rows.Chosen) -> None:
        entry: Entry = event.item
        kind, _, id = entry.go.partition(":")
        if kind == "flow":
            self.dashboard.open_flow(id, at=id)
        elif entry.stream is not None:
            from tui.query_words import term

            self.dashboard.open_live(term("stream", entry.stream))

    def action_resume(self) -> None:
        self._act("resume")

    def action_skip(self) -> None:
        self._act("skip")

    def _act(self, what: str) -> None:
        entry = self.rows.item
        status = self._status
        held = [one.stream for one in status.streams if one.held] if status is not None else []
        stream = entry.stream if entry is not None and entry.stream in held else held[0] if len(held) == 1 else None
        if stream is None:
            words = "Put the cursor on a held stream first" if held else "No stream is held"
            self.app.notify(words, timeout=2)
            return
        from tui.dialogs.confirm import Confirm

        words = (
            f"Try again what holds {clean(stream, 80)}?"
            if what == "resume"
            else f"Go on past what holds {clean(stream, 80)}? What is rejected becomes dead letters again."
        )

        def answered(yes: bool | None) -> None:
            if yes:
                begin(self, self._release, what, stream, group="act")

        self.app.push_screen(Confirm(words, yes="Do it"), answered)

    async def _release(self, what: str, stream: str) -> None:
        try:
            done = await (self.client.resume(stream) if what == "resume" else self.client.skip(stream))
        except ClientError as error:
            self.app.notify(str(error), severity="error", markup=False)
            return
        self.app.notify(f"{clean(done.stream, 80)}: {done.partitions} partitions go on", markup=False)
        self.look_now()
