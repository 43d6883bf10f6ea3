"""The bench's table, for the terminal and for the README."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def table(rows: list[Row]) -> str:
    """Rows of `{what, bare, ours, ratio, bound}` (events a second) or `{what, value, unit, bound}` as Markdown."""
    lines = [
        f"Measured on {os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}; "
        "rates in events a second, medians.",
        "",
        "| what | bare loop | Tracecar | ratio | bound |",
        "|---|--:|--:|--:|--:|",
    ]
    for row in rows:
        bound = row.get("bound")
        if "ratio" in row:
            limit = "" if bound is None else f"≥ {bound:.2f}"
            lines.append(f"| {row['what']} | {row['bare']:,.0f} | {row['ours']:,.0f} | {row['ratio']:.2f} | {limit} |")
        else:
            limit = "" if bound is None else f"≤ {bound:g} {row['unit']}"
            lines.append(f"| {row['what']} | | {row['value']:,.1f} {row['unit']} | | {limit} |")
    return "\n".join(lines)


def missed(rows: list[Row]) -> list[str]:
    """The rows that miss their bound."""
    return [row["what"] for row in rows if row.get("bound") is not None and not _within(row)]


def _within(row: Row) -> bool:
    if "ratio" in row:
        return bool(row["ratio"] >= row["bound"])
    return bool(row["value"] <= row["bound"])


def put(text: str, readme: Path) -> None:
    """Put the table between the README's bench marks."""
    page = readme.read_text(encoding="utf-8")
    marked = re.compile(r"<!-- bench -->.*?<!-- /bench -->", re.DOTALL)
    readme.write_text(marked.sub(lambda _: f"<!-- bench -->\n{text}\n<!-- /bench -->", page), encoding="utf-8")
