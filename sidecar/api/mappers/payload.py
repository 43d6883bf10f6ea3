"""A record that was read back, or a note that says why not."""

from __future__ import annotations

from msgspec import Struct

from sidecar.domain.model import Decoded


class ReadPayload(Struct):
    """What was found at a position."""

    decoded: Decoded | None = None
    note: str | None = None
    """A sentence, where there is nothing or not all of it."""
