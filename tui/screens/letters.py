"""Dead letters: causes first, then letters, then one letter in full."""

from __future__ import annotations

from tui.screens.page import Page


class Letters(Page):
    PLACE = "letters"
    QUERYING = "state:open code:schema.mismatch stream:shipping"
