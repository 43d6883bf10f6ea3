-- Give a stream an identity that ends with it: a consumer group that nobody reads. Redis keeps no other trace by which a
-- stream that was deleted and created again can be told from the old one: entry ids may repeat.
-- KEYS: the stream. ARGV: prefix of such groups, the name to create where the stream has none.
-- Returns the name of the stream's identity group. Its position is the largest id there is, so that it shows no lag.
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  if string.sub(group[2], 1, #ARGV[1]) == ARGV[1] then return group[2] end
end
redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[2], '18446744073709551615-18446744073709551615')
return ARGV[2]
