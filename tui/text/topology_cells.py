"""Draws the lines of the map: names first, then arrows, numbers with their labels."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from rich.cells import cell_len
from rich.text import Text

from tui.text import time_format
from tui.text.columns import fit_exactly
from tui.text.names import NameBook, NameSet
from tui.text.time_format import age, coarse, count, rate, span
from tui.text.topology_lines import UNKNOWN_PRODUCER, TopologyEdge, TopologyLine, TopologyReader
from tui.theme import Palette, hue

WIDE_CELLS = 110
"""Width from which on numbers have longer labels."""
MIN_SIDE_CELLS = 16
MIN_GROUP_CELLS = 12
"""Cells that the name of a group has at least, before its numbers get shorter."""
MAX_SIDE_CELLS = 60
_ARROW = " ─▶ "


def topology_parts(width: int, names: NameBook, facts: int) -> tuple[int, int, int]:
    """Return the widths of producers, stream with its facts, and groups, in cells."""
    room = width - 3 - 2 * len(_ARROW)
    side = max(MIN_SIDE_CELLS, min(MAX_SIDE_CELLS, round(room * 0.28)))
    streams = names.streams.widths
    middle = max(room - 2 * side, min(streams.least or 12, room // 2))
    middle = min(middle, max(streams.full, 12) + facts + 1)
    left = min(max(12, names.producers.widths.full + 4), (room - middle) * 2 // 5)
    return left, middle, room - middle - left


def draw_title(width: int, colors: Palette, names: NameBook) -> Text:
    left, middle, right = topology_parts(width, names, _fact_cells(width))
    text = Text("   ", colors.head)
    text.append_text(fit_exactly(Text("producers"), left + len(_ARROW)))
    text.append_text(fit_exactly(Text("stream"), middle + len(_ARROW)))
    return text.append_text(fit_exactly(Text("consumer groups"), right))


def draw_topology(line: TopologyLine, width: int, colors: Palette, names: NameBook) -> Text:
    """Draw one line of the map."""
    if line.producer is not None:
        return _draw_producer(line.producer, width, colors, names)
    if line.reader is not None:
        return _draw_reader(line.reader, width, colors, names)
    left, middle, right = topology_parts(width, names, _fact_cells(width))
    has_more = bool(line.prefix) or bool(line.nodes[0].producers or line.nodes[0].readers)
    text = Text(f" {'▾' if line.is_open else '▸' if has_more else ' '} ", colors.line)
    producers = {edge.producer: edge.rejected for node in line.nodes for edge in node.producers}
    text.append_text(fit_exactly(_list_producers(producers, left, colors, names), left))
    text.append(_ARROW if producers else " " * len(_ARROW), colors.line)
    text.append_text(_draw_stream(line, middle, width, colors, names))
    readers = [reader for node in line.nodes for reader in node.readers]
    text.append(_ARROW if readers else " " * len(_ARROW), colors.line)
    return text.append_text(fit_exactly(_list_readers(readers, right, colors, names), right))


def _fact_cells(width: int) -> int:
    return 26 if width >= WIDE_CELLS else 13


def _draw_stream(line: TopologyLine, cells: int, width: int, colors: Palette, names: NameBook) -> Text:
    nodes = line.nodes
    facts = Text()
    if any(node.status.held for node in nodes):
        facts.append(" ‖ held", f"bold {colors.bad}")
    rejected = sum(node.rejected for node in nodes)
    if rejected:
        facts.append(f" ✗{count(rejected)}{' rejected' if width >= WIDE_CELLS else ''}", f"bold {colors.bad}")
    facts.append(f" {rate(sum(node.status.rate for node in nodes))}", colors.text)
    room = max(1, cells - facts.cell_len)
    if line.prefix:
        words = f" ({len(nodes)} streams)"
        name = Text(names.streams.shorten(line.prefix, max(1, room - len(words))), f"bold {colors.info}")
        name.append(words, colors.dim)
    else:
        name = names.streams.cell(line.stream, room, f"bold {hue(line.stream, colors.hues)}", colors)
    return fit_exactly(name, room).append_text(facts)


def _list_producers(producers: dict[str, int], cells: int, colors: Palette, names: NameBook) -> Text:
    """Return as many names of producers as fit, and how many more there are."""
    marked = [
        (_producer_name(name), hue(name, colors.hues), "✗" if rejected else "", colors.bad)
        for name, rejected in producers.items()
    ]
    return _list_names(marked, names.producers, cells, colors)


def _list_readers(readers: Sequence[TopologyReader], cells: int, colors: Palette, names: NameBook) -> Text:
    """Return as many groups as fit, the ones with problems first and with their numbers."""
    text = Text()
    urgent = sorted(readers, key=lambda reader: (reader.stop is None, -(reader.reading.lag or 0)))
    for number, reader in enumerate(urgent):
        more = f" +{len(urgent) - number - 1}" if number < len(urgent) - 1 else ""
        gap = ", " if number else ""
        room = cells - text.cell_len - len(gap) - len(more)
        least = min(MIN_GROUP_CELLS, cell_len(reader.group.group))
        variants = _brief_facts(reader, colors)
        facts = next((facts for facts in variants if room - facts.cell_len >= least), variants[-1])
        if room - facts.cell_len < least and number:
            return text.append(f" +{len(urgent) - number}", colors.dim)
        text.append(gap, colors.line)
        name_room = max(1, room - facts.cell_len)
        text.append_text(names.groups.cell(reader.group.group, name_room, f"bold {colors.text}", colors))
        text.append_text(facts)
    return text


def _brief_facts(reader: TopologyReader, colors: Palette) -> list[Text]:
    """Return what a group does here in fewer and fewer cells."""
    reading, bad, warn = reader.reading, f"bold {colors.bad}", colors.warn
    if reader.stop is not None:
        since = f" {age(reader.stop.since, time_format.now())}" if reader.stop.since else ""
        return [Text(f" ✗ stopped{since}", bad), Text(" ✗ stopped", bad), Text(" ✗", bad)]
    if reading.lag:
        behind = coarse(reading.behind_s) if reading.behind_s and reading.behind_s >= 1 else ""
        return [
            Text(f" lag {count(reading.lag)}" + (f" ({behind})" if behind else ""), warn),
            Text(f" lag {behind or count(reading.lag)}", warn),
            Text(" ▲", warn),
        ]
    return [Text(" lag ?", colors.dim)] if reading.lag is None else [Text(" ✓", colors.good)]


def _list_names(marked: Sequence[tuple[str, str, str, str]], names: NameSet, cells: int, colors: Palette) -> Text:
    text = Text()
    for number, (name, style, mark, mark_style) in enumerate(marked):
        more = f" +{len(marked) - number - 1}" if number < len(marked) - 1 else ""
        gap = ", " if number else ""
        room = cells - text.cell_len - len(gap) - len(mark) - len(more)
        if room < min(8, cell_len(name)) and number:
            return text.append(f" +{len(marked) - number}", colors.dim)
        text.append(gap, colors.line)
        text.append(mark, f"bold {mark_style}")
        text.append_text(names.cell(name, max(1, room), style, colors))
    return text


def _reader_facts(reader: TopologyReader, colors: Palette) -> Text:
    """Return what a group does here: stopped, behind, or up to date."""
    facts, reading = Text(), reader.reading
    if reader.stop is not None:
        since = f" {age(reader.stop.since, time_format.now())}" if reader.stop.since else ""
        facts.append(f" ✗ stopped{since}", f"bold {colors.bad}")
    if reading.lag is None:
        facts.append(" lag ?", colors.dim)
    elif reading.lag:
        behind = f" ({coarse(reading.behind_s)})" if reading.behind_s and reader.stop is None else ""
        facts.append(f" lag {count(reading.lag)}{behind}", colors.warn)
    elif reader.stop is None:
        facts.append("  ✓ up to date", colors.good)
    return facts


def _draw_producer(edge: TopologyEdge, width: int, colors: Palette, names: NameBook) -> Text:
    text = Text("      from ", colors.dim)
    facts = Text(f"  {rate(edge.rate)}", colors.text)
    if edge.delays:
        facts.append(f"  {span(statistics.median(edge.delays))} until appended", colors.dim)
    if edge.rejected:
        facts.append(f"  ✗ {count(edge.rejected)} of {count(edge.events)} rejected", f"bold {colors.bad}")
    room = max(8, width - text.cell_len - facts.cell_len - 1)
    text.append_text(names.producers.cell(_producer_name(edge.producer), room, hue(edge.producer, colors.hues), colors))
    return text.append_text(facts)


def _draw_reader(reader: TopologyReader, width: int, colors: Palette, names: NameBook) -> Text:
    text = Text("      to   ", colors.dim)
    facts = _reader_facts(reader, colors)
    if reader.reading.rate is not None:
        facts.append(f"  {rate(reader.reading.rate)}", colors.dim)
    if reader.group.members is not None:
        facts.append(f"  {count(reader.group.members)} member{'' if reader.group.members == 1 else 's'}", colors.dim)
    room = max(8, width - text.cell_len - facts.cell_len - 1)
    text.append_text(names.groups.cell(reader.group.group, room, f"bold {colors.text}", colors))
    return text.append_text(facts)


def _producer_name(name: str) -> str:
    return "unknown" if name == UNKNOWN_PRODUCER else name
