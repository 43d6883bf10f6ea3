"""What the server does with a batch, as Lua functions: each touches the keys of one shard only."""

from __future__ import annotations

import hashlib


class IndexScript:
    """A Lua function, called by its digest; whoever does not know it yet gets the text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


_START = """
local p, ttl, at = KEYS[1], ARGV[1], 2
local call, sub, byte = redis.call, string.sub, string.byte
local touched = {}
local function number()
  at = at + 1
  return tonumber(ARGV[at - 1])
end
local function many(command, key, count)
  local done = 0
  for first = at, at + count - 1, 1000 do
    done = done + call(command, key, unpack(ARGV, first, math.min(first + 999, at + count - 1)))
  end
  at = at + count
  return done
end
local function live(key)
  if not touched[key] then
    touched[key] = true
    call('PEXPIRE', key, ttl)
  end
end
"""

WRITE = IndexScript(
    _START
    + """
-- KEYS: what the shard's keys begin with. ARGV: time to live, a word for the server to keep, then three lists, each
-- after its length. Buckets: key, number of parts, field and event in turn. Sets: key, number of places, places. Ids:
-- hash, member.
-- Returns the word that is kept, and how many events there are.
local word = ARGV[at]
at = at + 1
local new, noted = 0, {}
for _ = 1, number() do
  local key = p .. ARGV[at]
  at = at + 1
  local parts = number()
  new = new + many('HSET', key, parts)
  live(key)
end
for _ = 1, number() do
  local key = p .. ARGV[at]
  at = at + 1
  if many('SADD', key, number()) > 0 then live(key) end
end
for _ = 1, number() do
  local id, member = ARGV[at], ARGV[at + 1]
  local key = p .. 'i' .. id
  at = at + 2
  if call('SADD', key, member) == 1 then
    live(key)
    local count = call('SCARD', key)
    if count > 1 then
      -- Causes and effects meet here: what a producer is seen to consume is noted.
      local role = byte(member)
      for _, other in ipairs(count > 128 and call('SRANDMEMBER', key, 128) or call('SMEMBERS', key)) do
        if byte(other) ~= role then
          local effect, cause = member, other
          if role == 0 then effect, cause = other, member end
          noted[sub(effect, 2, 5) .. sub(cause, 2, 7)] = id
        end
      end
    end
  end
end
for pair, id in pairs(noted) do
  local producer, log = sub(pair, 1, 4), sub(pair, 5)
  if producer ~= '\\0\\0\\0\\0' then
    local key = p .. 'y' .. producer
    local old = call('HGET', key, log) or ''
    local known = false
    for n = 1, #old, 4 do
      if sub(old, n, n + 3) == id then known = true end
    end
    if not known then call('HSET', key, log, id .. sub(old, 1, 12)) end
    live(key)
  end
end
local kept = call('GET', p .. 'g')
if not kept then
  kept = word
  call('SET', p .. 'g', word)
end
live(p .. 'g')
local count = call('INCRBY', p .. 'n', new)
live(p .. 'n')
return {kept, count}
"""
)

NOTE = IndexScript(
    _START
    + """
-- In shard 0. ARGV: time to live, then three lists: hash and partition; seconds in which events were appended; seconds
-- that eviction has to look at.
for _ = 1, number() do
  call('HSET', p .. 'l', ARGV[at], ARGV[at + 1])
  at = at + 2
end
live(p .. 'l')
for _, name in ipairs({'z', 's'}) do
  for _ = 1, number() do
    call('ZADD', p .. name, ARGV[at], ARGV[at])
    at = at + 1
  end
  live(p .. name)
end
return 1
"""
)

DROP = IndexScript(
    _START
    + """
-- ARGV: time to live, then two lists: buckets as key, number of fields, fields; sets as key, number of members,
-- members.
-- Returns how many events went now: none where this is asked for again.
local gone = 0
for _ = 1, number() do
  local key = p .. ARGV[at]
  at = at + 1
  gone = gone + many('HDEL', key, number())
end
for _ = 1, number() do
  local key = p .. ARGV[at]
  at = at + 1
  many('SREM', key, number())
end
if gone > 0 then
  if call('EXISTS', p .. 'n') == 1 then call('DECRBY', p .. 'n', gone) end
  call('INCRBY', p .. 'd', gone)
  live(p .. 'd')
end
return gone
"""
)

RECOUNT = IndexScript(
    _START
    + """
-- ARGV: time to live, how many events were counted, how many there are. Returns 1 where nothing was written meanwhile.
if (call('GET', p .. 'n') or '0') ~= ARGV[2] then return 0 end
call('PEXPIRE', p .. 'n', ttl)  -- the script has written: so a full server does not refuse the next command
call('SET', p .. 'n', ARGV[3], 'PX', ttl)
return 1
"""
)

LETTING = IndexScript(
    _START
    + """
-- What letting go has to note, each a command after the number of its words. A full server refuses what takes memory
-- unless the script has written something before: that is what the first command is for.
call('PEXPIRE', p .. 'n', ttl)
local replies = {}
while ARGV[at] do
  local words = number()
  replies[#replies + 1] = call(unpack(ARGV, at, at + words - 1))
  at = at + words
end
return replies
"""
)

BEAT = IndexScript(
    _START
    + """
-- In shard 0. ARGV: time to live, milliseconds after which silent members are forgotten, the member, what it says of
-- itself (empty: it leaves), then two lists: partitions that it covers, each with the append time since when and 1
-- while that is being filled; partitions that it covers no more. Returns the server's time in milliseconds, the
-- members and the coverage, each with the time of its last beat in front of it, and what the sweeper noted.
local clock = call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local stamp = string.format('%015d', now)
local forget = number()
local member, says = ARGV[at], ARGV[at + 1]
at = at + 2
local m, c = p .. 'm', p .. 'c'
call('PEXPIRE', m, ttl)  -- the script has written: so a full server does not silence the members
if says == '' then call('HDEL', m, member) else call('HSET', m, member, stamp .. says) end
for _ = 1, number() do
  local partition, since, filling = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2]
  at = at + 3
  local old = call('HGET', c, partition)
  if old then
    -- What others covered until after our beginning, we go on with.
    local beat, before = tonumber(sub(old, 1, 15)), tonumber(sub(old, 17, 31))
    if beat and before and beat >= since and before < since then since = before end
  end
  call('HSET', c, partition, stamp .. filling .. string.format('%015d', since) .. member)
end
for _ = 1, number() do
  local old = call('HGET', c, ARGV[at])
  if old and sub(old, 32) == member then call('HSET', c, ARGV[at], stamp .. '0' .. sub(old, 17, 31)) end
  at = at + 1
end
local members = call('HGETALL', m)
for n = 1, #members, 2 do
  if (tonumber(sub(members[n + 1], 1, 15)) or 0) < now - forget then call('HDEL', m, members[n]) end
end
local covered = call('HGETALL', c)
for n = 1, #covered, 2 do
  if (tonumber(sub(covered[n + 1], 1, 15)) or 0) < now - ttl then call('HDEL', c, covered[n]) end
end
live(m)
live(c)
return {now, members, covered, call('HGETALL', p .. 'x')}
"""
)
