"""Payload of the record behind a dead letter, from the dead letter itself or from its origin."""

from __future__ import annotations

from sidecar.api.mappers.payload import ReadPayload
from sidecar.api.services.payloads import PayloadReader
from sidecar.api.services.stream_visibility import WatchedStreams
from sidecar.domain.json_safe import to_text
from sidecar.domain.model import DeadLetter


class OriginPayloads:
    """Reads the original records of dead letters."""

    def __init__(self, payloads: PayloadReader, watched: WatchedStreams) -> None:
        self._payloads, self._watched = payloads, watched

    async def of(self, letter: DeadLetter) -> ReadPayload:
        """Return the record that failed, or the available part of it with a note about the rest."""
        if letter.record is not None and not letter.omitted:
            return ReadPayload((await self._payloads.open([letter.record]))[0])
        if letter.origin is None:
            return await self._kept_parts(letter, "the dead letter does not name its origin")
        if not await self._watched.contains(letter.origin.system, letter.origin.stream):
            # A client that can write to a dead-letter stream can name any origin; only watched streams are shown.
            return await self._kept_parts(letter, f"{to_text(letter.origin.stream)} is not a watched stream")
        payload = await self._payloads.at(letter.origin)
        if payload.decoded is None:
            return await self._kept_parts(letter, payload.note or "the origin no longer has the record")
        if letter.origin_timestamp not in (None, payload.decoded.record.timestamp):
            return await self._kept_parts(
                letter, f"the record at {letter.origin} is not the one that failed: the stream was created again"
            )
        return payload

    async def _kept_parts(self, letter: DeadLetter, reason: str) -> ReadPayload:
        """Return what the letter itself keeps of the record, with the reason why that is not all."""
        note = f"the dead letter lacks the {', '.join(letter.omitted) or 'record'}, and {reason}"
        if letter.record is None or "body" in letter.omitted:
            return ReadPayload(note=note)
        return ReadPayload((await self._payloads.open([letter.record]))[0], note)
