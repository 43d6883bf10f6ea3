"""The summary line of the dead-letters screen."""

from __future__ import annotations

from rich.text import Text

from sidecar.api import models
from tui.text.dead_letter_lines import open_letters
from tui.text.names import NameBook
from tui.text.sanitize import clean
from tui.text.time_format import count, newest_of
from tui.theme import Palette

MAX_STREAM_CELLS = 30


def format_letters(number: int, adjective: str = "") -> str:
    """Format a number of letters: `1 letter`, `2 marked letters`."""
    return f"{count(number)} {adjective}letter{'' if number == 1 else 's'}"


def describe_cause(cause: models.CauseModel) -> str:
    """Name all letters of a cause, such as `all letters of schema.mismatch on orders (3 open)`."""
    numbers = ((state, cause.states.get(state, 0)) for state in ("open", "parked"))
    waiting = ", ".join(f"{count(number)} {state}" for state, number in numbers if number) or "none open"
    return f"all letters of {cause.code} on {cause.stream} ({waiting})"


def summarize_causes(page: models.CausePage | None, colors: Palette) -> Text:
    """Return the numbers of causes, letters and open letters."""
    text = _line()
    if page is None:
        return text.append("reading the dead letters …", colors.dim)
    waiting = sum(map(open_letters, page.items))
    text.append(f"{len(page.items)} cause{'' if len(page.items) == 1 else 's'}", colors.strong)
    text.append(f" of {format_letters(page.letters)}", colors.text)
    text.append(f"   ✗ {count(waiting)} open", colors.bad if waiting else colors.good)
    if page.folded:
        text.append(f"   {count(page.folded)} more in causes that are not listed", colors.warn)
    if page.note:
        text.append(f"   {clean(page.note, 200)}", colors.warn)
    return text


def summarize_letters(
    listed: int,
    colors: Palette,
    *,
    more: bool,
    marked: int,
    cause: models.CauseModel | None,
    letter: models.DeadLetterModel | None,
    names: NameBook,
) -> Text:
    """Return the way from the causes to the listed letters.

    Args:
        listed: Number of listed letters.
        colors: Styles of the theme.
        more: True if more letters match than are listed.
        marked: Number of marked letters.
        cause: The cause that the letters belong to, if one was chosen.
        letter: The letter that is shown in full, if one is.
        names: Names of streams, for shortening.
    """
    text = _line().append("causes", colors.dim)
    if cause is not None:
        text.append(" » ", colors.line)
        stream = names.streams.shorten(cause.stream, MAX_STREAM_CELLS)
        text.append(f"{clean(cause.code, 60)} on {stream}", colors.info)
    text.append(" » ", colors.line)
    if not more:
        counted = format_letters(listed)
    elif cause is not None:
        counted = newest_of(listed, cause.count, "letters")
    else:
        counted = f"newest {format_letters(listed)}, more match"
    text.append(counted, colors.strong)
    if letter is not None:
        text.append(" » ", colors.line)
        text.append(clean(letter.type or letter.id, 60), colors.info)
    if marked:
        text.append(f"   ▌ {count(marked)} marked", f"bold {colors.accent}")
    return text


def _line() -> Text:
    return Text(" ", no_wrap=True, overflow="ellipsis")
