"""Payloads from the history, for records that their broker no longer holds."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import msgspec

from sidecar.api.mappers.payload import ReadPayload
from sidecar.domain.errors import Outage, Refused
from sidecar.domain.history_rows import HistoryRow
from sidecar.domain.model import Decoded, Headers, Record
from sidecar.domain.ports.history import History
from sidecar.domain.position import Position

FROM_HISTORY = "headers and body are those that the history keeps, redacted"


class StoredPayloads:
    """Reads headers and bodies from the history."""

    def __init__(self, history: History) -> None:
        self._history = history

    async def replace_missing(self, positions: Sequence[Position], payloads: list[ReadPayload]) -> None:
        """Replace the payloads that could not be read, as far as the history keeps them. Never raises."""
        missing = {
            position: n
            for n, (position, payload) in enumerate(zip(positions, payloads, strict=True))
            if payload.decoded is None
        }
        if not missing:
            return
        try:
            rows = await self._history.at(list(missing))
        except (Outage, Refused) as error:
            for n in missing.values():
                payloads[n].note = f"{payloads[n].note}; the history cannot be read either: {error}"
            return
        latest = {row.event.position: row for row in reversed(rows)}
        for position, row in latest.items():
            payload = payloads[missing[position]]
            decoded = _restore(row)
            if decoded is not None:
                payload.decoded, payload.note = decoded, f"{FROM_HISTORY} ({payload.note})"


def _restore(row: HistoryRow) -> Decoded | None:
    """Build a record with the stored JSON as its value; None if the history keeps no bodies."""
    if row.body is None:
        return None
    body = msgspec.json.decode(row.body)
    event = row.event
    record = Record(
        event.position,
        None if event.key is None else event.key.encode("utf-8", "surrogatepass"),
        None if body is None else row.body,
        _restore_headers(row.headers),
        event.appended_at,
    )
    return Decoded(record, event, body)


def _restore_headers(text: bytes | None) -> Headers:
    headers: list[tuple[str, Any]] = [] if text is None else msgspec.json.decode(text)
    return tuple((name, _restore_value(value)) for name, value in headers)


def _restore_value(value: Any) -> bytes | None:
    if isinstance(value, dict):
        return base64.b64decode(value.get("base64", ""))
    return None if value is None else str(value).encode()
