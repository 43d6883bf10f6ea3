-- Exchange heartbeats, in shard 0.
-- ARGV: time to live, milliseconds after which silent members are removed, the member's name, its message (empty: it
-- leaves), then two lists, each preceded by its length: partitions that it covers (partition, the append time since
-- when, 1 while it is being backfilled); partitions that it no longer covers.
-- Returns the server's time in milliseconds, the members and the coverage, each value with the time of its last
-- heartbeat in front, and the sweeper's notes.
local clock = call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local stamp = string.format('%015d', now)
local forget = number()
local member, message = ARGV[at], ARGV[at + 1]
at = at + 2
local m, c = p .. 'm', p .. 'c'
call('PEXPIRE', m, ttl)  -- a first write that needs no memory: then a full server accepts the heartbeat
if message == '' then call('HDEL', m, member) else call('HSET', m, member, stamp .. message) end
for _ = 1, number() do
  local partition, since, filling = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2]
  at = at + 3
  local old = call('HGET', c, partition)
  if old then
    -- Another member covered the partition until after our start: the coverage continues without a hole.
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
extend(m)
extend(c)
return {now, members, covered, call('HGETALL', p .. 'x')}
