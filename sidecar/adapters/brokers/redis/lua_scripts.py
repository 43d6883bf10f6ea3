"""The Lua functions that make several steps of the server one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from sidecar.adapters.redis_client.connection_pool import Argument, Command, RedisConnection
from sidecar.adapters.redis_client.errors import RedisReplyError


class BrokerScript:
    """A Lua function, called by its digest; a server that does not know it (restarted, failed over) gets the text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    def command(self, keys: Sequence[Argument], arguments: Sequence[Argument]) -> Command:
        return ("EVALSHA", self._sha, len(keys), *keys, *arguments)

    async def call(self, link: RedisConnection, keys: Sequence[Argument], arguments: Sequence[Argument]) -> Any:
        """The reply. Raises as `RedisConnection.call` does."""
        try:
            return await link.call(*self.command(keys, arguments))
        except RedisReplyError as error:
            if error.code != "NOSCRIPT":
                raise
            return await link.call("EVAL", self._text, len(keys), *keys, *arguments)

    async def load(self, link: RedisConnection) -> None:
        await link.call("SCRIPT", "LOAD", self._text)


SETTLE = BrokerScript("""
-- Commit rejected entries: each is acknowledged and its letters are added, or neither, and only by the first who comes.
-- KEYS: the stream, then the streams letters go to. ARGV: group, our mark in it, then for each entry its id, the number
-- of its letters, and for each letter the index of its key, the number of its fields' parts, and these.
-- Order within an entry: look whether it is pending, add, acknowledge. What can fail is the adding, and then nothing of
-- this entry is done. Nothing is written before the first letter: a server that is out of memory refuses a function's
-- first write only.
local stream, group, mark = KEYS[1], ARGV[1], ARGV[2]
if redis.acl_check_cmd and not redis.acl_check_cmd('XACK', stream, group, '0-0') then
  return redis.error_reply('NOPERM this user may not use XACK on ' .. stream)
end
for n = 2, #KEYS do
  local kind = redis.call('TYPE', KEYS[n]).ok
  if kind ~= 'none' and kind ~= 'stream' then
    return redis.error_reply('WRONGTYPE ' .. KEYS[n] .. ' is a ' .. kind .. ', not a stream')
  end
end
local function marked()
  for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', stream, group)) do
    if consumer[2] == mark then return true end
  end
  return false
end
local at, dead_lettered = 3, 0
while at <= #ARGV do
  local id, letters = ARGV[at], tonumber(ARGV[at + 1])
  at = at + 2
  local pending = redis.pcall('XPENDING', stream, group, id, id, 1)
  if pending.err then return pending end
  -- Not pending: committed already, by an earlier try or by who claimed it. Unless the group was created again.
  if #pending == 0 and not marked() then return redis.error_reply('NOGROUP the group was created again') end
  for n = 1, letters do
    local last = at + 1 + tonumber(ARGV[at + 1])
    if #pending > 0 then
      local added = redis.pcall('XADD', KEYS[tonumber(ARGV[at])], '*', unpack(ARGV, at + 2, last))
      if added.err then return added end
      dead_lettered = dead_lettered + 1
    end
    at = last + 1
  end
  if #pending > 0 then redis.call('XACK', stream, group, id) end
end
return dead_lettered
""")
LARGEST_ENTRY = 3_900
"""Fields of an entry that a Lua function can write: its stack holds 8,000 values."""

WATCH = BrokerScript("""
-- What happened to these streams behind our back, before we read on. KEYS: streams. ARGV: group, our mark in it.
-- For each stream {what, …}: NOKEY, WRONGTYPE, NOGROUP, ANEW (the group was created again: it lacks our mark), or OK
-- with
-- the last entry that the group was given, and how many after it were trimmed before it read them (since Redis 7.0).
-- Only looks: a server that is out of memory or disk refuses writes, and reading goes on all the same.
local function later(a, b)
  -- Whether entry id a comes after b. Their numbers are longer than Lua's.
  local am, as = string.match(a, '(%d+)-(%d+)')
  local bm, bs = string.match(b, '(%d+)-(%d+)')
  if am ~= bm then return #am > #bm or (#am == #bm and am > bm) end
  return #as > #bs or (#as == #bs and as > bs)
end
local function named(flat)
  local found = {}
  for n = 1, #flat, 2 do found[flat[n]] = flat[n + 1] end
  return found
end
local function look(key)
  local kind = redis.call('TYPE', key).ok
  if kind == 'none' then return {'NOKEY'} end
  if kind ~= 'stream' then return {'WRONGTYPE'} end
  local consumers, marked = redis.pcall('XINFO', 'CONSUMERS', key, ARGV[1]), false
  if consumers.err then return {string.match(consumers.err, '^-?(%u+)')} end
  for _, consumer in ipairs(consumers) do marked = marked or consumer[2] == ARGV[2] end
  -- Our mark comes back when our entries are pending again; until then nothing may take them for committed.
  if not marked then return {'ANEW'} end
  for _, flat in ipairs(redis.call('XINFO', 'GROUPS', key)) do
    local group = named(flat)
    if group.name == ARGV[1] then
      local last, lost = group['last-delivered-id'], 0
      if group['entries-read'] and group.lag and group.lag > 0 then
        local stream = named(redis.call('XINFO', 'STREAM', key))
        local first = stream['recorded-first-entry-id']
        if stream.length == 0 or (first and later(first, last)) then
          lost = math.max(0, stream['entries-added'] - group['entries-read'] - stream.length)
        end
      end
      return {'OK', last, lost}
    end
  end
  return {'NOGROUP'}
end
local found = {}
for index, key in ipairs(KEYS) do found[index] = look(key) end
return found
""")

FORGET = BrokerScript("""
-- Remove a consumer that has nothing pending. KEYS: the stream. ARGV: group, consumer.
if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) > 0 then return 0 end
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
return 1
""")

GIVE_UP = BrokerScript("""
-- Take an entry from a group that cannot process it: its letter is added and it is acknowledged, or neither; and only
-- if the group still is where it was seen. KEYS: the stream, the letters' stream. ARGV: group, entry id, consumer, how
-- often it was given, for how long it was left alone (milliseconds), then the letter's fields. Returns 1 where it was
-- taken, 0 where it was not pending so any more.
local pending = redis.pcall('XPENDING', KEYS[1], ARGV[1], ARGV[2], ARGV[2], 1)
if pending.err then return pending end
if #pending == 0 then return 0 end
local _, consumer, idle, given = unpack(pending[1])
-- Claimed without being counted (JUSTID), it has been left alone for less long than before.
if consumer ~= ARGV[3] or given ~= tonumber(ARGV[4]) or idle < tonumber(ARGV[5]) then return 0 end
local kind = redis.call('TYPE', KEYS[2]).ok
if kind ~= 'none' and kind ~= 'stream' then
  return redis.error_reply('WRONGTYPE ' .. KEYS[2] .. ' is a ' .. kind .. ', not a stream')
end
if redis.acl_check_cmd and not redis.acl_check_cmd('XACK', KEYS[1], ARGV[1], '0-0') then
  return redis.error_reply('NOPERM this user may not use XACK on ' .. KEYS[1])
end
local added = redis.pcall('XADD', KEYS[2], '*', unpack(ARGV, 6))
if added.err then return added end
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
return 1
""")

ACT = BrokerScript("""
-- Carry out acts of the ledger: each changes entries of a hash and adds entries to streams, all of it or nothing.
-- KEYS: the hash, then the streams. ARGV: now in milliseconds, then for each act how many entries and how many
-- additions it has; for each entry its field, whether something stood there (0, 1), what, whether something shall,
-- what; for each addition the index of its key, whether the stream may be made, the number of its parts, and these.
-- Returns for each act {1, ids of what was added}, or {0, what stands for each of its entries}.
-- Everything that can fail is looked at before the first write: a server that is out of memory refuses a function's
-- first write only.
local hash = KEYS[1]
for _, command in ipairs({{'HSET', hash, 'f', 'v'}, {'HSETNX', hash, 'f', 'v'}, {'HDEL', hash, 'f'}}) do
  if redis.acl_check_cmd and not redis.acl_check_cmd(unpack(command)) then
    return redis.error_reply('NOPERM this user may not use ' .. command[1] .. ' on ' .. hash)
  end
end
local kind = redis.call('TYPE', hash).ok
if kind ~= 'none' and kind ~= 'hash' then
  return redis.error_reply('WRONGTYPE ' .. hash .. ' is a ' .. kind .. ', not a hash')
end
local kinds = {}
for n = 2, #KEYS do
  kinds[n] = redis.call('TYPE', KEYS[n]).ok
  if kinds[n] ~= 'none' and kinds[n] ~= 'stream' then
    return redis.error_reply('WRONGTYPE ' .. KEYS[n] .. ' is a ' .. kinds[n] .. ', not a stream')
  end
  if redis.acl_check_cmd and not redis.acl_check_cmd('XADD', KEYS[n], '*', 'f', 'v') then
    return redis.error_reply('NOPERM this user may not use XADD on ' .. KEYS[n])
  end
end
local at, results = 2, {}
while at <= #ARGV do
  local entries, additions = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  local first = at + 2
  local stands, wanted, free = {}, true, true
  for n = 1, entries do
    local e = first + (n - 1) * 5
    local now = redis.call('HGET', hash, ARGV[e])
    stands[n] = now
    local before = ARGV[e + 1] == '1' and ARGV[e + 2] or false
    local after = ARGV[e + 3] == '1' and ARGV[e + 4] or false
    free = free and now == before
    wanted = wanted and now == after
  end
  at = first + entries * 5
  local result = {1}
  if not wanted and not free then
    result = {0}
    for n = 1, entries do result[n + 1] = stands[n] end
  end
  local look = at
  for _ = 1, additions do
    local key = tonumber(ARGV[look])
    if free and not wanted and kinds[key] == 'none' and ARGV[look + 1] == '0' then
      return redis.error_reply('NOSTREAM ' .. KEYS[key])
    end
    look = look + 3 + tonumber(ARGV[look + 2])
  end
  -- The first write, before anything is added: a user who may not write the hash is refused here, before Redis 7.0 too.
  if free and not wanted then redis.call('HSETNX', hash, 'begin', ARGV[1]) end
  for _ = 1, additions do
    local key, last = tonumber(ARGV[at]), at + 2 + tonumber(ARGV[at + 2])
    if free and not wanted then
      local added = redis.pcall('XADD', KEYS[key], '*', unpack(ARGV, at + 3, last))
      if added.err then return added end
      kinds[key] = 'stream'
      result[#result + 1] = added
    end
    at = last + 1
  end
  if free and not wanted then
    for n = 1, entries do
      local e = first + (n - 1) * 5
      if ARGV[e + 3] == '1' then
        redis.call('HSET', hash, ARGV[e], ARGV[e + 4])
      else
        redis.call('HDEL', hash, ARGV[e])
      end
    end
  end
  results[#results + 1] = result
end
return results
""")
