"""Composition of the writing side of the history."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sidecar.api import models
from sidecar.api.services.history import HistorySettings
from sidecar.config.schema import Config
from sidecar.config.string_formats import parse_size
from sidecar.decoding.decoder import EventDecoder
from sidecar.domain.redaction import Redactor
from sidecar.domain.secrets import mask_url
from sidecar.domain.timestamps import format_rfc3339
from sidecar.pipeline.history_filler import HistoryFiller
from sidecar.pipeline.history_recorder import HistoryRecorder, RowEncoder
from sidecar.pipeline.history_writer import HistoryWriter, MaintainedHistory
from sidecar.pipeline.pipeline import HistoryFeed


@dataclass(frozen=True)
class HistoryRecording:
    """The writing side of a running sidecar's history."""

    recorder: HistoryRecorder
    writer: HistoryWriter
    filler: HistoryFiller

    @property
    def feed(self) -> HistoryFeed:
        """The part that pipelines need."""
        return HistoryFeed(self.recorder, self.filler)

    def start(self) -> None:
        """Start to write."""
        self.writer.start()
        self.filler.start()

    async def close(self) -> None:
        """Stop, with everything that is queued in files. Call it once the pipelines are drained."""
        await self.filler.close()
        await self.writer.close()


def build_history_recording(
    config: Config, history: MaintainedHistory | None, decoder: EventDecoder, redactor: Redactor
) -> HistoryRecording | None:
    """Build the writing side of the history; None if none is configured."""
    if config.history is None or history is None:
        return None
    recorder = HistoryRecorder(RowEncoder(redactor, bodies=config.history.bodies), member=os.uname().nodename)
    flush_s = float(config.history.flush)
    return HistoryRecording(
        recorder,
        HistoryWriter(history, recorder, flush_s=flush_s),
        HistoryFiller(history, recorder, decoder, flush_s=flush_s, lookback_s=float(config.index.lookback)),
    )


def describe_history_trouble(recording: HistoryRecording | None) -> list[Callable[[], Iterable[str]]]:
    """Return the functions that describe what is wrong with the history."""
    return [] if recording is None else [recording.writer.sentences]


def describe_history_settings(config: Config) -> HistorySettings | None:
    """Return the place and limits of the history; None if none is configured."""
    if config.history is None:
        return None
    keep = config.history.keep
    return HistorySettings(mask_url(str(config.history.url)), float(keep.age), parse_size(keep.size))


def describe_writing(recording: HistoryRecording | None) -> models.HistoryWritingModel | None:
    """Return what this sidecar has written; None if it writes no history."""
    if recording is None:
        return None
    recorder, writer = recording.recorder, recording.writer
    return models.HistoryWritingModel(
        written=recorder.counters.written,
        queued_bytes=recorder.queued_bytes + writer.staged_bytes,
        missed=recorder.counters.missed,
        filled=recorder.counters.filled,
        lost=recorder.counters.lost,
        filling=recording.filler.running,
        last_written_at=format_rfc3339(writer.last_flush_us),
        problem=writer.problem,
    )
