"""The schemas screen: what is registered, and what events use."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rich.text import Text
from textual import on
from textual.binding import Binding
from textual.containers import Container
from textual.widget import Widget

from sidecar.api import models
from sidecar.api.client.client import ClientError, NotFound
from tui.background import begin
from tui.query_completion import term
from tui.screens.base_screen import BaseScreen
from tui.text import time_format
from tui.text.columns import Column, Needs, cut, fit, line, titles
from tui.text.names import NameBook
from tui.text.sanitize import clean
from tui.text.schema_changes import differences, outline_of
from tui.text.time_format import age
from tui.theme import Palette
from tui.widgets.virtual_list import VirtualList

SAMPLE_EVENTS = 400
"""Events of a subject that are read to see which producer uses which version."""

COLUMNS = (
    Column("mark", " ", 1, 1),
    Column("subject", "subject", 26, 44),
    Column("latest", "latest", 6, 6, right=True),
    Column("used", "in use", 8, 12),
    Column("streams", "streams", 10, 30, rank=1),
    Column("kind", "kind", 8, 8, rank=3),
    Column("mode", "compatibility", 13, 20, rank=2),
)


def needs(names: NameBook) -> Needs:
    return names.needs(subject=names.subjects)


def draw(subject: models.SubjectModel, width: int, colors: Palette, names: NameBook) -> Text:
    widths = fit(COLUMNS, width - 2, needs(names))
    seen = sorted({usage.version for usage in subject.seen if usage.version is not None})
    latest = max(subject.versions, default=None)
    several = len(seen) > 1 or (bool(seen) and latest is not None and seen[-1] != latest)
    streams = dict.fromkeys(stream for usage in subject.seen for stream in usage.streams)
    cells = {
        "mark": Text(
            "▲" if several else "●" if seen else "○", colors.warn if several else colors.good if seen else colors.dim
        ),
        "subject": names.subjects.cell(subject.subject, widths.get("subject", 0), colors.text, colors),
        "latest": Text("·" if latest is None else f"v{latest}", colors.text),
        "used": Text(" ".join(f"v{version}" for version in seen) or "unused", colors.warn if several else colors.dim),
        "streams": _streams_cell(list(streams), widths.get("streams", 0), colors, names),
        "kind": Text(clean(subject.kind or "·", 20), colors.dim),
        "mode": Text(clean((subject.compatibility or "unknown").lower().replace("_", " "), 40), colors.dim),
    }
    return line(COLUMNS, cells, widths)


def _streams_cell(streams: list[str], cells: int, colors: Palette, names: NameBook) -> Text:
    more = f" +{len(streams) - 1}" if len(streams) > 1 else ""
    if not streams:
        return Text()
    whole = ", ".join(names.streams.shorten(stream, max(1, names.streams.short_cells)) for stream in streams)
    if len(whole) <= cells:
        return Text(whole, colors.dim)
    return Text(names.streams.shorten(streams[0], max(1, cells - len(more))) + more, colors.dim)


@dataclass(frozen=True, slots=True)
class SubjectLine:
    """A line about one subject."""

    key: str
    kind: str
    depth: int
    name: str
    rest: str = ""


def draw_piece(piece: SubjectLine, width: int, colors: Palette) -> Text:
    if piece.kind == "head":
        text = Text(f" {clean(piece.name, 200)} ", f"bold {colors.info}")
        text.append("─" * max(0, width - text.cell_len - 1), colors.line)
        return text
    styles = {"+": colors.good, "-": colors.bad, "warn": colors.warn, "dim": colors.dim}
    style = styles.get(piece.kind, colors.text)
    text = Text(f" {piece.kind if piece.kind in '+-' else ' '} ", style)
    text.append("  " * piece.depth)
    text.append(clean(piece.name, 200), style if piece.kind in styles else colors.text)
    if piece.rest:
        room = max(1, width - text.cell_len - 3)
        text.append(f"  {cut(clean(piece.rest), room)}", style if piece.kind in "+-" else colors.dim)
    return text


class SchemasScreen(BaseScreen):
    """The subjects of the schema registry; for the selected one its versions, their differences and their producers."""

    PLACE = "schemas"
    REFRESH_INTERVAL_S = 3.0
    ABOUT = (
        "Registered schemas, and the versions that events use. ▲ marks a subject with several versions in use, or "
        "whose latest version is not in use. Enter opens its versions, [ and ] select the versions to compare, v "
        "shows its events."
    )
    BINDINGS = [
        Binding("left_square_bracket", "version(-1)", "Version", key_display="[ ]"),
        Binding("right_square_bracket", "version(1)", "Newer version", key_display="]", show=False),
        Binding("v", "events", "Events"),
        Binding("y", "copy", "Copy schema"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._subjects: list[models.SubjectModel] = []
        self._at: str | None = None
        self._shown: str | None = None
        self._version: int | None = None
        self._schemas: dict[tuple[str, int | None], models.SubjectModel] = {}
        self._users: list[SubjectLine] = []

    def body(self) -> Iterable[Widget]:
        left: VirtualList[models.SubjectModel] = VirtualList(
            lambda subject, width, colors: draw(subject, width, colors, self.names),
            lambda subject: subject.subject,
            title=lambda width, colors: titles(COLUMNS, width, colors, needs(self.names)),
            empty="No schemas\nNo registry is configured, or nothing is registered in it.\n"
            "registry.url or registry.directory in the configuration names one.",
            id="subjects",
        )
        left.add_class("first")
        right: VirtualList[SubjectLine] = VirtualList(
            draw_piece, lambda piece: piece.key, empty="The subject under the cursor", id="schema"
        )
        right.add_class("second")
        yield Container(left, right, classes="split")

    @property
    def enter_hint(self) -> str:
        return "Show versions" if self.rows.has_focus and self.rows.item is not None else ""

    @property
    def up_hint(self) -> str:
        return "" if self.rows.has_focus else "Subjects"

    def go_up(self) -> None:
        self.rows.focus()

    @property
    def rows(self) -> VirtualList[models.SubjectModel]:
        return self.query_one("#subjects", VirtualList)

    async def look(self) -> None:
        page = await self.client.schemas()
        self._subjects = page.items
        for subject in page.items:
            self.names.subjects.learn(subject.subject)
        wanted, self._at = self._at, None
        self.rows.show(self._subjects, at=wanted)
        self._show_subject()

    def open(self, subject: str) -> None:
        """Put the cursor on a subject."""
        self._at = subject
        if not self.rows.select(subject):
            self.look_now()

    def summary(self) -> Text:
        colors = self.theme_styles
        seen = sum(1 for subject in self._subjects if subject.seen)
        text = Text(" ", no_wrap=True, overflow="ellipsis")
        text.append(f"{len(self._subjects)} subjects", colors.strong)
        text.append(f"   ● {seen} in use", colors.good)
        text.append(f"   ○ {len(self._subjects) - seen} not in use", colors.dim)
        return text

    @on(VirtualList.Moved, "#subjects")
    def _show_subject(self) -> None:
        subject = self.rows.item
        if subject is None:
            return
        if subject.subject != self._shown:
            self._shown, self._version, self._users = subject.subject, None, []
            self._draw(subject)
        begin(self, self._fetch, subject, group="subject", exclusive=True)

    async def _fetch(self, subject: models.SubjectModel) -> None:
        try:
            events = await self.client.events(term("schema", subject.subject), limit=SAMPLE_EVENTS)
            self._users = _users(events.items, time_format.now(), self.names)
            await self._read(subject.subject, max(subject.versions, default=None))
            for version in self._compared_versions(subject):
                await self._read(subject.subject, version)
        except NotFound:
            return
        except ClientError as error:
            self.dashboard.report_failure(error)
            return
        if self._shown == subject.subject:
            self._draw(subject)

    async def _read(self, subject: str, version: int | None) -> None:
        if (subject, version) not in self._schemas:
            schema = await self.dashboard.find_schema(subject, version)
            if schema is not None:
                if len(self._schemas) > 200:
                    self._schemas.clear()
                self._schemas[subject, version] = schema

    def _compared_versions(self, subject: models.SubjectModel) -> list[int]:
        """Return the selected version and the one before it."""
        versions = sorted(subject.versions)
        if not versions:
            return []
        version = self._version if self._version in versions else versions[-1]
        at = versions.index(version)
        return [version] if at == 0 else [versions[at - 1], version]

    def _draw(self, subject: models.SubjectModel) -> None:
        pieces = [SubjectLine("seen", "head", 0, "usage")]
        if self._users:
            pieces += self._users
        else:
            pieces.append(SubjectLine("unseen", "dim", 0, "the index has no event of this subject"))
        compared = self._compared_versions(subject)
        schemas = [self._schemas.get((subject.subject, version)) for version in compared]
        if len(compared) == 2 and schemas[0] is not None and schemas[1] is not None:
            lines = differences(outline_of(schemas[0]), outline_of(schemas[1]))
            changed = [line for line in lines if line[0] != " "]
            pieces.append(
                SubjectLine("differs", "head", 0, f"changes from version {compared[0]} to version {compared[1]}")
            )
            pieces += [
                SubjectLine(f"change {n}", kind, 0, name, rest) for n, (kind, _, name, rest) in enumerate(changed)
            ]
            if not changed:
                pieces.append(SubjectLine("same", "dim", 0, "no changes of fields, types or defaults"))
            pieces.append(
                SubjectLine("schema", "head", 0, f"version {compared[1]}, compared with version {compared[0]}")
            )
            for number, (kind, depth, name, rest) in enumerate(lines):
                pieces.append(SubjectLine(f"line {number}", kind, depth, name, rest))
        elif compared and (schema := schemas[-1]) is not None:
            pieces.append(SubjectLine("schema", "head", 0, f"version {compared[-1]}"))
            pieces += [
                SubjectLine(f"line {number}", " ", depth, name, rest)
                for number, (depth, name, rest) in enumerate(outline_of(schema))
            ]
        others = [f"v{version}" for version in sorted(subject.versions) if version not in compared]
        if others:
            pieces.append(SubjectLine("others", "dim", 0, f"also registered: {' '.join(others)}  ([ and ])"))
        self.query_one("#schema", VirtualList).show(pieces)

    def action_version(self, by: int) -> None:
        subject = self.rows.item
        if subject is None or len(subject.versions) < 2:
            self.app.notify("There is no other version to compare", timeout=2)
            return
        versions = sorted(subject.versions)
        current = self._version if self._version in versions else versions[-1]
        at = max(0, min(len(versions) - 1, versions.index(current) + by))
        self._version = versions[at]
        self._draw(subject)
        begin(self, self._fetch, subject, group="subject", exclusive=True)

    @on(VirtualList.Chosen, "#subjects")
    def _chosen(self) -> None:
        self.query_one("#schema", VirtualList).focus()

    def action_events(self) -> None:
        if (subject := self.rows.item) is not None:
            self.dashboard.open_live(term("schema", subject.subject))

    def action_copy(self) -> None:
        subject = self.rows.item
        compared = self._compared_versions(subject) if subject is not None else []
        schema = self._schemas.get((subject.subject, compared[-1])) if subject is not None and compared else None
        if schema is not None and (text := schema.text):
            self.app.copy_to_clipboard(text)
            self.app.notify(f"Copied the schema: {len(text):,} characters", timeout=2)


def _users(events: list[models.EventModel], now: int, names: NameBook) -> list[SubjectLine]:
    """Return which producers use which version, and when they did last."""
    users: dict[tuple[int | None, str, str], list[models.EventModel]] = {}
    for event in events:
        version = event.schema.version if event.schema is not None else None
        users.setdefault((version, event.producer or "an unknown producer", event.stream), []).append(event)
    pieces = []
    for (version, producer, stream), some in sorted(users.items(), key=lambda item: (-(item[0][0] or 0), item[0][1])):
        bad = sum(1 for event in some if event.status == "rejected")
        sender, target = names.producers.shorten(producer, 30), names.streams.shorten(stream, 30)
        words = f"{sender} → {target}, {age(some[0].appended_at, now)} ago"
        if bad:
            words += f", {bad} of the last {len(some)} rejected"
        name = "v?" if version is None else f"v{version}"
        pieces.append(SubjectLine(f"user {version} {producer} {stream}", "warn" if bad else " ", 0, name, words))
    return pieces
