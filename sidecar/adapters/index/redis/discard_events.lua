-- Delete events of a bucket that still are as they were read: a later event at the same place stays.
-- ARGV: time to live, key of the bucket, number of events, then field and packed event alternately.
-- Returns how many events this call deleted, and the shard's number of events (0 if it is not known).
local key, gone = p .. ARGV[at], 0
at = at + 1
for _ = 1, number() do
  if call('HGET', key, ARGV[at]) == ARGV[at + 1] then gone = gone + call('HDEL', key, ARGV[at]) end
  at = at + 2
end
if gone > 0 and call('EXISTS', p .. 'n') == 1 then call('DECRBY', p .. 'n', gone) end
return {gone, tonumber(call('GET', p .. 'n') or 0)}
