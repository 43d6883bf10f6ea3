"""The bench's table, for the terminal and for the README."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def in_units(value: float, limit: float, unit: Row, scale: float = 1) -> Row:
    """Return a row's `times` and its bound: `value` as a multiple of a unit that was measured in the same run.

    `value` and the unit's own are in one unit; `scale` such units are named together."""
    name = unit["name"] if scale == 1 else f"{scale:,.0f} {unit['name']}"
    return {"times": value / (unit["value"] * scale), "of": name, "bound": limit}


def table(rows: list[Row]) -> str:
    """Write rows as Markdown.

    A row is `{what, bare, ours, ratio, bare_us, our_us, cost, step_ms, bound}` (events a second, and microseconds of
    user and system time an event), where `bound_on` says which of `cost` (default) and `ratio` the bound is for; or
    `{what, value, unit, bound}`, where `times` and `of` give the value in a unit of the same run.
    """
    lines = [
        f"Measured on {os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, load "
        f"{os.getloadavg()[2]:.1f}; medians. Rates are events a second; µs are user and system time an event.",
        "",
        "| what | bare loop | µs | Tracecar | µs | ratio of rates | ratio of time | longest step | bound |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        bound = row.get("bound")
        if "ratio" in row:
            step = f"{row['step_ms']:.1f} ms" if "step_ms" in row else ""
            limit = "" if bound is None else f"time ≤ {bound:.2f}" if _by_cost(row) else f"rate ≥ {bound:.2f}"
            bare_us, our_us, cost = (f"{row[name]:.{n}f}" if name in row else "" for name, n in _TIMES)
            lines.append(
                f"| {row['what']} | {row['bare']:,.0f} | {bare_us} | {row['ours']:,.0f} | {our_us} "
                f"| {row['ratio']:.2f} | {cost} | {step} | {limit} |"
            )
        else:
            value = f"{row['value']:,.1f} {row['unit']}"
            relative = f"{row['times']:.2f} {row['of']}" if "times" in row else ""
            limit = "" if bound is None else f"≤ {bound:g} {row.get('of', row['unit'])}"
            lines.append(f"| {row['what']} | | | {value} | | | {relative} | | {limit} |")
    return "\n".join(lines)


_TIMES = (("bare_us", 1), ("our_us", 1), ("cost", 2))
MAX_STEP_MS = 15.0
"""Longest step of the event loop in every row."""


def _by_cost(row: Row) -> bool:
    return bool(row.get("bound_on", "cost") == "cost")


def missed(rows: list[Row]) -> list[str]:
    """The rows that miss their bound."""
    late = [f"{row['what']} (longest step)" for row in rows if row.get("step_ms", 0.0) > MAX_STEP_MS]
    return [row["what"] for row in rows if row.get("bound") is not None and not _within(row)] + late


def _within(row: Row) -> bool:
    if "ratio" in row:
        return bool(row["cost"] <= row["bound"] if _by_cost(row) else row["ratio"] >= row["bound"])
    return bool(row.get("times", row["value"]) <= row["bound"])


def put(text: str, readme: Path) -> None:
    """Put the table between the README's bench marks."""
    page = readme.read_text(encoding="utf-8")
    marked = re.compile(r"<!-- bench -->.*?<!-- /bench -->", re.DOTALL)
    readme.write_text(marked.sub(lambda _: f"<!-- bench -->\n{text}\n<!-- /bench -->", page), encoding="utf-8")
