"""Comparison of the sidecar's counts with those of the shop."""

from __future__ import annotations

from textwrap import wrap

from sidecar.api.models import DemoSummary
from sidecar.demo.api_view import SidecarCounts
from sidecar.demo.shop.expected_counts import ExpectedCounts

_LINE_WIDTH = 80
"""Width of the summary on a terminal."""
_NO_BREAK_SPACE = "\u00a0"
"""A space at which lines are not broken."""


class DemoResult(DemoSummary, kw_only=True):
    """The summary of a demo run, with details."""

    orders: int
    codes: dict[str, int]
    """Rejections by code."""
    mismatches: list[str]
    """Differences between the counts of sidecar and shop, a sentence each."""


def summarize(
    ledger: ExpectedCounts, counts: SidecarCounts, seconds: float, broker: str, lost: bool = False, sent: int = 0
) -> DemoResult:
    """Summarize a run.

    Args:
        ledger: Counts of the shop.
        counts: Counts of the sidecar; all but `replayed` are from before the replay.
        seconds: Duration of the run.
        broker: `redis` or `kafka`.
        lost: True if the shop did not complete all its orders.
        sent: Number of dead letters that were repaired and replayed.
    """
    mismatches = find_mismatches(ledger, counts)
    if counts.replayed != sent:
        mismatches.append(f"replayed: {sent} dead letters were replayed, the sidecar counted {counts.replayed}")
    if lost:
        mismatches.append("the shop did not finish: some of its events were not published or not consumed")
    return DemoResult(
        events=counts.events,
        flows=counts.flows,
        rejected=counts.rejections.total(),
        dead_letters=counts.dead_letters,
        duplicates=counts.duplicates,
        replayed=counts.replayed,
        seconds=round(seconds, 1),
        broker=broker,
        orders=ledger.orders,
        codes=dict(sorted(counts.rejections.items())),
        mismatches=mismatches,
    )


def find_mismatches(ledger: ExpectedCounts, counts: SidecarCounts) -> list[str]:
    """List the differences between the counts, a sentence each."""
    rejected = ledger.rejections.total()
    pairs = [
        ("events", ledger.events, counts.events),
        ("flows", ledger.flows, counts.flows),
        ("rejected events", rejected, counts.rejections.total()),
        ("dead letters", rejected, counts.dead_letters),
        ("duplicates", ledger.duplicates, counts.duplicates),
    ]
    codes = sorted(ledger.rejections.keys() | counts.rejections.keys())
    pairs += [(f"rejections {code}", ledger.rejections[code], counts.rejections[code]) for code in codes]
    return [
        f"{what}: the shop published {expected}, the sidecar counted {counted}"
        for what, expected, counted in pairs
        if expected != counted
    ]


def format_lines(result: DemoResult) -> list[str]:
    """Format the summary for a terminal."""
    name = {"redis": "Valkey (Redis Streams)", "kafka": "Apache Kafka"}[result.broker]
    codes = ", ".join(f"{code}{_NO_BREAK_SPACE}{count}" for code, count in result.codes.items())
    rows = [
        ("events", result.events, "everything that the shop published"),
        ("flows", result.flows, f"{result.orders} orders, and records without any link"),
        ("rejected", result.rejected, codes),
        ("dead letters", result.dead_letters, "each rejected record once, unchanged"),
        ("duplicates", result.duplicates, "events with the event id of an earlier one"),
        ("replayed", result.replayed, "dead letters repaired and replayed, once each"),
    ]
    text = [f"{result.orders} orders in {result.seconds:.0f} s on {name}. Tracecar found:"]
    for what, count, note in rows:
        wrapped = wrap(f"  {count:>7,}  {what:<13} {note}", _LINE_WIDTH, subsequent_indent=" " * 25)
        text += [line.replace(_NO_BREAK_SPACE, " ") for line in wrapped]
    if not result.mismatches:
        return [*text, "These are the numbers that the shop itself counted."]
    return [
        *text,
        "These numbers do NOT match what the shop counted:",
        *(f"  {mismatch}" for mismatch in result.mismatches),
    ]
