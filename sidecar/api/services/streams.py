"""Use cases of streams and consumer groups: status, and release of held streams."""

from __future__ import annotations

import structlog

from sidecar.api import models
from sidecar.api.mappers import consumer_groups
from sidecar.api.services.ports import HeldStreams, StatusProvider
from sidecar.dead_letters.ledger_entries import Actor
from sidecar.domain.errors import NotFoundError
from sidecar.domain.json_safe import to_text
from sidecar.pipeline.consumer_groups.tracker import ConsumerGroupTracker

log = structlog.get_logger()

MAX_LISTED_LOSSES = 100
"""Positions of lost records to list in a reply."""


class StreamService:
    """Queries for streams and groups, and release of held streams."""

    def __init__(self, *, status: StatusProvider, held: HeldStreams, groups: ConsumerGroupTracker) -> None:
        self._status, self._held, self._groups = status, held, groups

    async def status(self) -> models.ServiceStatus:
        """Return the status of the sidecar, with a sentence for each consumer group that stopped."""
        status = await self._status.status()
        status.trouble += consumer_groups.describe_stopped(self._groups)
        return status

    async def groups(self) -> models.GroupPage:
        """Return the other consumer groups that read watched streams, by name."""
        return consumer_groups.groups(self._groups)

    async def streams(self) -> models.StreamPage:
        """Return the watched streams."""
        return models.StreamPage(items=(await self._status.status()).streams)

    async def resume(self, stream: str, actor: Actor) -> models.ReleaseResult:
        """Retry the records that hold a stream. Raises NotFoundError, Outage and Refused."""
        name = await self._ask("stream.resumed", stream, actor)
        partitions = await self._held.resume(stream)
        log.info("stream.resumed", by=actor.name, address=actor.address, stream=name, partitions=partitions)
        return models.ReleaseResult(stream=name, partitions=partitions)

    async def skip(self, stream: str, actor: Actor) -> models.ReleaseResult:
        """Skip the records that hold a stream. Raises NotFoundError, Outage and Refused."""
        name = await self._ask("stream.skipped", stream, actor)
        outcome = await self._held.skip(stream)
        lost = [str(position) for position in outcome.lost]
        log.info(
            "stream.skipped",
            by=actor.name,
            address=actor.address,
            stream=name,
            partitions=outcome.partitions,
            lost=len(lost),
        )
        return models.ReleaseResult(
            stream=name, partitions=outcome.partitions, lost=len(lost), lost_positions=lost[:MAX_LISTED_LOSSES]
        )

    async def _ask(self, event: str, stream: str, actor: Actor) -> str:
        """Audit the request; returns the name of the stream. Raises NotFoundError."""
        name = to_text(stream)
        if name not in {status.stream for status in (await self._status.status()).streams}:
            raise NotFoundError(f"no watched stream has the name {stream!r}; tracecar streams lists them")
        log.info(f"{event}.asked", by=actor.name, address=actor.address, stream=name)
        return name
