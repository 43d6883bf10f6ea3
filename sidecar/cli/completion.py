"""Shell completion of ids and names. A sidecar that does not reply at once gives no completions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

import typer

from sidecar.cli.options import URL, Connection

if TYPE_CHECKING:
    from sidecar.api.client.client import Client

TIMEOUT_S = 2.0
MAX_CANDIDATE_IDS = 100

SAGA_FIELDS = ("aggregate:", "saga:", "since:", "state:", "stream:", "trace:", "type:", "until:")
SAGA_STATES = ("completed", "compensated", "failed", "running", "stuck")


def complete_stream(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the name of a watched stream."""

    async def names(client: Client) -> Iterable[str]:
        return [item.stream for item in (await client.streams()).items]

    return _complete(ctx, incomplete, names)


def complete_subject(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete a schema subject."""

    async def names(client: Client) -> Iterable[str]:
        return [item.subject for item in (await client.schemas(None)).items]

    return _complete(ctx, incomplete, names)


def complete_letter(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the id of a dead letter."""

    async def ids(client: Client) -> Iterable[str]:
        return [item.id for item in (await client.dead_letters(limit=MAX_CANDIDATE_IDS)).items]

    return _complete(ctx, incomplete, ids)


def complete_replay(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the id of a replay."""

    async def ids(client: Client) -> Iterable[str]:
        return [item.id for item in await client.replays(MAX_CANDIDATE_IDS)]

    return _complete(ctx, incomplete, ids)


def complete_event(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the position of a recent event."""

    async def positions(client: Client) -> Iterable[str]:
        return [item.position for item in (await client.events(limit=MAX_CANDIDATE_IDS)).items]

    return _complete(ctx, incomplete, positions)


def complete_flow(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the trace id of a recent flow, or an aggregate id of one."""

    async def ids(client: Client) -> Iterable[str]:
        flows = (await client.flows(limit=MAX_CANDIDATE_IDS)).items
        return [id for flow in flows for id in (flow.trace_id, *flow.aggregates)]

    return _complete(ctx, incomplete, ids)


def complete_aggregate(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete an aggregate id of a recent flow."""

    async def ids(client: Client) -> Iterable[str]:
        return [id for flow in (await client.flows(limit=MAX_CANDIDATE_IDS)).items for id in flow.aggregates]

    return _complete(ctx, incomplete, ids)


def complete_saga(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the aggregate id or the id of a saga."""

    async def ids(client: Client) -> Iterable[str]:
        sagas = (await client.sagas(limit=MAX_CANDIDATE_IDS)).items
        return [id for saga in sagas for id in (saga.aggregate_id, saga.id) if id is not None]

    return _complete(ctx, incomplete, ids)


def complete_saga_query(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete a field of a query of sagas, a state after `state:`, or the name of a saga after `saga:`."""
    if incomplete.startswith("state:"):
        return [f"state:{name}" for name in SAGA_STATES if name.startswith(incomplete.removeprefix("state:"))]
    if incomplete.startswith("saga:"):

        async def names(client: Client) -> Iterable[str]:
            return [f"saga:{saga.name}" for saga in (await client.sagas(limit=MAX_CANDIDATE_IDS)).items]

        return _complete(ctx, incomplete, names)
    return [field for field in SAGA_FIELDS if field.startswith(incomplete)]


def complete_query(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete a field of a query, a value of it, or the name of a stream after `stream:`."""
    from sidecar.query.completion import complete

    if incomplete.startswith("stream:"):
        return [f"stream:{name}" for name in complete_stream(ctx, incomplete.removeprefix("stream:"))]
    start, endings = complete(incomplete, len(incomplete))
    return [incomplete[:start] + ending for ending in endings]


def _complete(ctx: typer.Context, incomplete: str, fetch: Callable[[Client], Awaitable[Iterable[str]]]) -> list[str]:
    import asyncio

    from sidecar.api.client.client import ClientError

    options = {name: value for each in (ctx.parent, ctx) if each is not None for name, value in each.params.items()}
    connection = Connection(options.get("url") or URL, options.get("token"))

    async def ask() -> Iterable[str]:
        async with asyncio.timeout(TIMEOUT_S), connection.connect() as client:
            return await fetch(client)

    try:
        candidates = asyncio.run(ask())
    except (ClientError, OSError, TimeoutError):
        return []
    return sorted({candidate for candidate in candidates if candidate.startswith(incomplete)})
