"""Prints the state of an aggregate at a moment, what changed between two moments, and what a reader has to know."""

from __future__ import annotations

import msgspec

from sidecar.api import models
from sidecar.cli.output.event_details import format_change
from sidecar.cli.output.tables import create_console, print_note
from sidecar.cli.sanitize import sanitize_json, sanitize_line, sanitize_lines
from sidecar.domain.json_safe import encode_json

MAX_PRINTED_NOTES = 20


def print_state(aggregate: models.AggregateModel) -> None:
    """Print the state, the changes and the steps of an answer that has them."""
    if aggregate.at is msgspec.UNSET:
        return
    from rich.text import Text

    out = create_console()
    if aggregate.steps is not msgspec.UNSET and aggregate.steps:
        out.print(Text("what each event changed", "bold"))
        for step in aggregate.steps:
            out.print(Text(f"  {sanitize_line(step.position)}"))
            _print_changes(step.changes, "    ", step.omitted)
    applied = f"{aggregate.applied} event{'' if aggregate.applied == 1 else 's'} applied"
    how = f"reducer {aggregate.reducer}, ordered by {aggregate.order}"
    out.print(Text.assemble((f"state at {aggregate.at}", "bold"), sanitize_line(f" ({applied}; {how})")))
    state = msgspec.json.format(sanitize_json(encode_json(aggregate.state)), indent=2)
    out.print(Text(sanitize_lines("\n".join(f"  {line}" for line in state.split("\n")))))
    if aggregate.changes is not msgspec.UNSET:
        out.print(Text(f"changes between {aggregate.at} and {aggregate.diff}", "bold"))
        _print_changes(aggregate.changes, "  ", 0)
    _print_notes(aggregate)


def _print_changes(changes: list[models.ChangeModel], indent: str, omitted: int) -> None:
    from rich.text import Text

    out = create_console()
    for change in changes:
        out.print(Text(f"{indent}{sanitize_line(format_change(change))}"))
    if omitted:
        out.print(Text(f"{indent}and {omitted} more"))
    if not changes:
        out.print(Text(f"{indent}nothing"))


def _print_notes(aggregate: models.AggregateModel) -> None:
    notes = [] if aggregate.notes is msgspec.UNSET else aggregate.notes
    for note in notes[:MAX_PRINTED_NOTES]:
        place = f"{note.position}: " if note.position else ""
        print_note(sanitize_line(f"{note.kind}: {place}{note.message}"))
    if len(notes) > MAX_PRINTED_NOTES:
        print_note(f"{len(notes) - MAX_PRINTED_NOTES} more notes: --json lists them")
    if not aggregate.complete:
        print_note("Events before the first one may be missing: nothing shows that these are all.")
