-- Report what happened to these streams since the last read. Only reads: a server that is out of memory or disk space
-- refuses writes, and reading must continue all the same.
-- KEYS: streams. ARGV: group, name of this member's sentinel consumer.
-- Returns for each stream {status, ...}: NOKEY, WRONGTYPE, NOGROUP, RECREATED (the group exists without our sentinel,
-- so it was deleted and created again), or OK with the last entry id that the group was given and the number of later
-- entries that were trimmed before the group read them (0 before Redis 7.0, which does not count them).
local function later(a, b)
  -- True if entry id a is greater than b. Compared as text: the numbers do not fit into Lua's.
  local am, as = string.match(a, '(%d+)-(%d+)')
  local bm, bs = string.match(b, '(%d+)-(%d+)')
  if am ~= bm then return #am > #bm or (#am == #bm and am > bm) end
  return #as > #bs or (#as == #bs and as > bs)
end
local function to_table(flat)
  local fields = {}
  for n = 1, #flat, 2 do fields[flat[n]] = flat[n + 1] end
  return fields
end
local function check(key)
  local kind = redis.call('TYPE', key).ok
  if kind == 'none' then return {'NOKEY'} end
  if kind ~= 'stream' then return {'WRONGTYPE'} end
  local consumers, has_sentinel = redis.pcall('XINFO', 'CONSUMERS', key, ARGV[1]), false
  if consumers.err then return {string.match(consumers.err, '^-?(%u+)')} end
  for _, consumer in ipairs(consumers) do has_sentinel = has_sentinel or consumer[2] == ARGV[2] end
  -- The sentinel is created again only after our entries are pending again. Until then they must not pass as
  -- committed.
  if not has_sentinel then return {'RECREATED'} end
  for _, flat in ipairs(redis.call('XINFO', 'GROUPS', key)) do
    local group = to_table(flat)
    if group.name == ARGV[1] then
      local last, lost = group['last-delivered-id'], 0
      if group['entries-read'] and group.lag and group.lag > 0 then
        local stream = to_table(redis.call('XINFO', 'STREAM', key))
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
local statuses = {}
for index, key in ipairs(KEYS) do statuses[index] = check(key) end
return statuses
