-- Report what happened to these streams since the last read. Needs no write: a server that is out of memory or disk space
-- refuses writes, and reading must continue all the same.
-- KEYS: streams. ARGV: group, name of this member's sentinel consumer, then the identity of each stream (see
-- ensure_identity.lua).
-- Returns for each stream {status, ...}:
--   NOKEY, WRONGTYPE
--   RECREATED  neither the group with our sentinel nor the identity is there: the stream was deleted and created again
--   NOGROUP    the group was deleted, or deleted and created again without our sentinel; the stream is the same
--   OK         with the last entry id that the group was given, the number of later entries that were trimmed before
--              the group read them (0 before Redis 7.0, which does not count them), and 1 if the group's counter was
--              corrected, so that nobody counts them again
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
local function has_sentinel(key)
  for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', key, ARGV[1])) do
    if consumer[2] == ARGV[2] then return true end
  end
  return false
end
local function check(key, identity)
  local kind = redis.call('TYPE', key).ok
  if kind == 'none' then return {'NOKEY'} end
  if kind ~= 'stream' then return {'WRONGTYPE'} end
  local groups = redis.pcall('XINFO', 'GROUPS', key)
  if groups.err then return {string.match(groups.err, '^-?(%u+)')} end
  local ours, same = nil, false
  for _, flat in ipairs(groups) do
    local group = to_table(flat)
    if group.name == ARGV[1] then ours = group end
    same = same or group.name == identity
  end
  -- The sentinel is created again only after our entries are pending again. Until then they must not pass as committed.
  if not ours or not has_sentinel(key) then return {same and 'NOGROUP' or 'RECREATED'} end
  local last, trimmed, removed = ours['last-delivered-id'], 0, 0
  if ours['entries-read'] and ours.lag and ours.lag > 0 then
    local stream = to_table(redis.call('XINFO', 'STREAM', key))
    local first = stream['recorded-first-entry-id']
    if stream.length == 0 or (first and later(first, last)) then
      removed = stream['entries-added'] - stream.length
      trimmed = math.max(0, removed - ours['entries-read'])
    end
  end
  -- Redis 7.0 does not count trimmed entries as read once the group reads on, and would report them again and again.
  local corrected = 0
  if trimmed > 0 then
    local reply = redis.pcall('XGROUP', 'SETID', key, ARGV[1], last, 'ENTRIESREAD', removed)
    if not reply.err then corrected = 1 end
  end
  return {'OK', last, trimmed, corrected}
end
local statuses = {}
for index, key in ipairs(KEYS) do statuses[index] = check(key, ARGV[index + 2]) end
return statuses
