"""The result of reading a record back."""

from __future__ import annotations

from msgspec import Struct

from sidecar.domain.model import Decoded, Record


class ReadPayload(Struct):
    """A record that was read back and decoded, or a note with the reason why there is none."""

    decoded: Decoded | None = None
    note: str | None = None
    """A sentence, set if the record or a part of it is missing."""

    @property
    def record(self) -> Record | None:
        """The record, if there is one."""
        return None if self.decoded is None else self.decoded.record
