"""Number of events in the shared index.

Each shard counts its own events. Keys also expire without being counted, so the counts are corrected from time to time.
"""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.adapters.index.redis.fetcher import STEP_TIMEOUT_S
from sidecar.adapters.index.redis.lua_scripts import CORRECT_COUNT
from sidecar.adapters.index.redis.shards import ShardClients
from sidecar.adapters.redis_client.connection_pool import Command


async def count_events(shards: ShardClients) -> int:
    """Add up the counts of all shards. Raises Outage, Refused."""
    return sum(await _counts(shards))


async def count_again(shards: ShardClients, ttl_ms: int) -> set[int]:
    """Count the events again and correct the shards.

    Each shard gets a part of the new sum in proportion to its count before, because only the sum matters. A shard that
    is written to meanwhile keeps its count. Returns the seconds that were read. Raises Outage, Refused.
    """
    keys = shards.keys
    (windows,) = await shards.ask([(0, ("ZRANGE", keys.single(b"z"), 0, -1))], STEP_TIMEOUT_S)
    seconds = {int(window) for window in windows}
    sets = [keys.of_window(b"w", second) for second in seconds]
    there = sum(await shards.ask([(shard, ("SCARD", name)) for shard, name in sets], STEP_TIMEOUT_S))
    before = await _counts(shards)
    commands: list[tuple[int, Command]] = [
        (shard, ("EVALSHA", CORRECT_COUNT.sha, 1, keys.heads[shard], ttl_ms, count, part))
        for shard, (count, part) in enumerate(zip(before, parts(there, before), strict=True))
        if part != count
    ]
    await shards.ask(commands, STEP_TIMEOUT_S)
    return seconds


async def _counts(shards: ShardClients) -> list[int]:
    keys = shards.keys
    replies = await shards.ask(
        [(shard, ("GET", keys.single(b"n", shard))) for shard in range(keys.shards)], STEP_TIMEOUT_S
    )
    return [int(count or 0) for count in replies]


def parts(whole: int, shares: Sequence[int]) -> list[int]:
    """Divide `whole` into integers in proportion to the shares; they add up to `whole`."""
    total, assigned, cumulative = sum(shares), 0, 0
    portions: list[int] = []
    for share in shares:
        cumulative += share
        portion = (whole * cumulative // total if total > 0 else whole) - assigned
        portions.append(portion)
        assigned += portion
    return portions
