"""Order, cursors and selection of rows, the same for every adapter of the history."""

from __future__ import annotations

from collections.abc import Iterable

from sidecar.domain.event_keys import stored_ids
from sidecar.domain.history_rows import HistoryRow, quote_stream
from sidecar.domain.ports.history import MAX_PAGE_ROWS, HistoryPage, HistorySelection
from sidecar.domain.position import Position

RowOrder = tuple[int, str, str, int, int, str]
"""Append time, parts of the position and incarnation: the order of rows, in which no two are equal. The stream is
written as in a file, so that engines order it in the same way."""


def order_of(row: HistoryRow) -> RowOrder:
    """Return the sort key of a row: append time, then position and incarnation."""
    position = row.event.position
    return (
        row.event.appended_at,
        position.system,
        quote_stream(position.stream),
        position.partition,
        position.offset,
        row.incarnation or "",
    )


def format_cursor(row: HistoryRow) -> str:
    """Format the cursor of the page that follows a row."""
    event = row.event
    return f"{event.appended_at}|{row.incarnation or ''}|{event.position}"


def parse_cursor(text: str) -> RowOrder:
    """Parse a cursor into the sort key of the row before the page. Raises ValueError if it is malformed."""
    parts = text.split("|", 2)
    if len(parts) != 3:
        raise ValueError(f"not a cursor of the history: {text[:100]!r}")
    position = Position.parse(parts[2])
    stream = quote_stream(position.stream)
    return int(parts[0]), position.system, stream, position.partition, position.offset, parts[1]


def is_selected(row: HistoryRow, selection: HistorySelection) -> bool:
    """Return whether a row satisfies all conditions of a selection."""
    event = row.event
    return (
        (not selection.keys or not stored_ids(event).isdisjoint(selection.keys))
        and (not selection.streams or event.position.stream in selection.streams)
        and (not selection.types or event.type in selection.types)
        and (not selection.producers or event.producer in selection.producers)
        and (selection.since_ms is None or event.appended_at >= selection.since_ms)
        and (selection.until_ms is None or event.appended_at < selection.until_ms)
        and (not selection.rejected or event.rejection is not None)
    )


def place_of(row: HistoryRow) -> tuple[Position, str | None]:
    """Return the identity of a row's event: its position and the stream's incarnation."""
    return row.event.position, row.incarnation


def latest_rows(rows: Iterable[HistoryRow]) -> list[HistoryRow]:
    """Return each event once: of the rows of one position and incarnation the one that was observed last."""
    latest: dict[tuple[Position, str | None], HistoryRow] = {}
    for row in rows:
        place = place_of(row)
        known = latest.get(place)
        if known is None or known.event.observed_at <= row.event.observed_at:
            latest[place] = row
    return list(latest.values())


def build_page(rows: Iterable[HistoryRow], selection: HistorySelection, limit: int, cursor: str | None) -> HistoryPage:
    """Build a page from rows that hold at least those of the page and one more, if there are more."""
    after = None if cursor is None else parse_cursor(cursor)
    ordered = sorted(latest_rows(rows), key=order_of, reverse=not selection.oldest_first)
    if after is not None:
        ordered = [
            row for row in ordered if (order_of(row) > after if selection.oldest_first else order_of(row) < after)
        ]
    limit = max(1, min(limit, MAX_PAGE_ROWS))
    page = ordered[:limit]
    return HistoryPage(page, format_cursor(page[-1]) if len(ordered) > limit else None)
