"""The history's own state: what it holds, what it lacks, and the work on its files."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from sidecar.api import models
from sidecar.domain.broker_traits import traits_of
from sidecar.domain.errors import Refused
from sidecar.domain.json_safe import to_text
from sidecar.domain.offset_ranges import OffsetRange
from sidecar.domain.ports.history import History
from sidecar.domain.timestamps import format_rfc3339

MAX_LISTED_RANGES = 1_000


class HistorySettings(Struct, frozen=True):
    """The configured place and limits of a history."""

    url: str
    """The address, without secrets."""
    keep_age_s: float
    keep_bytes: int


class HistoryService:
    """Describes the history. Methods raise Refused and Outage."""

    def __init__(
        self,
        history: History | None,
        settings: HistorySettings | None,
        describe_writing: Callable[[], models.HistoryWritingModel | None],
    ) -> None:
        self._history, self._settings, self._describe_writing = history, settings, describe_writing

    async def describe(self) -> models.HistoryModel:
        """Return the state of the history."""
        history, settings = self._history, self._settings
        if history is None or settings is None:
            raise Refused("there is no history to read: set history.url in the configuration")
        coverage, upkeep = await history.coverage(), await history.upkeep()
        return models.HistoryModel(
            url=settings.url,
            events=coverage.events,
            bytes=coverage.bytes,
            files=coverage.files,
            oldest=_format_millis(coverage.oldest_ms),
            newest=_format_millis(coverage.newest_ms),
            deleted_before=_format_millis(coverage.kept_from_ms),
            keep_age_s=settings.keep_age_s,
            keep_bytes=settings.keep_bytes,
            covered=_list_ranges(coverage.covered),
            covered_count=len(coverage.covered),
            holes=_list_ranges(coverage.holes),
            hole_count=len(coverage.holes),
            merges=upkeep.merges,
            merged_files=upkeep.merged_files,
            deleted_files=upkeep.deleted_files,
            unusable=[
                models.HistoryFileModel(name=to_text(name), reason=to_text(reason))
                for name, reason in sorted(upkeep.unusable.items())
            ],
            writing=self._describe_writing(),
        )


def _format_millis(moment: int | None) -> str | None:
    return None if moment is None else format_rfc3339(moment * 1000)


def _list_ranges(ranges: Sequence[OffsetRange]) -> list[models.HistoryRangeModel]:
    return [_map_range(each) for each in ranges[:MAX_LISTED_RANGES]]


def _map_range(offsets: OffsetRange) -> models.HistoryRangeModel:
    format_offset = traits_of(offsets.partition.system).format_offset
    return models.HistoryRangeModel(
        partition=str(offsets.partition),
        first=format_offset(offsets.start),
        last=format_offset(offsets.end - 1),
        member=None if offsets.member is None else to_text(offsets.member),
    )
