-- Commit rejected entries. Each entry is acknowledged and its dead letters are added, or neither happens, and only
-- for the first caller: an entry that is no longer pending was committed before.
-- KEYS: the stream, then the dead-letter streams.
-- ARGV: group, name of this member's sentinel consumer, then for each entry: its id, its number of dead letters, and
-- for each of them the index of its key, the number of parts (field names and values), the parts.
-- Returns how many dead letters were added.
-- Order within an entry: check that it is pending, add, acknowledge. Only adding can fail, and then nothing of this
-- entry is done. Nothing is written before the first dead letter: a server out of memory refuses only a script's
-- first write.
local stream, group, sentinel = KEYS[1], ARGV[1], ARGV[2]
if redis.acl_check_cmd and not redis.acl_check_cmd('XACK', stream, group, '0-0') then
  return redis.error_reply('NOPERM this user may not use XACK on ' .. stream)
end
local function refuse_addition(key) return redis.error_reply('NOPERM this user may not use XADD on ' .. key) end
for n = 2, #KEYS do
  if redis.acl_check_cmd and not redis.acl_check_cmd('XADD', KEYS[n], '*', 'f', 'v') then
    return refuse_addition(KEYS[n])
  end
  local kind = redis.call('TYPE', KEYS[n]).ok
  if kind ~= 'none' and kind ~= 'stream' then
    return redis.error_reply('WRONGTYPE ' .. KEYS[n] .. ' is a ' .. kind .. ', not a stream')
  end
end
-- A group that was deleted and created again lacks our sentinel consumer. Its pending entries are not the ones that we
-- were given: in a stream that was created again too, the same ids may name other entries.
local consumers, has_sentinel = redis.pcall('XINFO', 'CONSUMERS', stream, group), false
if consumers.err then
  if string.match(consumers.err, '^-?NOPERM') then return consumers end
  consumers = {}
end
for _, consumer in ipairs(consumers) do has_sentinel = has_sentinel or consumer[2] == sentinel end
if not has_sentinel then return redis.error_reply('NOGROUP the group was deleted') end
local at, added_letters = 3, 0
while at <= #ARGV do
  local id, letters = ARGV[at], tonumber(ARGV[at + 1])
  at = at + 2
  local pending = redis.pcall('XPENDING', stream, group, id, id, 1)
  if pending.err then return pending end
  -- Not pending: an earlier attempt, or a member that claimed the entry, has committed it.
  for n = 1, letters do
    local last = at + 1 + tonumber(ARGV[at + 1])
    if #pending > 0 then
      local key = KEYS[tonumber(ARGV[at])]
      local added = redis.pcall('XADD', key, '*', unpack(ARGV, at + 2, last))
      -- Before Redis 7.0 scripts cannot ask, and the server's text names neither the command nor the stream.
      if added.err and string.match(added.err, "can't run this command") then return refuse_addition(key) end
      if added.err then return added end
      added_letters = added_letters + 1
    end
    at = last + 1
  end
  if #pending > 0 then redis.call('XACK', stream, group, id) end
end
return added_letters
