"""The lint screen: what is wrong with the events themselves, with evidence and explanation."""

from __future__ import annotations

from collections.abc import Iterable

from rich.text import Text
from textual import on
from textual.binding import Binding
from textual.containers import Container
from textual.widget import Widget

from sidecar.api import models
from tui.query_completion import term
from tui.screens.base_screen import BaseScreen
from tui.text import time_format
from tui.text.columns import titles
from tui.text.lint_lines import (
    COLUMNS,
    SEVERITY_MARKS,
    FindingLine,
    describe_finding,
    draw_finding,
    draw_finding_line,
    needs,
    severity_style,
)
from tui.widgets.virtual_list import VirtualList


class LintScreen(BaseScreen):
    """Findings about the events themselves; for the selected one its evidence, and what to do."""

    PLACE = "lint"
    REFRESH_INTERVAL_S = 60.0
    """Each look reads many events."""
    QUERYING = "stream:orders since:1h"
    ABOUT = (
        "What is wrong with the events themselves: ✗ errors, ▲ warnings, · notes. The right side explains the finding "
        "under the cursor. Enter leads to its evidence, and from there to the event; v shows the events of its stream."
    )
    BINDINGS = [Binding("v", "events", "Its events"), Binding("r", "refresh", "Check again")]

    def __init__(self) -> None:
        super().__init__()
        self._page: models.LintPage | None = None

    def body(self) -> Iterable[Widget]:
        left: VirtualList[models.LintFindingModel] = VirtualList(
            lambda finding, width, colors: draw_finding(finding, width, colors, time_format.now(), self.names),
            lambda finding: f"{finding.rule} {finding.subject} {finding.message}",
            title=lambda width, colors: titles(COLUMNS, width, colors, needs(self.names)),
            empty="No findings\nNothing is wrong with the events that the index holds.",
            id="findings",
        )
        left.add_class("first")
        right: VirtualList[FindingLine] = VirtualList(
            draw_finding_line, lambda piece: piece.key, empty="The finding under the cursor", id="explanation"
        )
        right.add_class("second")
        yield Container(left, right, classes="split even")

    @property
    def rows(self) -> VirtualList[models.LintFindingModel]:
        return self.query_one("#findings", VirtualList)

    @property
    def explanation(self) -> VirtualList[FindingLine]:
        return self.query_one("#explanation", VirtualList)

    @property
    def enter_hint(self) -> str:
        if self.rows.has_focus:
            return "Its evidence" if self.rows.item is not None else ""
        piece = self.explanation.item
        return "The event" if piece is not None and piece.position else ""

    @property
    def up_hint(self) -> str:
        return "Findings" if self.explanation.has_focus else ""

    def go_up(self) -> None:
        self.rows.focus()

    def offers(self, action: str) -> bool:
        return action != "events" or (self.rows.item is not None and self.rows.item.stream is not None)

    async def judge(self, query: str) -> str | None:
        await self.client.lint(query)
        return None

    async def look(self) -> None:
        self._page = await self.client.lint(self.asked)
        for finding in self._page.items:
            self.names.findings.learn(finding.subject)
        self.rows.show(self._page.items)
        self._show_finding()

    def summary(self) -> Text:
        colors = self.theme_styles
        text = Text(" ", no_wrap=True, overflow="ellipsis")
        if self._page is None:
            return text
        for severity, mark in SEVERITY_MARKS.items():
            count = sum(finding.severity == severity for finding in self._page.items)
            words = severity if count == 1 else f"{severity}s"
            text.append(f"{mark} {count} {words}   ", severity_style(severity, colors) if count else colors.dim)
        text.append(f"in {self._page.events:,} events", colors.dim)
        return text

    @on(VirtualList.Moved, "#findings")
    def _show_finding(self) -> None:
        finding = self.rows.item
        if finding is None or self._page is None:
            self.explanation.show([])
            return
        rule = next((rule for rule in self._page.rules if rule.name == finding.rule), None)
        self.explanation.show(describe_finding(finding, rule, self.explanation.size.width))

    def on_resize(self) -> None:
        super().on_resize()
        if self._page is not None:
            self.call_after_refresh(self._show_finding)

    @on(VirtualList.Chosen, "#findings")
    def _choose_finding(self) -> None:
        finding = self.rows.item
        self.explanation.focus()
        if finding is not None and finding.evidence:
            self.explanation.select(f"at {finding.evidence[0]}")

    @on(VirtualList.Chosen, "#explanation")
    def _choose_evidence(self) -> None:
        piece = self.explanation.item
        if piece is not None and piece.position is not None:
            self.dashboard.open_flow(piece.position, at=piece.position)

    def action_events(self) -> None:
        """Show the events of the stream, or type, that the finding is about."""
        finding = self.rows.item
        if finding is None or finding.stream is None:
            return
        terms = [term("stream", finding.stream)]
        if finding.type is not None:
            terms.append(term("type", finding.type))
        self.dashboard.open_live(" ".join(terms))

    def action_refresh(self) -> None:
        """Check the events again."""
        self.look_now()
