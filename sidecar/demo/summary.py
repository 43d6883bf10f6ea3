"""What came out: the sidecar's counts, held against what the shop knows that it has published."""

from __future__ import annotations

from textwrap import wrap

from sidecar.api.models import DemoSummary
from sidecar.demo.api_view import SidecarCounts
from sidecar.demo.shop.expected_counts import ExpectedCounts

_WIDTH = 80
"""Columns of the summary for a person."""
_TOGETHER = "\u00a0"
"""Stands for a space at which no line may end."""


class DemoResult(DemoSummary, kw_only=True):
    """The contract's summary and what explains it."""

    orders: int
    codes: dict[str, int]
    """Rejections by code."""
    mismatches: list[str]
    """Sentences: where the sidecar and the shop do not agree. Empty: they do."""


def summary(
    ledger: ExpectedCounts, counts: SidecarCounts, seconds: float, broker: str, lost: bool = False, sent: int = 0
) -> DemoResult:
    """`lost`: the shop itself did not see all its orders through. `sent`: dead letters that were mended and replayed
    when it was closed; `counts` but for `replayed` are from before."""
    found = mismatches(ledger, counts)
    if counts.replayed != sent:
        found.append(f"replayed: {sent} dead letters were sent again, the sidecar found {counts.replayed}")
    if lost:
        found.append("the shop did not finish: some of its events were never published or never came back to it")
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
        mismatches=found,
    )


def mismatches(ledger: ExpectedCounts, counts: SidecarCounts) -> list[str]:
    """Where the two do not agree, one sentence each."""
    expected = ledger.rejections.total()
    pairs = [
        ("events", ledger.events, counts.events),
        ("flows", ledger.flows, counts.flows),
        ("rejected events", expected, counts.rejections.total()),
        ("dead letters", expected, counts.dead_letters),
        ("duplicates", ledger.duplicates, counts.duplicates),
    ]
    codes = sorted(ledger.rejections.keys() | counts.rejections.keys())
    pairs += [(f"rejections {code}", ledger.rejections[code], counts.rejections[code]) for code in codes]
    return [f"{what}: the shop knows of {due}, the sidecar found {found}" for what, due, found in pairs if due != found]


def lines(result: DemoResult) -> list[str]:
    """The summary for a person."""
    name = {"redis": "Valkey (Redis Streams)", "kafka": "Apache Kafka"}[result.broker]
    codes = ", ".join(f"{code}{_TOGETHER}{count}" for code, count in result.codes.items())
    rows = [
        ("events", result.events, "all that the shop published"),
        ("flows", result.flows, f"{result.orders} orders, and records that nothing connects"),
        ("rejected", result.rejected, codes),
        ("dead letters", result.dead_letters, "each rejected record once, untouched"),
        ("duplicates", result.duplicates, "the same event id again"),
        ("replayed", result.replayed, "dead letters mended and sent again, once each"),
    ]
    said = [f"{result.orders} orders in {result.seconds:.0f} s on {name}. Tracecar found:"]
    for what, count, note in rows:
        wrapped = wrap(f"  {count:>7,}  {what:<13} {note}", _WIDTH, subsequent_indent=" " * 25)
        said += [line.replace(_TOGETHER, " ") for line in wrapped]
    if not result.mismatches:
        return [*said, "This is what the shop itself knows that it has published."]
    return [
        *said,
        "It does NOT agree with what the shop has published:",
        *(f"  {mismatch}" for mismatch in result.mismatches),
    ]
