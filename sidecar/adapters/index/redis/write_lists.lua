-- Write what shard 0 keeps for all shards.
-- ARGV: time to live, then three lists, each preceded by its length: partitions (hash, packed partition); seconds in
-- which events were appended; seconds that the sweeper has to visit.
for _ = 1, number() do
  call('HSET', p .. 'l', ARGV[at], ARGV[at + 1])
  at = at + 2
end
extend(p .. 'l')
for _, name in ipairs({'z', 's'}) do
  for _ = 1, number() do
    call('ZADD', p .. name, ARGV[at], ARGV[at])
    at = at + 1
  end
  extend(p .. name)
end
return 1
