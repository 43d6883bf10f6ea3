-- Take an entry from a group that cannot process it: add its dead letter and acknowledge it, or do neither; and only
-- if the group's pending list still shows the entry as it was when the dead letter was built.
-- KEYS: the stream, the dead-letter stream. ARGV: group, entry id, consumer, delivery count, idle time in
-- milliseconds, then the dead letter's fields.
-- Returns 1 if the entry was taken, 0 if it is no longer pending, or was delivered or claimed since.
local pending = redis.pcall('XPENDING', KEYS[1], ARGV[1], ARGV[2], ARGV[2], 1)
if pending.err then return pending end
if #pending == 0 then return 0 end
local _, consumer, idle, deliveries = unpack(pending[1])
-- A claim with JUSTID does not count as a delivery, but it resets the idle time.
if consumer ~= ARGV[3] or deliveries ~= tonumber(ARGV[4]) or idle < tonumber(ARGV[5]) then return 0 end
local kind = redis.call('TYPE', KEYS[2]).ok
if kind ~= 'none' and kind ~= 'stream' then
  return redis.error_reply('WRONGTYPE ' .. KEYS[2] .. ' is a ' .. kind .. ', not a stream')
end
if redis.acl_check_cmd and not redis.acl_check_cmd('XACK', KEYS[1], ARGV[1], '0-0') then
  return redis.error_reply('NOPERM this user may not use XACK on ' .. KEYS[1])
end
local refusal = 'NOPERM this user may not use XADD on ' .. KEYS[2]
if redis.acl_check_cmd and not redis.acl_check_cmd('XADD', KEYS[2], '*', 'f', 'v') then
  return redis.error_reply(refusal)
end
local added = redis.pcall('XADD', KEYS[2], '*', unpack(ARGV, 6))
-- Before Redis 7.0 scripts cannot ask, and the server's text names neither the command nor the stream.
if added.err and string.match(added.err, "can't run this command") then return redis.error_reply(refusal) end
if added.err then return added end
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
return 1
