"""Decoding of single records, outside of the pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sidecar.domain.model import Decoded, Record


class RecordDecoder(Protocol):
    """Decodes and checks records (`sidecar.api.services.payloads.PayloadReader`)."""

    async def open(self, records: Sequence[Record]) -> list[Decoded]: ...
