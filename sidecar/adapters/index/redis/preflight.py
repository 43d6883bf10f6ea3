"""Checks of the shared index for `tracecar check`: the connection and the needed permissions."""

from __future__ import annotations

from sidecar.adapters.index.redis.shards import ShardClients
from sidecar.domain.errors import TracecarError
from sidecar.domain.ports.broker import Finding

WHAT = "index.redis"
CHECK_TIMEOUT_S = 5.0
NEEDED = (
    "HSET HGET HMGET HDEL HGETALL SADD SREM SCARD SMEMBERS SRANDMEMBER ZADD ZREM ZRANGE ZREVRANGEBYSCORE "
    "GET MGET SET INCRBY DECRBY PEXPIRE EXISTS XADD XREVRANGE"
)
"""Commands that the index needs on its keys; besides XREAD, EVAL, EVALSHA, TIME, and the commands for connecting."""
_ALLOWED = """
if not redis.acl_check_cmd then return {} end
local few = {HGETALL = 1, SCARD = 1, SMEMBERS = 1, GET = 1, MGET = 1, EXISTS = 1, HGET = 2, HMGET = 2, HDEL = 2,
  SADD = 2, SREM = 2, ZREM = 2, SRANDMEMBER = 2, INCRBY = 2, DECRBY = 2, PEXPIRE = 2, SET = 2, HSET = 3, ZADD = 3,
  ZRANGE = 3, ZREVRANGEBYSCORE = 3, XADD = 4, XREVRANGE = 3}
local refused = {}
for _, name in ipairs(ARGV) do
  local arguments = {}
  for _ = 2, few[name] or 1 do arguments[#arguments + 1] = '1' end
  if few[name] and not redis.acl_check_cmd(name, KEYS[1], unpack(arguments)) then refused[#refused + 1] = name end
end
return refused
"""


async def inspect(shards: ShardClients) -> list[Finding]:
    """Return findings about the connection and the permissions. Changes nothing."""
    key = shards.keys.single(b"l")
    try:
        await shards.ask(
            [(shard, ("GET", shards.keys.single(b"n", shard))) for shard in range(shards.keys.shards)], CHECK_TIMEOUT_S
        )
    except TracecarError as error:
        return [Finding(WHAT, False, f"{error}. Its user needs the keys {_pattern(shards)}")]
    findings = [Finding(WHAT, True, f"reached at {shards.servers.target}")]
    try:
        (refused,) = await shards.ask([(0, ("EVAL", _ALLOWED, 1, key, *NEEDED.split()))], CHECK_TIMEOUT_S)
    except TracecarError as error:
        return [*findings, Finding(f"{WHAT}: scripts", False, f"{error}. Its user needs EVAL and EVALSHA")]
    names = " ".join(name.decode() for name in refused)
    detail = f"allowed on {_pattern(shards)}" if not refused else f"its user may not {names} on {_pattern(shards)}"
    findings.append(Finding(f"{WHAT}: commands", not refused, detail))
    return findings


def _pattern(shards: ShardClients) -> str:
    return shards.keys.heads[0].decode().partition(":1{")[0] + ":*"
