"""Lines about lint findings: one in the list, and the explanation of the selected one."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from rich.text import Text

from sidecar.api import models
from tui.text.columns import Column, Needs, fit, line
from tui.text.names import NameBook
from tui.text.sanitize import clean
from tui.text.time_format import age
from tui.theme import Palette

SEVERITY_MARKS = {"error": "✗", "warning": "▲", "note": "·"}

COLUMNS = (
    Column("mark", " ", 1, 1),
    Column("rule", "rule", 24, 32),
    Column("subject", "about", 12, 40),
    Column("count", "events", 6, 9, rank=1, right=True),
    Column("seen", "last", 6, 8, rank=2),
)


def severity_style(severity: str, colors: Palette) -> str:
    """Return the color of a severity. The mark says the same without color."""
    return {"error": colors.bad, "warning": colors.warn}.get(severity, colors.dim)


def needs(names: NameBook) -> Needs:
    return names.needs(subject=names.findings)


def draw_finding(finding: models.LintFindingModel, width: int, colors: Palette, now: int, names: NameBook) -> Text:
    """Draw a finding as a line of the list."""
    style, widths = severity_style(finding.severity, colors), fit(COLUMNS, width - 2, needs(names))
    cells = {
        "mark": Text(SEVERITY_MARKS[finding.severity], style),
        "rule": Text(finding.rule, style),
        "subject": names.findings.cell(finding.subject, widths.get("subject", 0), colors.text, colors),
        "count": Text(f"{finding.count:,}", colors.dim),
        "seen": Text(age(finding.last_seen, now), colors.dim),
    }
    return line(COLUMNS, cells, widths)


@dataclass(frozen=True, slots=True)
class FindingLine:
    """A line about the selected finding."""

    key: str
    text: str
    is_head: bool = False
    position: str | None = None
    """Event to open."""


def describe_finding(
    finding: models.LintFindingModel, rule: models.LintRuleModel | None, width: int
) -> list[FindingLine]:
    """Return the lines about a finding: what was found, its evidence, why it matters and what to do."""
    lines = [FindingLine("head", f"{finding.severity}: {finding.rule}", is_head=True)]
    lines += _wrap("message", finding.message, width)
    lines.append(FindingLine("evidence", "evidence, newest first", is_head=True))
    lines += [FindingLine(f"at {position}", position, position=position) for position in finding.evidence]
    if rule is not None:
        for key, title, text in (("why", "why it matters", rule.reason), ("how", "what to do", rule.remedy)):
            lines.append(FindingLine(key, title, is_head=True))
            lines += _wrap(key, text, width)
    name = finding.type or finding.stream or finding.subject
    lines.append(FindingLine("silence", "to silence it", is_head=True))
    lines += _wrap("ignore", f"lint: {{ignore: [{finding.rule}:{name}]}} in the configuration", width)
    return lines


def _wrap(key: str, text: str, width: int) -> Iterator[FindingLine]:
    for number, part in enumerate(textwrap.wrap(clean(text, 2_000), max(20, width - 4))):
        yield FindingLine(f"{key} {number}", part)


def draw_finding_line(piece: FindingLine, width: int, colors: Palette) -> Text:
    """Draw a line about the selected finding."""
    if piece.is_head:
        text = Text(f" {clean(piece.text, 200)} ", f"bold {colors.info}")
        text.append("─" * max(0, width - text.cell_len - 1), colors.line)
        return text
    return Text(f"  {clean(piece.text, 500)}", colors.accent if piece.position else colors.text)
