"""Themes, the colors of types, and the mark and word of each state. Color never carries meaning alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from zlib import crc32

from textual.theme import Theme

DARK, LIGHT, CONTRAST = "tracecar-dark", "tracecar-light", "tracecar-contrast"

THEMES = (
    Theme(
        name=DARK,
        primary="#5fb3d4",
        secondary="#8f9fd9",
        accent="#e8b45a",
        foreground="#d6dbe4",
        background="#11151c",
        surface="#171c25",
        panel="#202733",
        success="#7fc98b",
        warning="#e8b45a",
        error="#f0717a",
        dark=True,
        variables={"footer-key-foreground": "#e8b45a", "footer-description-foreground": "#93a0b4"},
    ),
    Theme(
        name=LIGHT,
        primary="#0b6e99",
        secondary="#4a57a8",
        accent="#9a5b00",
        foreground="#1f2733",
        background="#fbfaf7",
        surface="#f3f1ec",
        panel="#e6e3dc",
        success="#1f7a3a",
        warning="#8f5a00",
        error="#b8232f",
        dark=False,
        variables={"footer-key-foreground": "#9a5b00", "footer-description-foreground": "#55606f"},
    ),
    Theme(
        name=CONTRAST,
        primary="#00ffff",
        secondary="#ffffff",
        accent="#ffff00",
        foreground="#ffffff",
        background="#000000",
        surface="#000000",
        panel="#000000",
        success="#00ff00",
        warning="#ffff00",
        error="#ff6060",
        dark=True,
        variables={"footer-key-foreground": "#ffff00", "footer-description-foreground": "#ffffff"},
    ),
)


@dataclass(frozen=True, slots=True)
class Palette:
    """Rich styles by purpose."""

    text: str
    dim: str
    strong: str
    good: str
    warn: str
    bad: str
    info: str
    accent: str
    line: str
    """Guides, axes, rules."""
    cursor: str
    """The row under the cursor, in a list with the focus."""
    idle: str
    """The row under the cursor, in a list without the focus."""
    head: str
    marked: str
    """The failing field."""
    hues: tuple[str, ...]
    """Types and streams. A name always has the same color."""


_PALETTES = {
    DARK: Palette(
        text="#d6dbe4", dim="#7c8799", strong="bold #f2f5fa", good="#7fc98b", warn="#e8b45a", bad="#f0717a",
        info="#5fb3d4", accent="#e8b45a", line="#46526a", cursor="on #2a3a52", idle="on #1f2734", head="#7c8799",
        marked="bold #ffd7d9 on #5a2229",
        hues=("#7cc4e4", "#a9b8f0", "#d2a6ea", "#f0a5c4", "#efb08a", "#dfcb79", "#b4d482", "#7fd3ab", "#7dd0d0",
              "#c3c3e6"),
    ),
    LIGHT: Palette(
        text="#1f2733", dim="#687282", strong="bold #0c1017", good="#1f7a3a", warn="#8f5a00", bad="#b8232f",
        info="#0b6e99", accent="#9a5b00", line="#b3b0a7", cursor="on #cfe3ee", idle="on #e9e6df", head="#687282",
        marked="bold #7c0f19 on #f6d3d5",
        hues=("#0b6e99", "#3f51b5", "#7b3fa0", "#a8326e", "#a5501c", "#7a6400", "#4d7309", "#0e7a57", "#087878",
              "#54549c"),
    ),
    CONTRAST: Palette(
        text="#ffffff", dim="#ffffff", strong="bold #ffffff", good="bold #00ff00", warn="bold #ffff00",
        bad="bold #ff6060", info="#00ffff", accent="#ffff00", line="#ffffff", cursor="bold #000000 on #ffff00",
        idle="underline", head="bold underline #ffffff", marked="bold #000000 on #ff6060",
        hues=("#ffffff",),
    ),
}  # fmt: skip


def palette(theme: str) -> Palette:
    """Return the styles of a theme. Unknown themes use the dark styles."""
    return _PALETTES.get(theme, _PALETTES[LIGHT if theme.endswith("light") else DARK])


@lru_cache(4_096)
def hue(name: str, colors: tuple[str, ...]) -> str:
    """Return the color of a type or stream, the same in every run."""
    return colors[crc32(name.encode("utf-8", "surrogatepass")) % len(colors)]


MARKS = {
    "ok": "●", "unchecked": "○", "replayed": "↻", "duplicate": "≡", "rejected": "✗", "repaired": "↻",
    "open": "✗", "replaying": "»", "returned": "⟲", "parked": "‖", "discarded": "-",
    "running": "»", "paused": "‖", "done": "✓", "cancelled": "-", "failed": "✗",
}  # fmt: skip
"""Marks for each status and state, one cell wide."""


def tone(status: str, colors: Palette) -> str:
    """Return the style of a status or state."""
    match status:
        case "rejected" | "open" | "returned" | "failed":
            return colors.bad
        case "duplicate" | "parked" | "paused":
            return colors.warn
        case "replayed" | "replaying" | "running" | "repaired":
            return colors.info
        case "unchecked" | "discarded" | "cancelled":
            return colors.dim
    return colors.good


def mark(status: str) -> str:
    return MARKS.get(status, "·")
