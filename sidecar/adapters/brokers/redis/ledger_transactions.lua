-- Carry out ledger transactions. Each changes fields of a hash and adds entries to streams, completely or not at all.
-- KEYS: the hash, then the streams.
-- ARGV: now in milliseconds, then for each transaction: the number of its ledger entries and of its additions; for
-- each ledger entry its field, 1 if a value is expected (else 0), that value, 1 if a value is to be set (else 0),
-- that value; for each addition the index of its key, 1 if the stream may be created (else 0), the number of parts,
-- the parts.
-- Returns for each transaction {1, ids of the added entries}, or {0, current value of each of its ledger entries}
-- where the hash held something else than expected. A transaction whose new values are already there was carried out
-- before.
-- Everything that can fail is checked before the first write: a server out of memory refuses only a script's first
-- write.
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
  local current, done, free = {}, true, true
  for n = 1, entries do
    local e = first + (n - 1) * 5
    local now = redis.call('HGET', hash, ARGV[e])
    current[n] = now
    local before = ARGV[e + 1] == '1' and ARGV[e + 2] or false
    local after = ARGV[e + 3] == '1' and ARGV[e + 4] or false
    free = free and now == before
    done = done and now == after
  end
  at = first + entries * 5
  local result = {1}
  if not done and not free then
    result = {0}
    for n = 1, entries do result[n + 1] = current[n] end
  end
  local look = at
  for _ = 1, additions do
    local key = tonumber(ARGV[look])
    if free and not done and kinds[key] == 'none' and ARGV[look + 1] == '0' then
      return redis.error_reply('NOSTREAM ' .. KEYS[key])
    end
    look = look + 3 + tonumber(ARGV[look + 2])
  end
  -- The first write comes before any addition, so that a user without write access to the hash is refused here.
  -- Before Redis 7.0 scripts cannot check permissions.
  if free and not done then redis.call('HSETNX', hash, 'begin', ARGV[1]) end
  for _ = 1, additions do
    local key, last = tonumber(ARGV[at]), at + 2 + tonumber(ARGV[at + 2])
    if free and not done then
      local added = redis.pcall('XADD', KEYS[key], '*', unpack(ARGV, at + 3, last))
      -- Before Redis 7.0 scripts cannot ask, and the server's text names neither the command nor the stream.
      if added.err and string.match(added.err, "can't run this command") then
        return redis.error_reply('NOPERM this user may not use XADD on ' .. KEYS[key])
      end
      if added.err then return added end
      kinds[key] = 'stream'
      result[#result + 1] = added
    end
    at = last + 1
  end
  if free and not done then
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
