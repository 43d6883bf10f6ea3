-- Acknowledge entries, if the group still is the one that gave them to us.
-- KEYS: the stream. ARGV: group, name of this member's sentinel consumer, entry ids.
-- Returns how many entries were pending. A group that was deleted and created again lacks our sentinel consumer: in a
-- stream that was created again too, the same ids may name other entries.
local consumers = redis.pcall('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])
if consumers.err then
  if string.match(consumers.err, '^-?NOPERM') then return consumers end
  consumers = {}
end
for _, consumer in ipairs(consumers) do
  if consumer[2] == ARGV[2] then return redis.call('XACK', KEYS[1], ARGV[1], unpack(ARGV, 3)) end
end
return redis.error_reply('NOGROUP the group was deleted')
