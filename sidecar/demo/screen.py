"""The demo in a terminal: what the sidecar says of the shop, live, within 80 columns and 24 lines."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sidecar.api import models
from sidecar.cli.text import clean
from sidecar.demo.view import Watch

LAST = 3
"""Rejections that are shown in full."""
_BAR = 9
"""Characters of the longest rate bar."""
_CODES = 9


@dataclass(frozen=True, slots=True)
class Facts:
    """What the screen says beside the sidecar's own words."""

    broker: str
    seed: int
    seconds: float
    """How long the shop has been open."""
    orders: int
    remaining: float | None
    """Seconds until the demo ends by itself."""
    commands: tuple[str, ...]
    """To look further: whole lines, so that they can be copied."""


def screen(facts: Facts, watch: Watch) -> RenderableType:
    """The whole screen."""
    return Group(
        _title(facts, watch.status),
        Text(),
        _counts(facts, watch),
        Text(),
        _side_by_side(watch),
        Text(),
        Text("Last rejections", "bold"),
        *_rejections(watch),
        Text(),
        Text("Look further, in another terminal:", "bold"),
        *(Text(command, "cyan", no_wrap=True, overflow="fold") for command in facts.commands),
    )


def _title(facts: Facts, status: models.ServiceStatus | None) -> Text:
    name = {"redis": "Valkey", "kafka": "Apache Kafka"}[facts.broker]
    minutes, seconds = divmod(int(facts.seconds), 60)
    state = ("starting", "yellow") if status is None else ("watching", "green")
    if status is not None and any(stream.held for stream in status.streams):
        state = ("holding a stream", "bold red")
    ending = "Ctrl-C ends" if facts.remaining is None else f"{facts.remaining:.0f} s left"
    return Text.assemble(
        ("Tracecar ", "bold"), state, f" a shop on {name}   ",
        (f"{minutes:02d}:{seconds:02d}  seed {facts.seed}  {ending}", "dim"),
        no_wrap=True, overflow="ellipsis",
    )  # fmt: skip


def _counts(facts: Facts, watch: Watch) -> Table:
    status = watch.status
    rate = sum(stream.rate for stream in status.streams) if status else 0.0
    shown = (
        (f"{status.index.events + status.index.evicted if status else 0:,}", "events", "bold"),
        (f"{rate:,.0f}/s", "now", "bold"),
        (f"{facts.orders:,}", "orders", "bold"),
        (f"{len(watch.flows):,}", "flows", "bold cyan"),
        (f"{len(watch.rejected):,}", "rejected", "bold red"),
        (f"{len(watch.dead_letters):,}", "dead letters", "bold magenta"),
        (f"{len(watch.duplicates):,}", "duplicates", "bold yellow"),
    )
    table = Table.grid(padding=(0, 3, 0, 0))
    table.add_row(*(Text(number, style, no_wrap=True) for number, _, style in shown))
    table.add_row(*(Text(label, "dim", no_wrap=True) for _, label, _ in shown))
    return table


def _side_by_side(watch: Watch) -> Table:
    table = Table.grid(padding=(0, 3, 0, 0))
    table.add_row(_streams(watch.status.streams if watch.status else []), _codes(watch))
    return table


def _streams(streams: list[models.StreamStatus]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("stream", min_width=13, no_wrap=True)
    for name in ("events", "bad", "lag"):
        table.add_column(name, justify="right", min_width=len(name))
    table.add_column("rate", min_width=_BAR, no_wrap=True)
    busiest = max((stream.rate for stream in streams), default=0.0) or 1.0
    for stream in streams:
        lag = "?" if stream.lag is None else f"{stream.lag:,}"
        table.add_row(
            Text(clean(stream.stream), "bold red" if stream.held else ""),
            f"{stream.events:,}",
            Text(f"{stream.rejected:,}", "red" if stream.rejected else "dim"),
            Text(lag, "dim" if stream.lag == 0 else ""),
            Text("━" * round(_BAR * stream.rate / busiest), "green"),
        )
    return table


def _codes(watch: Watch) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("rejected because", min_width=22, no_wrap=True)
    table.add_column("", justify="right")
    for code, count in watch.codes.most_common(_CODES - 1):
        table.add_row(Text(code, "red"), f"{count:,}")
    return table


def _rejections(watch: Watch) -> list[Text]:
    last = list(watch.rejected.values())[-LAST:]
    said = [_rejection(event) for event in reversed(last)]
    return said + [Text()] * (LAST - len(said))


def _rejection(event: models.Event) -> Text:
    message = "" if event.rejection is None else event.rejection.message
    where = clean(event.stream)
    return Text.assemble((f"{where} ", "bold"), clean(message), no_wrap=True, overflow="ellipsis")
